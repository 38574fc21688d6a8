//! The heap that lives in secret pages: every [`SecretBuf`](super::SecretBuf), everything that
//! the fetch thread allocates, and what serving a connection allocates.
//!
//! It takes address space once and fills it with pages as it grows, because the whole length
//! of such a mapping counts against `RLIMIT_MEMLOCK`. When no more pages are to be had it says
//! so, and its callers fall back to the ordinary, wiping heap.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use talc::DefaultBinning;
use talc::base::Talc;
use talc::source::Manual;

use super::magazine::{self, Class};
use super::pages::{self, Tier};

/// Address space of each heap, not memory.
const RESERVED: usize = 1 << 30;
/// Pages are taken in steps of this, as long as the limit allows.
const STEP: usize = 256 << 10;
/// Allocations between two attempts to grow when no more pages are to be had.
const PAUSE: u32 = 1000;

/// What a heap is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// What must be in secret pages.
    Needed,
    /// What can do without: a heap of its own, so that it never takes the others' room.
    Spare,
}

struct Heap {
    talc: Talc<Manual, DefaultBinning>,
    what: Use,
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

static NEEDED: Mutex<Heap> = Mutex::new(Heap::new(Use::Needed));
static SPARE: Mutex<Heap> = Mutex::new(Heap::new(Use::Spare));

/// Start of the reserved range of both heaps, 0 before the first use: `contains` runs on every
/// free.
static START: AtomicUsize = AtomicUsize::new(0);
/// Held while the range is reserved.
static RESERVING: Mutex<()> = Mutex::new(());
/// How far the heap for what can do without grows.
static MOST_SPARE: AtomicUsize = AtomicUsize::new(RESERVED);
static FILLED: AtomicUsize = AtomicUsize::new(0);
/// Allocations that had to go to the ordinary heap, and should not have.
static SPILLED: AtomicUsize = AtomicUsize::new(0);
/// Those that could do without.
static SPARED: AtomicUsize = AtomicUsize::new(0);
/// Nothing may be kept elsewhere.
static INSISTED: AtomicBool = AtomicBool::new(false);
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
    /// Allocations for values and tokens, and of the threads that handle them, that found no room
    /// there and went to the ordinary heap.
    pub spilled: usize,
    /// The same of connections, whose share is bounded.
    pub spared: usize,
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
    if FILLED.load(Ordering::Relaxed) == 0 {
        let mut heap = lock(Use::Needed);
        if heap.filled == 0 {
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
        spilled: SPILLED.load(Ordering::Relaxed),
        spared: SPARED.load(Ordering::Relaxed),
        stack: !ORDINARY_STACK.load(Ordering::Relaxed),
    }
}

/// Takes pages until there are `bytes` of them, or no more to be had.
pub fn grow_arena(bytes: usize) {
    let mut heap = lock(Use::Needed);
    while heap.filled < bytes && heap.grow(1) {}
}

/// From now on an answer of Vault's that finds no room is not taken.
pub fn insist_on_secret_memory() {
    INSISTED.store(true, Ordering::Relaxed);
}

/// What of the pages that the process may lock is for values that are kept: the rest is for
/// fetching them, for connections and for stacks. `None` when there is no limit, or no such pages.
pub fn room_for_values() -> Option<usize> {
    if arena_status().tier != Tier::Secret {
        return None;
    }
    pages::lock_limit().map(|limit| limit / 4)
}

/// Whether an answer of `len` bytes can be taken, and a value of that size be made of it. Always,
/// where nobody [insists](insist_on_secret_memory).
pub fn has_room_for(len: usize) -> bool {
    if !is_insisted() {
        return true;
    }
    // The value; the buffers it comes through; and what else the libraries need.
    let blocks = [len.max(1), len.clamp(1, 512 << 10), 64 << 10];
    let layouts = blocks.map(|size| Layout::from_size_align(size, 16).ok());
    let mut heap = lock(Use::Needed);
    let taken = layouts.map(|layout| layout.and_then(|layout| heap.take(layout)));
    for (block, layout) in taken.into_iter().zip(layouts) {
        if let (Some(block), Some(layout)) = (block, layout) {
            // SAFETY: taken above with this very layout, and never used.
            unsafe { heap.talc.deallocate(block.as_ptr(), layout) };
        }
    }
    taken.iter().all(Option::is_some)
}

pub(super) fn is_insisted() -> bool {
    INSISTED.load(Ordering::Relaxed)
}

pub(super) fn note_ordinary_stack() {
    ORDINARY_STACK.store(true, Ordering::Relaxed);
}

/// Memory from the arena, not cleared by contract (freed blocks are wiped, but carry the
/// allocator's own links). `None` when there are no more pages.
pub(super) fn allocate(layout: Layout) -> Option<NonNull<u8>> {
    allocate_from(Use::Needed, layout)
}

/// The same for what can do without: all of it gets no more than a quarter of what the process
/// may lock.
pub(super) fn allocate_spare(layout: Layout) -> Option<NonNull<u8>> {
    allocate_from(Use::Spare, layout)
}

fn allocate_from(what: Use, layout: Layout) -> Option<NonNull<u8>> {
    if layout.size() == 0 {
        return None;
    }
    let class = Class::of(layout);
    if let Some(block) = class.and_then(magazine::take) {
        return Some(block);
    }
    let layout = class.map_or(layout, Class::layout);
    let block = lock(what).take(layout);
    if block.is_none() {
        let refused = if what == Use::Needed { &SPILLED } else { &SPARED };
        refused.fetch_add(1, Ordering::Relaxed);
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
/// `block` came from one of the heaps with this very layout and is not used any more.
pub(super) unsafe fn give_back(block: NonNull<u8>, layout: Layout) {
    let what = if offset(block.as_ptr()) < RESERVED { Use::Needed } else { Use::Spare };
    // SAFETY: the caller's guarantee; its address says which heap.
    unsafe { lock(what).talc.deallocate(block.as_ptr(), layout) };
}

/// Whether `block` lies in the arena.
#[inline]
pub(super) fn contains(block: *mut u8) -> bool {
    START.load(Ordering::Relaxed) != 0 && offset(block) < 2 * RESERVED
}

fn offset(block: *mut u8) -> usize {
    (block as usize).wrapping_sub(START.load(Ordering::Relaxed))
}

/// Never poisoned in a way that matters: nothing that panics runs under the lock.
fn lock(what: Use) -> MutexGuard<'static, Heap> {
    let heap = if what == Use::Needed { &NEEDED } else { &SPARE };
    heap.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where both heaps lie, one behind the other.
fn range() -> Option<NonNull<u8>> {
    let _reserving = RESERVING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(start) = NonNull::new(START.load(Ordering::Acquire) as *mut u8) {
        return Some(start);
    }
    let start = pages::reserve(2 * RESERVED)?;
    MOST_SPARE.store(pages::lock_limit().map_or(RESERVED, |l| l / 4), Ordering::Relaxed);
    START.store(start.as_ptr() as usize, Ordering::Release);
    Some(start)
}

impl Heap {
    const fn new(what: Use) -> Self {
        let talc = Talc::new(Manual);
        Self { talc, what, end: None, filled: 0, tier: Tier::Secret, pause: 0, refused: 0 }
    }

    /// A block, after growing where that is needed.
    fn take(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        if layout.size() == 0 {
            return None;
        }
        // SAFETY: the layout's size is not zero.
        let mut block = unsafe { self.talc.allocate(layout) };
        if block.is_none() && self.grow(layout.size().checked_add(layout.align())?) {
            // SAFETY: as above.
            block = unsafe { self.talc.allocate(layout) };
        }
        block
    }

    /// Fills pages for at least `needed` more bytes. Allocates nothing.
    fn grow(&mut self, needed: usize) -> bool {
        let (start, most) = match self.what {
            _ if needed > RESERVED => return false,
            Use::Needed => (0, RESERVED),
            Use::Spare => (RESERVED, MOST_SPARE.load(Ordering::Relaxed)),
        };
        let page = pages::page_size();
        // The allocator's own book-keeping takes a little of each heap.
        let least = (needed + page).next_multiple_of(page);
        if self.pause > 0 && least >= self.refused {
            self.pause -= 1;
            return false;
        }
        let Some(range) = range() else { return false };
        let wanted = least.max(STEP).next_multiple_of(STEP);
        for len in [wanted, least] {
            if self.filled + len > most {
                continue;
            }
            // SAFETY: inside this heap's part of the range, past everything filled so far.
            let at = unsafe { range.add(start + self.filled) };
            if self.fill(at, len) {
                self.claim(at, len);
                return true;
            }
        }
        (self.refused, self.pause) = (least, PAUSE);
        false
    }

    /// The tier is decided by the first pages; a later shortage does not lower it.
    fn fill(&mut self, at: NonNull<u8>, len: usize) -> bool {
        let tiers: &[Tier] =
            if self.filled == 0 { &[Tier::Secret, Tier::Locked] } else { &[self.tier] };
        for &tier in tiers {
            // SAFETY: page-aligned, inside our reservation, not in use.
            if unsafe { pages::fill(at, len, tier) }.is_some() {
                self.tier = tier;
                if self.what == Use::Needed {
                    TIER.store(tier as u8, Ordering::Relaxed);
                }
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
        FILLED.fetch_add(len, Ordering::Relaxed);
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

    #[test]
    fn what_can_do_without_takes_no_room_of_the_others() {
        let layout = Layout::from_size_align(50_000, 16).unwrap();
        let (Some(needed), Some(spare)) = (allocate(layout), allocate_spare(layout)) else {
            panic!("no room: {:?}", arena_status());
        };
        assert!(offset(needed.as_ptr()) < RESERVED && offset(spare.as_ptr()) >= RESERVED);
        // SAFETY: our own blocks, freed with their layout.
        unsafe {
            deallocate(needed, layout, false);
            deallocate(spare, layout, false);
        }
        let mut heap = Heap::new(Use::Spare);
        heap.filled = MOST_SPARE.load(Ordering::Relaxed);
        assert!(heap.take(layout).is_none(), "however much the other heap has");
    }
}
