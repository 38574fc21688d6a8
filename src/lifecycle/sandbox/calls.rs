//! System calls that a running sidecar does not make, but that would be of use to whoever gets
//! to run code in it: other programs, other processes' memory, other ports, the kernel itself.

use std::collections::BTreeMap;

#[cfg(target_arch = "x86_64")]
use seccompiler::sock_filter;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter, apply_filter_all_threads,
};

use super::{Outcome, Reach};

/// Refused with `EPERM`, whatever their arguments.
pub(super) const REFUSED: &[libc::c_long] = &[
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
    // Other ports: ours are bound. The resolver of musl, which the container image is linked to,
    // binds the socket that it asks name servers from; TCP ports stay refused by Landlock, and
    // listening stays refused here.
    #[cfg(not(target_env = "musl"))]
    libc::SYS_bind,
    libc::SYS_listen,
    // Code without a file.
    libc::SYS_memfd_create,
    // Ways around this filter, and much of the kernel's surface.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Other namespaces and file systems.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    // The machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

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
/// know it: then the C library starts its threads with `clone`.
fn programs(reach: &Reach) -> Result<Vec<BpfProgram>, String> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    refused.insert(libc::SYS_clone, vec![new_process().map_err(text)?]);
    refused.insert(libc::SYS_kill, unnamed_signals(reach).map_err(text)?);
    refused.insert(libc::SYS_tgkill, vec![other_process().map_err(text)?]);
    let unknown = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok(vec![
        program(refused, libc::EPERM)?,
        program(unknown, libc::ENOSYS)?,
        #[cfg(target_arch = "x86_64")]
        second_numbers(),
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

/// A `clone` that makes a process and not a thread.
fn new_process() -> Result<SeccompRule, seccompiler::BackendError> {
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    let not_a_thread = SeccompCmpOp::MaskedEq(thread);
    SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Qword, not_a_thread, 0)?])
}

/// Every `kill` but those with a signal that the configuration names.
fn unnamed_signals(reach: &Reach) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let other_than = |signal: &i32| {
        let signal = u64::from(signal.unsigned_abs());
        SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, signal)
    };
    let conditions = reach.signals.iter().map(other_than).collect::<Result<Vec<_>, _>>()?;
    // No rule at all means any arguments.
    if conditions.is_empty() { Ok(Vec::new()) } else { Ok(vec![SeccompRule::new(conditions)?]) }
}

/// A `tgkill` that is not about a thread of ours: `abort` makes one that is.
fn other_process() -> Result<SeccompRule, seccompiler::BackendError> {
    let own = u64::from(std::process::id());
    let other = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, own)?;
    SeccompRule::new(vec![other])
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
        assert!(programs(&reach).unwrap().iter().all(|program| !program.is_empty()));
    }
}
