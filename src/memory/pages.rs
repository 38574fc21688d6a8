//! Pages that other processes, core dumps and swap do not see, as far as the kernel gives them.

use std::ptr::NonNull;

/// What the kernel gave for plaintext to live in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// `memfd_secret(2)`: not even root reads them through `/proc/PID/mem`, ptrace or a core.
    Secret,
    /// Locked and kept out of dumps, but readable for root and for a debugger.
    Locked,
    /// Ordinary memory: wiped when freed, nothing more.
    Plain,
}

impl Tier {
    /// The word for logs, metrics and `sidekey check`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Locked => "locked",
            Self::Plain => "plain",
        }
    }
}

/// 4 KiB on x86-64; up to 64 KiB elsewhere.
pub(super) fn page_size() -> usize {
    // SAFETY: a plain call of the C library, which knows it from the start of the process.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).ok().filter(|size| size.is_power_of_two()).unwrap_or(64 << 10)
}

/// `RLIMIT_MEMLOCK`; `None` for no limit, which is what a process with `CAP_IPC_LOCK` has.
pub(super) fn lock_limit() -> Option<usize> {
    if has_capability(CAP_IPC_LOCK) {
        return None;
    }
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a plain system call that fills a live struct.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } == 0;
    let limited = known && limit.rlim_cur != libc::RLIM_INFINITY;
    limited.then(|| usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX))
}

const CAP_IPC_LOCK: u32 = 14;

/// Whether a capability below 32 is in force for this thread. Allocates nothing.
fn has_capability(capability: u32) -> bool {
    /// `_LINUX_CAPABILITY_VERSION_3`, with data in two parts.
    const VERSION: u32 = 0x2008_0522;
    let mut header = [VERSION, 0];
    // Effective, permitted, inheritable; twice.
    let mut data = [0u32; 6];
    // SAFETY: a plain system call on live arrays of the sizes that this version asks for.
    let read = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), data.as_mut_ptr()) };
    read == 0 && data[0] >> capability & 1 == 1
}

/// Address space without memory behind it, to be filled by [`fill`].
pub(super) fn reserve(len: usize) -> Option<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        return None;
    }
    // Debuggers would write all of it into an image.
    // SAFETY: our own mapping.
    unsafe { libc::madvise(at, len, libc::MADV_DONTDUMP) };
    NonNull::new(at.cast())
}

/// Puts pages of that tier under `len` bytes at `at`, in place of what is mapped there. `None`
/// leaves the range as it was.
///
/// # Safety
/// The range must be page-aligned, mapped by the caller, and nothing may use what is in it.
pub(super) unsafe fn fill(at: NonNull<u8>, len: usize, tier: Tier) -> Option<()> {
    // SAFETY: the caller's guarantee.
    match tier {
        Tier::Secret => unsafe { fill_secret(at, len) },
        Tier::Locked => unsafe { fill_locked(at, len) },
        Tier::Plain => None,
    }
}

/// # Safety
/// As for [`fill`].
unsafe fn fill_secret(at: NonNull<u8>, len: usize) -> Option<()> {
    let size = libc::off_t::try_from(len).ok()?;
    // SAFETY: plain system calls; the descriptor is closed on every way out. It has to be:
    // whoever can take it (pidfd_getfd) could map it and read everything.
    let fresh = unsafe {
        let fd = libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC);
        let fd = libc::c_int::try_from(fd).ok().filter(|fd| *fd >= 0)?;
        let sized = libc::ftruncate(fd, size) == 0;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let anywhere = std::ptr::null_mut();
        let fresh = if sized {
            libc::mmap(anywhere, len, protection, libc::MAP_SHARED, fd, 0)
        } else {
            libc::MAP_FAILED
        };
        libc::close(fd);
        fresh
    };
    if fresh == libc::MAP_FAILED {
        return None;
    }
    // Mapped elsewhere and moved, because over `RLIMIT_MEMLOCK` a mapping right at `at` fails
    // only after the kernel has removed what was there: under a stack, that is the end.
    // SAFETY: `fresh` is ours, and the range at `at` is the caller's.
    unsafe {
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        if libc::mremap(fresh, len, len, flags, at.as_ptr()) == libc::MAP_FAILED {
            libc::munmap(fresh, len);
            // What was there may be gone by then, and would leave a hole for others to fill.
            restore(at, len);
            return None;
        }
        // A forked child would share the pages.
        libc::madvise(at.as_ptr().cast(), len, libc::MADV_DONTFORK);
    }
    Some(())
}

/// Puts ordinary pages under the range, unless something is there.
///
/// # Safety
/// As for [`fill`].
unsafe fn restore(at: NonNull<u8>, len: usize) {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: the range is the caller's, and a mapping that is there stays.
    unsafe {
        let start = at.as_ptr().cast();
        libc::mmap(start, len, protection, flags | libc::MAP_FIXED_NOREPLACE, -1, 0);
    }
}

/// # Safety
/// As for [`fill`].
unsafe fn fill_locked(at: NonNull<u8>, len: usize) -> Option<()> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: the range is the caller's.
    unsafe {
        let start = at.as_ptr().cast();
        if libc::mmap(start, len, protection, flags, -1, 0) == libc::MAP_FAILED {
            return None;
        }
        if libc::mlock(start, len) != 0 {
            let none = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
            libc::mmap(start, len, libc::PROT_NONE, none | libc::MAP_NORESERVE, -1, 0);
            return None;
        }
        libc::madvise(start, len, libc::MADV_DONTDUMP);
        libc::madvise(start, len, libc::MADV_DONTFORK);
        libc::madvise(start, len, libc::MADV_NOHUGEPAGE);
    }
    Some(())
}
