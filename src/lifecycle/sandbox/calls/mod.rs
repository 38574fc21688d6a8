//! System calls that a running sidecar does not make, but that would be of use to whoever gets
//! to run code in it: other programs, other processes' memory, other ports, the kernel itself.

use std::collections::BTreeMap;

#[cfg(target_arch = "x86_64")]
use seccompiler::sock_filter;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompFilter, SeccompRule, apply_filter, apply_filter_all_threads,
};

use super::{Outcome, Reach};

mod judged;
mod refused;

pub(super) use refused::REFUSED;

pub(super) fn restrict_all_threads(reach: &Reach) -> Outcome {
    for program in programs(reach)? {
        apply_filter_all_threads(&program).map_err(|e| e.to_string())?;
    }
    Ok(())
}

pub(super) fn restrict_this_thread(reach: &Reach) -> Outcome {
    for program in programs(reach)? {
        apply_filter(&program).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Several, because `clone3`, whose arguments no filter sees, has to look as if the kernel did not
/// know it: then the C library starts its threads with `clone`. The one that refuses further
/// filters comes last.
fn programs(reach: &Reach) -> Result<Vec<BpfProgram>, String> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    refused.extend(judged::by_arguments(reach).map_err(text)?);
    let unknown = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok(vec![
        program(unknown, libc::ENOSYS)?,
        #[cfg(target_arch = "x86_64")]
        second_numbers(),
        program(refused, libc::EPERM)?,
    ])
}

/// Refuses the x32 ABI, in which each system call has a second number that the other programs do
/// not look for. Those of 32-bit programs are another architecture for a filter, and are refused.
#[cfg(target_arch = "x86_64")]
fn second_numbers() -> BpfProgram {
    const X32: u32 = 0x4000_0000; // __X32_SYSCALL_BIT of linux/asm/unistd.h
    let instruction = |code: u32, jf: u8, k: u32| sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt: 0,
        jf,
        k,
    };
    vec![
        // The number is the first field of `struct seccomp_data`.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, X32),
        instruction(
            libc::BPF_RET | libc::BPF_K,
            0,
            libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs(),
        ),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

fn program(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<BpfProgram, String> {
    let architecture = std::env::consts::ARCH.try_into().map_err(text)?;
    let refuse = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture);
    filter.map_err(text)?.try_into().map_err(text)
}

fn text(error: seccompiler::BackendError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_can_be_made() {
        let mut reach = Reach::default();
        assert!(programs(&reach).unwrap().iter().all(|program| !program.is_empty()));
        reach.signals.extend([libc::SIGHUP, libc::SIGUSR1]);
        reach.unix_sockets = true;
        assert!(programs(&reach).unwrap().iter().all(|program| !program.is_empty()));
    }
}
