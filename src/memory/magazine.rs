//! Freed blocks that a thread keeps for its next allocations, so that serving takes no lock.
//!
//! What is kept is wiped already: a block holds the address of the next one and zeros. Only
//! threads whose allocations go to the arena keep any, and few of each size.

use std::alloc::Layout;
use std::cell::Cell;
use std::ptr::{NonNull, null_mut};

/// Sizes are multiples of this, which is also how a block's size is rounded up.
const STEP: usize = 64;
/// Up to here each multiple is a class of its own.
const SMALL: usize = 2048;
/// hyper takes a read buffer of this size for each request. Other large blocks are not kept.
const BUFFER: usize = 8192;
const CLASSES: usize = SMALL / STEP + 1;
const BUFFER_CLASS: usize = CLASSES - 1;
/// Bytes of each class.
const KEPT: usize = 4096;
const KEPT_BUFFERS: usize = 2 * BUFFER;
/// Of every block, whatever its owner asked for; more is not kept.
const ALIGN: usize = 16;

/// The magazine's own kind of block, which every layout of that class fits.
#[derive(Clone, Copy)]
pub(super) struct Class(usize);

impl Class {
    /// By the layout alone, so that a block is of the same class when it comes back.
    #[inline]
    pub(super) fn of(layout: Layout) -> Option<Self> {
        let size = layout.size();
        if layout.align() > ALIGN {
            return None;
        }
        match size {
            1..=SMALL => Some(Self((size - 1) / STEP)),
            BUFFER => Some(Self(BUFFER_CLASS)),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn layout(self) -> Layout {
        let size = if self.0 == BUFFER_CLASS { BUFFER } else { (self.0 + 1) * STEP };
        // SAFETY: the alignment is a power of two, and the size is small.
        unsafe { Layout::from_size_align_unchecked(size, ALIGN) }
    }

    /// Bytes of it that a thread keeps.
    fn most(self) -> usize {
        if self.0 == BUFFER_CLASS { KEPT_BUFFERS } else { KEPT }
    }
}

/// A stack of blocks for each class, linked through their first bytes.
struct Magazine {
    tops: [Cell<*mut u8>; CLASSES],
    counts: [Cell<usize>; CLASSES],
}

thread_local! {
    static MAGAZINE: Magazine = const {
        Magazine {
            tops: [const { Cell::new(null_mut()) }; CLASSES],
            counts: [const { Cell::new(0) }; CLASSES],
        }
    };
}

/// A block of this class that the calling thread kept. It holds zeros.
#[inline]
pub(super) fn take(class: Class) -> Option<NonNull<u8>> {
    MAGAZINE.try_with(|magazine| magazine.pop(class)).ok().flatten()
}

/// Keeps a wiped block, unless there are enough of its class.
///
/// # Safety
/// `block` is of this class, and the caller gives it up when this returns true.
#[inline]
pub(super) unsafe fn keep(block: NonNull<u8>, class: Class) -> bool {
    // SAFETY: the caller's guarantee.
    MAGAZINE.try_with(|magazine| unsafe { magazine.push(block, class) }).unwrap_or(false)
}

impl Magazine {
    fn pop(&self, class: Class) -> Option<NonNull<u8>> {
        let (top, count) = (self.tops.get(class.0)?, self.counts.get(class.0)?);
        let block = NonNull::new(top.get())?;
        // SAFETY: a kept block is ours alone, aligned, and starts with the next one's address.
        unsafe {
            let link = block.cast::<*mut u8>();
            top.set(link.read());
            link.write(null_mut());
        }
        count.set(count.get() - 1);
        Some(block)
    }

    /// # Safety
    /// As for [`keep`].
    unsafe fn push(&self, block: NonNull<u8>, class: Class) -> bool {
        let (Some(top), Some(count)) = (self.tops.get(class.0), self.counts.get(class.0)) else {
            return false;
        };
        if count.get() * class.layout().size() >= class.most() {
            return false;
        }
        // SAFETY: the block is ours from here on, aligned, and larger than an address.
        unsafe { block.cast::<*mut u8>().write(top.get()) };
        top.set(block.as_ptr());
        count.set(count.get() + 1);
        true
    }
}

/// The thread ends: its blocks go back to where they came from.
impl Drop for Magazine {
    fn drop(&mut self) {
        for class in (0..CLASSES).map(Class) {
            while let Some(block) = self.pop(class) {
                // SAFETY: a block of the arena, allocated with its class's layout.
                unsafe { super::arena::give_back(block, class.layout()) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    #[test]
    fn a_class_holds_what_is_of_it() {
        for size in [1, 63, 64, 65, 2047, 2048, BUFFER] {
            let class = Class::of(layout(size)).unwrap().layout();
            assert!(class.size() >= size && class.size() < size + STEP, "{size}: {class:?}");
        }
        for size in [0, SMALL + 1, BUFFER - 1, BUFFER + 1] {
            assert!(Class::of(layout(size)).is_none(), "{size}");
        }
        assert!(Class::of(Layout::from_size_align(64, 32).unwrap()).is_none());
    }

    #[test]
    fn blocks_come_back_as_zeros_and_not_without_end() {
        let class = Class::of(layout(1024)).unwrap();
        let mut blocks: Vec<[u128; 64]> = vec![[0; 64]; 8];
        let starts: Vec<_> =
            blocks.iter_mut().map(|block| NonNull::from(block).cast::<u8>()).collect();
        // SAFETY: blocks of that size and alignment, which live until the magazine is empty.
        let kept = starts.iter().filter(|block| unsafe { keep(**block, class) }).count();
        assert_eq!(kept, KEPT / 1024);
        let taken: Vec<_> = std::iter::from_fn(|| take(class)).collect();
        assert_eq!(taken.len(), kept);
        assert!(taken.iter().all(|block| starts.contains(block)));
        assert!(blocks.iter().flatten().all(|word| *word == 0));
    }
}
