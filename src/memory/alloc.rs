//! The global allocator: wipes every block that it frees, and serves from secret pages what
//! handles plaintext in buffers that are not ours.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use super::arena;

/// The system allocator, wiping on free; threads that called
/// [`keep_thread_secret`](super::keep_thread_secret) and futures in [`InSecretMemory`] get their
/// memory from the arena instead, as long as that has room.
///
/// `realloc` is left at the trait's default (allocate, copy, free), because the system's own
/// moves a block without wiping the place it left.
pub struct WipingAllocator;

thread_local! {
    static ROUTE: Cell<Route> = const { Cell::new(Route::Ordinary) };
}

/// Where what a thread allocates comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Ordinary,
    /// The arena, as long as it can be had.
    Secret,
    /// The arena, as long as enough is left for what must be in it.
    Spare,
}

/// From now on everything that this thread allocates lives in secret pages. Blocks may be
/// freed by any thread.
pub(super) fn route_this_thread() {
    ROUTE.with(|route| route.set(Route::Secret));
}

/// A future whose polls allocate in secret pages: for one that keeps plaintext in buffers of
/// somebody else's making, such as a connection, whose read buffer holds the caller's token
/// for as long as the rest of its request takes to arrive. So that a crowd of callers does not
/// push secrets out, it gets no more than a part of what the process may have.
#[derive(Debug)]
pub struct InSecretMemory<F> {
    future: Pin<Box<F>>,
    route: Route,
}

impl<F: Future> InSecretMemory<F> {
    /// `future` itself stays in ordinary memory.
    pub fn new(future: F) -> Self {
        Self { future: Box::pin(future), route: Route::Spare }
    }

    /// For one that handles a credential of ours: not bounded as the others are. What `future`
    /// itself holds is in secret memory too.
    pub fn with_itself(future: F) -> Self {
        Self { future: in_secret_memory(|| Box::pin(future)), route: Route::Secret }
    }

    /// The same, but `future` itself, which is large and holds none of it, stays where it is made.
    pub fn of_credential(future: F) -> Self {
        Self { future: Box::pin(future), route: Route::Secret }
    }
}

impl<F: Future> Future for InSecretMemory<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _routed = Routed::switch(self.route);
        self.future.as_mut().poll(cx)
    }
}

/// Runs `work` with ordinary memory: for what lives long and holds no plaintext, called from
/// within [`InSecretMemory`].
pub fn in_ordinary_memory<T>(work: impl FnOnce() -> T) -> T {
    let _routed = Routed::switch(Route::Ordinary);
    work()
}

/// Runs `work` with secret memory, as long as it can be had: for a key that a library reads into
/// structures of its own.
pub fn in_secret_memory<T>(work: impl FnOnce() -> T) -> T {
    let _routed = Routed::switch(Route::Secret);
    work()
}

/// Puts back what was in force before, also when a panic passes.
struct Routed {
    before: Route,
}

impl Routed {
    fn switch(to: Route) -> Self {
        Self { before: ROUTE.with(|route| route.replace(to)) }
    }
}

impl Drop for Routed {
    fn drop(&mut self) {
        ROUTE.with(|route| route.set(self.before));
    }
}

#[inline]
fn from_arena(layout: Layout) -> Option<NonNull<u8>> {
    match ROUTE.try_with(Cell::get) {
        Ok(Route::Secret) => arena::allocate(layout),
        Ok(Route::Spare) => arena::allocate_spare(layout),
        Ok(Route::Ordinary) | Err(_) => None,
    }
}

/// Whether what this thread allocates now comes from the arena.
#[inline]
fn is_routed() -> bool {
    ROUTE.try_with(Cell::get).is_ok_and(|route| route != Route::Ordinary)
}

// SAFETY: blocks come from `System` or from the arena and go back to where they came from,
// which their address tells; `dealloc` writes only inside the block, which its caller owns
// until the call returns.
unsafe impl GlobalAlloc for WipingAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if let Some(block) = from_arena(layout) {
            return block.as_ptr();
        }
        // SAFETY: the caller's guarantees are passed on.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if let Some(block) = from_arena(layout) {
            // SAFETY: a fresh block of that size.
            unsafe { block.write_bytes(0, layout.size()) };
            return block.as_ptr();
        }
        // SAFETY: the caller's guarantees are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `block` is valid for `layout.size()` bytes until it is freed below, and the
        // arena holds exactly the blocks that came from it.
        unsafe {
            wipe(block, layout.size());
            match NonNull::new(block) {
                Some(block) if arena::contains(block.as_ptr()) => {
                    arena::deallocate(block, layout, is_routed());
                }
                _ => System.dealloc(block, layout),
            }
        }
    }
}

/// Zeroes `len` bytes at `start` in a way that the compiler may not leave out.
///
/// # Safety
/// `start` must be valid for writes of `len` bytes.
#[inline]
pub(super) unsafe fn wipe(start: *mut u8, len: usize) {
    // SAFETY: the caller's guarantee.
    unsafe { std::ptr::write_bytes(start, 0, len) };
    // SAFETY: no instruction at all: it only tells the compiler that the memory is looked at.
    unsafe { core::arch::asm!("/* {0} */", in(reg) start, options(nostack, preserves_flags)) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wipe_zeroes_all_of_the_block() {
        let mut block = [7u8; 33];
        // SAFETY: the array is valid for its own length.
        unsafe { wipe(block.as_mut_ptr(), block.len()) };
        assert_eq!(block, [0; 33]);
    }

    #[test]
    fn routing_ends_where_it_should() {
        let route = || ROUTE.with(Cell::get);
        let future = InSecretMemory::new(async {
            assert_eq!(route(), Route::Spare);
            assert_eq!(in_ordinary_memory(route), Route::Ordinary);
            assert_eq!(in_secret_memory(route), Route::Secret);
            assert_eq!(route(), Route::Spare);
        });
        let mut future = Box::pin(future);
        let waker = std::task::Waker::noop();
        assert!(future.as_mut().poll(&mut Context::from_waker(waker)).is_ready());
        assert_eq!(route(), Route::Ordinary);
    }

    #[test]
    fn a_moved_block_keeps_its_content_and_alignment() {
        let layout = Layout::from_size_align(100, 64).unwrap();
        // SAFETY: allocated, moved and freed with matching layouts.
        unsafe {
            let block = WipingAllocator.alloc(layout);
            block.write_bytes(9, 100);
            let moved = WipingAllocator.realloc(block, layout, 5000);
            assert_eq!(moved as usize % 64, 0);
            assert!((0..100).all(|i| *moved.add(i) == 9));
            let back =
                WipingAllocator.realloc(moved, Layout::from_size_align_unchecked(5000, 64), 10);
            assert!((0..10).all(|i| *back.add(i) == 9));
            WipingAllocator.dealloc(back, Layout::from_size_align_unchecked(10, 64));
        }
    }
}
