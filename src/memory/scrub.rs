//! What a thread leaves behind on its stack and in its registers.
//!
//! A copy routine leaves the last bytes it moved in vector registers, where an idle thread
//! keeps them for ever: `/proc/PID/mem` does not show them, but a core dump does.

use std::future::poll_fn;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::pin::pin;
use std::ptr::NonNull;

use super::alloc::{route_this_thread, wipe};
use super::arena::note_ordinary_stack;
use super::pages::{self, Tier};

/// Deeper than any call of ours between two waits.
const SCRUBBED_STACK: usize = 48 << 10;

/// Left above the secret part of a stack, for what its making needs.
const KEPT_STACK: usize = 16 << 10;
/// That, and the rest of a page, and some: what runs below is in the secret part.
const SKIPPED_STACK: usize = KEPT_STACK + LARGEST_PAGE + (4 << 10);
const LARGEST_PAGE: usize = if cfg!(target_arch = "x86_64") { 4 << 10 } else { 64 << 10 };

/// Runs `body`, all there is to do for the calling thread, with heap and stack in secret pages,
/// as far as they can be had. To be called first thing in the thread.
pub fn keep_thread_secret<T>(body: impl FnOnce() -> T) -> T {
    route_this_thread();
    if replace_stack().is_none() {
        note_ordinary_stack();
    }
    run_deeper(body)
}

/// Runs `body` further down than [`replace_stack`] left the stack as it was.
#[inline(never)]
fn run_deeper<T>(body: impl FnOnce() -> T) -> T {
    let mut skipped = MaybeUninit::<[u8; SKIPPED_STACK]>::uninit();
    black_box(skipped.as_mut_ptr());
    let done = run_here(body);
    black_box(skipped.as_mut_ptr());
    done
}

/// A frame of its own, below the one that skips.
#[inline(never)]
fn run_here<T>(body: impl FnOnce() -> T) -> T {
    body()
}

/// Clears what lies below the caller's stack frame, and all vector registers. Meant for the
/// moment before a thread sleeps.
#[inline(never)]
pub fn scrub() {
    let mut below = MaybeUninit::<[u8; SCRUBBED_STACK]>::uninit();
    // SAFETY: a local array of that size.
    unsafe { wipe(below.as_mut_ptr().cast(), SCRUBBED_STACK) };
    clear_vector_registers();
}

/// Runs `future`, and after each of its steps clears what it left below: for computations with
/// plaintext in libraries, deeper in the stack than a thread clears before it sleeps.
///
/// Cancel safety: that of `future`.
pub async fn scrubbed<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        scrub();
        polled
    })
    .await
}

/// Puts secret pages under the part of this thread's stack that is not in use yet.
#[inline(never)]
fn replace_stack() -> Option<()> {
    let (lowest, _) = stack_bounds()?;
    let here = 0u8;
    // The frames of this function and of what it calls stay above.
    let top = ((&raw const here) as usize - KEPT_STACK) & !(pages::page_size() - 1);
    let len = top.checked_sub(lowest).filter(|len| *len >= 64 << 10)?;
    let at = NonNull::new(lowest as *mut u8)?;
    // SAFETY: page-aligned, inside this thread's own stack and below every live frame: the
    // system calls made here need less than the pages left above `top`.
    unsafe { pages::fill(at, len, Tier::Secret) }
}

/// Lowest usable address (the guard page is below it) and size of this thread's stack.
fn stack_bounds() -> Option<(usize, usize)> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut start, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes are initialized by the first call and destroyed by the last.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let known = libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut start, &raw mut size);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        (known == 0).then_some(((start as usize).next_multiple_of(pages::page_size()), size))
    }
}

/// Clears what copy routines leave in the registers; takes some ten nanoseconds.
#[cfg(target_arch = "x86_64")]
pub(super) fn clear_vector_registers() {
    use core::arch::asm;

    if std::is_x86_feature_detected!("avx") {
        // SAFETY: AVX is there; the clobbered registers are declared.
        unsafe {
            asm!(
                "vzeroall",
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
                out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
                out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
                out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
                options(nostack, nomem, preserves_flags)
            );
        }
    }
    if std::is_x86_feature_detected!("avx512vl") {
        // SAFETY: AVX-512 is there.
        unsafe { clear_upper_registers() };
    }
}

/// glibc's copy routines use zmm16 to zmm31, which `vzeroall` leaves alone, where the processor
/// has AVX512VL. Writing the lowest part of such a register clears the rest of it.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl")]
fn clear_upper_registers() {
    use core::arch::asm;

    // SAFETY: AVX-512 is there (the caller's check); the clobbered registers are declared.
    unsafe {
        asm!(
            "vpxord xmm16, xmm16, xmm16", "vpxord xmm17, xmm17, xmm17",
            "vpxord xmm18, xmm18, xmm18", "vpxord xmm19, xmm19, xmm19",
            "vpxord xmm20, xmm20, xmm20", "vpxord xmm21, xmm21, xmm21",
            "vpxord xmm22, xmm22, xmm22", "vpxord xmm23, xmm23, xmm23",
            "vpxord xmm24, xmm24, xmm24", "vpxord xmm25, xmm25, xmm25",
            "vpxord xmm26, xmm26, xmm26", "vpxord xmm27, xmm27, xmm27",
            "vpxord xmm28, xmm28, xmm28", "vpxord xmm29, xmm29, xmm29",
            "vpxord xmm30, xmm30, xmm30", "vpxord xmm31, xmm31, xmm31",
            out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _,
            out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
            out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _,
            out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
            options(nostack, nomem, preserves_flags)
        );
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn clear_vector_registers() {}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel calls the mapping that `address` lies in.
    fn mapping(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let holds = |line: &&str| {
            let (from, to) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let number = |text| usize::from_str_radix(text, 16).unwrap();
            (number(from)..number(to)).contains(&address)
        };
        maps.lines().find(holds).unwrap().to_owned()
    }

    #[inline(never)]
    fn deep() -> u64 {
        let deep: [u8; 100_000] = std::array::from_fn(|i| i.to_le_bytes()[0]);
        scrub();
        deep.iter().map(|byte| u64::from(*byte)).sum()
    }

    #[test]
    fn everything_of_a_thread_with_a_secret_stack_runs_in_it() {
        let work = || {
            let local = 7u8;
            let place = mapping((&raw const local) as usize);
            (place, deep(), vec![local; 1000])
        };
        let thread = std::thread::Builder::new().stack_size(1 << 20);
        let thread = thread.spawn(move || keep_thread_secret(work));
        let (place, sum, heap) = thread.unwrap().join().unwrap();
        let secret = crate::memory::arena_status();
        if secret.tier == Tier::Secret && secret.stack {
            assert!(place.contains("secretmem"), "{place}");
        }
        assert_eq!(sum, (0..100_000u64).map(|i| i % 256).sum::<u64>());
        assert_eq!(heap, vec![7; 1000]);
    }
}
