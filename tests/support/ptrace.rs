//! Stopping a process and reading its registers: <https://man7.org/linux/man-pages/man2/ptrace.2.html>.
#![allow(unsafe_code, reason = "ptrace has no safe interface")]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;

/// All threads of a process, stopped. They run on when it is dropped. To be used by the thread
/// that made it, as ptrace asks for.
pub struct Stopped {
    threads: BTreeMap<i32, Registers>,
}

/// What a stopped thread has in its registers.
pub struct Registers {
    /// Name of the thread.
    pub name: String,
    pub stack_pointer: u64,
    /// General-purpose registers.
    pub general: Vec<u8>,
    /// Floating-point and vector registers.
    pub vector: Vec<u8>,
}

/// Register sets of `elf.h`.
const GENERAL: libc::c_int = 1;
#[cfg(target_arch = "x86_64")]
const VECTOR: libc::c_int = 0x202;
#[cfg(not(target_arch = "x86_64"))]
const VECTOR: libc::c_int = 2;

/// Where the stack pointer stands in the general set, in words.
#[cfg(target_arch = "x86_64")]
const STACK_POINTER: usize = 19;
#[cfg(not(target_arch = "x86_64"))]
const STACK_POINTER: usize = 31;

impl Stopped {
    /// Stops every thread, those that start meanwhile included.
    pub fn all_threads(pid: u32) -> io::Result<Self> {
        let mut stopped = Self { threads: BTreeMap::new() };
        loop {
            let before = stopped.threads.len();
            for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
                let entry = entry?;
                let Some(tid) = entry.file_name().to_str().and_then(|tid| tid.parse().ok()) else {
                    continue;
                };
                let Entry::Vacant(place) = stopped.threads.entry(tid) else { continue };
                // A thread may end while it is looked at.
                let Ok(name) = std::fs::read_to_string(entry.path().join("comm")) else { continue };
                match stop(tid, name.trim()) {
                    Ok(registers) => place.insert(registers),
                    Err(e) if e.raw_os_error() == Some(libc::ESRCH) => continue,
                    Err(e) => return Err(e),
                };
            }
            if stopped.threads.len() == before {
                return Ok(stopped);
            }
        }
    }

    /// Has the thread called `name` make a system call, as if its own code did: with its
    /// credentials and its filters. `None` when it is not waiting in a system call of its own.
    /// What the call returns is the result or a negated error number.
    #[cfg(target_arch = "x86_64")]
    pub fn call(&self, name: &str, number: i64, arguments: [u64; 6]) -> Option<i64> {
        let (tid, _) = self.threads().find(|(_, registers)| registers.name == name)?;
        injected(tid, number, arguments).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// By thread id.
    pub fn threads(&self) -> impl Iterator<Item = (i32, &Registers)> {
        self.threads.iter().map(|(tid, registers)| (*tid, registers))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for tid in self.threads.keys() {
            // SAFETY: no memory is involved.
            unsafe { libc::ptrace(libc::PTRACE_DETACH, *tid, 0usize, 0usize) };
        }
    }
}

fn stop(tid: i32, name: &str) -> io::Result<Registers> {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: no memory of ours is involved but the status, which lives long enough.
    unsafe {
        check(libc::ptrace(libc::PTRACE_SEIZE, tid, none, none))?;
        check(libc::ptrace(libc::PTRACE_INTERRUPT, tid, none, none))?;
        let mut status = 0;
        check(libc::waitpid(tid, &raw mut status, libc::__WALL).into())?;
    }
    let general = register_set(tid, GENERAL)?;
    let word = general.chunks_exact(8).nth(STACK_POINTER).and_then(|w| w.try_into().ok());
    Ok(Registers {
        name: name.to_owned(),
        stack_pointer: word.map_or(0, u64::from_le_bytes),
        general,
        vector: register_set(tid, VECTOR)?,
    })
}

/// Runs the `syscall` instruction that the thread waits in once more, with other registers, and
/// puts everything back.
#[cfg(target_arch = "x86_64")]
fn injected(tid: i32, number: i64, arguments: [u64; 6]) -> io::Result<Option<i64>> {
    const SYSCALL: u64 = 0x050f;
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: the register structs live through the calls; the tracee is stopped and ours.
    unsafe {
        let mut saved: libc::user_regs_struct = std::mem::zeroed();
        check(libc::ptrace(libc::PTRACE_GETREGS, tid, none, &raw mut saved))?;
        let at = (saved.rip - 2) as *mut libc::c_void;
        let word = libc::ptrace(libc::PTRACE_PEEKTEXT, tid, at, none);
        if word.cast_unsigned() & 0xffff != SYSCALL {
            return Ok(None);
        }
        let mut call = saved;
        call.rip -= 2;
        call.rax = number.cast_unsigned();
        // Nothing to restart, whatever it was interrupted in.
        call.orig_rax = u64::MAX;
        [call.rdi, call.rsi, call.rdx, call.r10, call.r8, call.r9] = arguments;
        check(libc::ptrace(libc::PTRACE_SETREGS, tid, none, &raw const call))?;
        check(libc::ptrace(libc::PTRACE_SINGLESTEP, tid, none, none))?;
        let mut status = 0;
        check(libc::waitpid(tid, &raw mut status, libc::__WALL).into())?;
        check(libc::ptrace(libc::PTRACE_GETREGS, tid, none, &raw mut call))?;
        check(libc::ptrace(libc::PTRACE_SETREGS, tid, none, &raw const saved))?;
        Ok(Some(call.rax.cast_signed()))
    }
}

fn register_set(tid: i32, set: libc::c_int) -> io::Result<Vec<u8>> {
    let mut area = vec![0u8; 32 << 10];
    let mut span = libc::iovec { iov_base: area.as_mut_ptr().cast(), iov_len: area.len() };
    // SAFETY: the kernel writes at most `iov_len` bytes into the area and says how many.
    unsafe {
        check(libc::ptrace(libc::PTRACE_GETREGSET, tid, set, &raw mut span))?;
    }
    area.truncate(span.iov_len);
    Ok(area)
}

fn check(returned: i64) -> io::Result<()> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
