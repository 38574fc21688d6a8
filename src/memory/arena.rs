//! The heap that lives in secret pages: every [`SecretBuf`](super::SecretBuf), everything that
//! the fetch thread allocates, and what serving a connection allocates.
//!
//! It takes address space once and fills it with pages as it grows, because the whole length
//! of such a mapping counts against `RLIMIT_MEMLOCK`. When no more pages are to be had it says
//! so, and its callers fall back to the ordinary, wiping heap.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use talc::DefaultBinning;
use talc::base::Talc;
use talc::source::Manual;

use super::magazine::{self, Class};
use super::pages::{self, PAGE, Tier};

/// Address space, not memory.
const RESERVED: usize = 1 << 30;
/// Pages are taken in steps of this, as long as the limit allows.
const STEP: usize = 256 << 10;
/// Allocations between two attempts to grow when no more pages are to be had.
const PAUSE: u32 = 1000;

struct Heap {
    talc: Talc<Manual, DefaultBinning>,
    start: Option<NonNull<u8>>,
    /// End of the claimed heap, for extending it.
    end: Option<NonNull<u8>>,
    filled: usize,
    tier: Tier,
    /// How many allocations do without an attempt to grow, after one by this much that failed:
    /// it takes several system calls.
    pause: u32,
    refused: usize,
}

// SAFETY: the pointers are to memory that this heap alone manages; a mutex guards it.
unsafe impl Send for Heap {}

static HEAP: Mutex<Heap> = Mutex::new(Heap {
    talc: Talc::new(Manual),
    start: None,
    end: None,
    filled: 0,
    tier: Tier::Secret,
    pause: 0,
    refused: 0,
});

/// Start of the reserved range, 0 before the first use: `contains` runs on every free.
static START: AtomicUsize = AtomicUsize::new(0);
/// Up to here the heap grows for what can do without it.
static SPARE: AtomicUsize = AtomicUsize::new(RESERVED);
static FILLED: AtomicUsize = AtomicUsize::new(0);
/// Allocations that had to go to the ordinary heap.
static REFUSED: AtomicUsize = AtomicUsize::new(0);
/// A thread that should have had a secret stack got none.
static ORDINARY_STACK: AtomicBool = AtomicBool::new(false);
static TIER: AtomicU8 = AtomicU8::new(Tier::Plain as u8);

/// How plaintext is kept right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArenaStatus {
    /// The kind of pages.
    pub tier: Tier,
    /// Bytes of such pages.
    pub bytes: usize,
    /// Allocations that found no room there and went to the ordinary heap.
    pub spilled: usize,
    /// The stacks of the threads that handle plaintext are of such pages too, as far as they run.
    pub stack: bool,
}

impl ArenaStatus {
    /// Nothing that should be in secret memory is elsewhere.
    pub fn is_complete(&self) -> bool {
        self.tier == Tier::Secret && self.spilled == 0 && self.stack
    }
}

/// Takes the first pages, so that the tier is known.
pub fn arena_status() -> ArenaStatus {
    if START.load(Ordering::Acquire) == 0 {
        let mut heap = lock();
        if heap.start.is_none() {
            heap.grow(1);
        }
    }
    let tier = match TIER.load(Ordering::Relaxed) {
        t if t == Tier::Secret as u8 => Tier::Secret,
        t if t == Tier::Locked as u8 => Tier::Locked,
        _ => Tier::Plain,
    };
    ArenaStatus {
        tier,
        bytes: FILLED.load(Ordering::Relaxed),
        spilled: REFUSED.load(Ordering::Relaxed),
        stack: !ORDINARY_STACK.load(Ordering::Relaxed),
    }
}

/// Takes pages until there are `bytes` of them, or no more to be had.
pub fn grow_arena(bytes: usize) {
    let mut heap = lock();
    while heap.filled < bytes && heap.grow(1) {}
}

pub(super) fn note_ordinary_stack() {
    ORDINARY_STACK.store(true, Ordering::Relaxed);
}

/// Memory from the arena, not cleared by contract (freed blocks are wiped, but carry the
/// allocator's own links). `None` when there are no more pages.
pub(super) fn allocate(layout: Layout) -> Option<NonNull<u8>> {
    allocate_within(layout, RESERVED)
}

/// The same for what can do without: it takes no new pages once half of what the process may
/// lock is taken.
pub(super) fn allocate_spare(layout: Layout) -> Option<NonNull<u8>> {
    allocate_within(layout, SPARE.load(Ordering::Relaxed))
}

fn allocate_within(layout: Layout, most: usize) -> Option<NonNull<u8>> {
    if layout.size() == 0 {
        return None;
    }
    let class = Class::of(layout);
    if let Some(block) = class.and_then(magazine::take) {
        return Some(block);
    }
    let layout = class.map_or(layout, Class::layout);
    let mut heap = lock();
    // SAFETY: the layout's size is not zero.
    let mut block = unsafe { heap.talc.allocate(layout) };
    let needed = layout.size() + layout.align();
    if block.is_none() && heap.filled + needed.max(STEP) <= most && heap.grow(needed) {
        // SAFETY: as above.
        block = unsafe { heap.talc.allocate(layout) };
    }
    if block.is_none() {
        REFUSED.fetch_add(1, Ordering::Relaxed);
    }
    block
}

/// Gives a block back, or keeps it for what this thread allocates next. Its owner has wiped it.
///
/// # Safety
/// `block` came from [`allocate`] with the same layout and is not used any more.
#[inline]
pub(super) unsafe fn deallocate(block: NonNull<u8>, layout: Layout, keep: bool) {
    let class = Class::of(layout);
    // SAFETY: the caller's guarantee; the class follows from the layout.
    unsafe {
        if !(keep && class.is_some_and(|class| magazine::keep(block, class))) {
            give_back(block, class.map_or(layout, Class::layout));
        }
    }
}

/// # Safety
/// `block` came from the heap with this very layout and is not used any more.
pub(super) unsafe fn give_back(block: NonNull<u8>, layout: Layout) {
    // SAFETY: the caller's guarantee.
    unsafe { lock().talc.deallocate(block.as_ptr(), layout) };
}

/// Whether `block` lies in the arena.
#[inline]
pub(super) fn contains(block: *mut u8) -> bool {
    let start = START.load(Ordering::Relaxed);
    start != 0 && (block as usize).wrapping_sub(start) < RESERVED
}

/// Never poisoned in a way that matters: nothing that panics runs under the lock.
fn lock() -> std::sync::MutexGuard<'static, Heap> {
    HEAP.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Heap {
    /// Fills pages for at least `needed` more bytes. Allocates nothing.
    fn grow(&mut self, needed: usize) -> bool {
        // The allocator's own book-keeping takes a little of each heap.
        let least = (needed + PAGE).next_multiple_of(PAGE);
        if self.pause > 0 && least >= self.refused {
            self.pause -= 1;
            return false;
        }
        let Some(start) = self.start.or_else(|| self.reserve()) else { return false };
        let wanted = least.max(STEP).next_multiple_of(STEP);
        for len in [wanted, least] {
            if self.filled + len > RESERVED {
                continue;
            }
            // SAFETY: inside the reserved range, past everything filled so far.
            let at = unsafe { start.add(self.filled) };
            if self.fill(at, len) {
                self.claim(at, len);
                return true;
            }
        }
        (self.refused, self.pause) = (least, PAUSE);
        false
    }

    fn reserve(&mut self) -> Option<NonNull<u8>> {
        self.start = pages::reserve(RESERVED);
        if let Some(start) = self.start {
            SPARE.store(pages::lock_limit().map_or(RESERVED, |l| l / 2), Ordering::Relaxed);
            START.store(start.as_ptr() as usize, Ordering::Release);
        }
        self.start
    }

    /// The tier is decided by the first pages; a later shortage does not lower it.
    fn fill(&mut self, at: NonNull<u8>, len: usize) -> bool {
        let tiers: &[Tier] =
            if self.filled == 0 { &[Tier::Secret, Tier::Locked] } else { &[self.tier] };
        for &tier in tiers {
            // SAFETY: page-aligned, inside our reservation, not in use.
            if unsafe { pages::fill(at, len, tier) }.is_some() {
                self.tier = tier;
                TIER.store(tier as u8, Ordering::Relaxed);
                return true;
            }
        }
        false
    }

    fn claim(&mut self, at: NonNull<u8>, len: usize) {
        // SAFETY: `at..at+len` is fresh memory of ours, right behind the heap's end.
        unsafe {
            self.end = match self.end {
                Some(end) => Some(self.talc.extend(end, at.as_ptr().add(len))),
                None => self.talc.claim(at.as_ptr(), len),
            };
        }
        self.filled += len;
        FILLED.store(self.filled, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_in_the_arena_and_come_back() {
        let layout = Layout::from_size_align(100_000, 64).unwrap();
        for round in 0..100u8 {
            let Some(block) = allocate(layout) else {
                panic!("no room in round {round}: {:?}", arena_status());
            };
            assert!(contains(block.as_ptr()));
            assert_eq!(block.as_ptr() as usize % 64, 0);
            // SAFETY: our own block, freed with its layout.
            unsafe {
                block.write_bytes(round, 100_000);
                deallocate(block, layout, false);
            }
        }
        assert!(!contains((&raw const layout).cast_mut().cast()));
    }

    #[test]
    fn too_much_is_refused_and_counted() {
        let before = arena_status().spilled;
        assert!(allocate(Layout::from_size_align(RESERVED, 8).unwrap()).is_none());
        assert!(arena_status().spilled > before);
    }
}
