//! What a child is given less of than its parent.
#![allow(unsafe_code, reason = "the step between fork and exec has no safe interface")]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

/// A system call, and one of its arguments (by number) that has this value.
pub type Call = (libc::c_long, Option<(u8, u64)>);

/// `RLIMIT_MEMLOCK` of what `command` starts.
pub fn memlock(command: &mut Command, bytes: u64) {
    limit(command, libc::RLIMIT_MEMLOCK, bytes);
}

/// `RLIMIT_CORE` of what `command` starts.
pub fn core(command: &mut Command, bytes: u64) {
    limit(command, libc::RLIMIT_CORE, bytes);
}

fn limit(command: &mut Command, resource: libc::__rlimit_resource_t, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    let lower = move || {
        // SAFETY: a plain system call on a live struct, which is async-signal-safe.
        if unsafe { libc::setrlimit(resource, &raw const limit) } == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    // SAFETY: the closure makes one system call and touches no lock and no heap.
    unsafe { command.pre_exec(lower) };
}

/// What `command` starts has these system calls refused with `errno`.
pub fn refuse(command: &mut Command, calls: &[Call], errno: i32) {
    let rules = calls.iter().map(|(call, argument)| {
        let equals = |(at, value)| {
            SeccompCondition::new(at, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value).unwrap()
        };
        let rules = argument.map(|a| SeccompRule::new(vec![equals(a)]).unwrap());
        (*call, rules.into_iter().collect())
    });
    let errno = SeccompAction::Errno(errno.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules.collect(), SeccompAction::Allow, errno, arch).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    let apply = move || apply_filter(&program).map_err(|_| io::ErrorKind::PermissionDenied.into());
    // SAFETY: the program is there already; applying it takes two system calls and no heap.
    unsafe { command.pre_exec(apply) };
}
