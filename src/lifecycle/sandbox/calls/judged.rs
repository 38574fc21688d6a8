//! What is refused by its arguments: the same system call does what we need and what we do not.

use std::collections::BTreeMap;

use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::super::Reach;

type Rules = Vec<SeccompRule>;

/// What a socket's type is in, beside flags; `SOCK_TYPE_MASK` of linux/net.h.
const TYPE: u64 = 0xf;

/// Any of a call's rules refuses it.
pub(super) fn by_arguments(reach: &Reach) -> Result<BTreeMap<i64, Rules>, BackendError> {
    let mut refused = BTreeMap::from([
        (libc::SYS_socket, sockets(reach)?),
        (libc::SYS_socketpair, pairs()?),
        (libc::SYS_setsockopt, options()?),
        (libc::SYS_sendto, connecting(3)?),
        (libc::SYS_sendmsg, connecting(2)?),
        (libc::SYS_sendmmsg, connecting(3)?),
        (libc::SYS_clone, processes()?),
        (libc::SYS_kill, unnamed_signals(reach)?),
        (libc::SYS_tgkill, vec![rule(&[(0, Ne, std::process::id().into())])?]),
        (libc::SYS_prctl, each(0, &OWN_PROTECTION)?),
        (libc::SYS_prlimit64, limits()?),
        (libc::SYS_ioctl, each(1, &REQUESTS)?),
    ]);
    if cfg!(target_env = "musl") {
        refused.insert(libc::SYS_tkill, aborts(reach)?);
    }
    Ok(refused)
}

/// Every socket but TCP, UDP and the kernel's table of sockets: Landlock has rules for TCP alone,
/// which the likes of MPTCP and SCTP get around. To accept a connection takes no such call.
fn sockets(reach: &Reach) -> Result<Rules, BackendError> {
    const INTERNET: [libc::c_int; 2] = [libc::AF_INET, libc::AF_INET6];
    let mut families = vec![libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    if reach.unix_sockets {
        families.push(libc::AF_UNIX);
    }
    let other: Vec<_> = families.into_iter().map(|family| (0, Ne, number(family))).collect();
    let mut rules = vec![rule(&other)?];
    for family in INTERNET.map(number) {
        let tcp_or_udp = [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP].map(number);
        let [any, tcp, udp] = tcp_or_udp.map(|protocol| (2, Ne, protocol));
        rules.push(rule(&[(0, Eq, family), any, tcp, udp])?);
        // With the protocol left open, the type alone says which it is.
        for kind in types_but(&[libc::SOCK_STREAM, libc::SOCK_DGRAM]) {
            rules.push(rule(&[(0, Eq, family), (1, MaskedEq(TYPE), kind)])?);
        }
    }
    let netlink = number(libc::AF_NETLINK);
    rules.push(rule(&[(0, Eq, netlink), (2, Ne, number(libc::NETLINK_SOCK_DIAG))])?);
    Ok(rules)
}

/// Pairs that could be connected to somebody else afterwards.
fn pairs() -> Result<Rules, BackendError> {
    let types = types_but(&[libc::SOCK_STREAM]);
    types.map(|kind| rule(&[(1, MaskedEq(TYPE), kind)])).collect()
}

fn types_but(kept: &'static [libc::c_int]) -> impl Iterator<Item = u64> {
    (0..=TYPE).filter(|kind| !kept.iter().any(|kept| number(*kept) == *kind))
}

/// Sending that connects, which Landlock does not see.
fn connecting(flags: u8) -> Result<Rules, BackendError> {
    let fast_open = number(libc::MSG_FASTOPEN);
    Ok(vec![rule(&[(flags, MaskedEq(fast_open), fast_open)])?])
}

/// Options that make a connection in another way, or bring code into the kernel.
fn options() -> Result<Rules, BackendError> {
    const OPTIONS: [(libc::c_int, libc::c_int); 8] = [
        (libc::IPPROTO_TCP, libc::TCP_REPAIR),
        (libc::IPPROTO_TCP, libc::TCP_FASTOPEN),
        (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT),
        (libc::IPPROTO_TCP, libc::TCP_ULP),
        (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER),
        (libc::SOL_SOCKET, libc::SO_ATTACH_BPF),
        (libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF),
        (libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_EBPF),
    ];
    let refuse = |(level, name)| rule(&[(1, Eq, number(level)), (2, Eq, number(name))]);
    OPTIONS.into_iter().map(refuse).collect()
}

/// A `clone` that makes a process and not a thread, or one in other namespaces.
fn processes() -> Result<Rules, BackendError> {
    const NAMESPACES: [libc::c_int; 7] = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ];
    let thread = number(libc::CLONE_THREAD);
    let mut rules = vec![rule(&[(0, MaskedEq(thread), 0)])?];
    for flag in NAMESPACES.map(number) {
        rules.push(rule(&[(0, MaskedEq(flag), flag)])?);
    }
    Ok(rules)
}

/// Every `kill` but those with a signal that the configuration names.
fn unnamed_signals(reach: &Reach) -> Result<Rules, BackendError> {
    let other: Vec<_> = reach.signals.iter().map(|signal| (1, Ne, number(*signal))).collect();
    // No rule at all means any arguments.
    if other.is_empty() { Ok(Vec::new()) } else { Ok(vec![rule(&other)?]) }
}

/// musl ends a program by `tkill`, which does not say whose thread it is about. Landlock keeps
/// that to our own, unless a signal to others is configured: then an abort ends in a fault.
fn aborts(reach: &Reach) -> Result<Rules, BackendError> {
    if reach.signals.is_empty() {
        Ok(vec![rule(&[(1, Ne, number(libc::SIGABRT))])?])
    } else {
        Ok(Vec::new())
    }
}

/// What would take back how the process protects itself, or what it may not gain.
const OWN_PROTECTION: [u64; 7] = [
    libc::PR_SET_DUMPABLE as u64,
    libc::PR_SET_PTRACER as u64,
    libc::PR_SET_MM as u64,
    libc::PR_SET_SECCOMP as u64,
    libc::PR_SET_SECUREBITS as u64,
    libc::PR_SET_KEEPCAPS as u64,
    libc::PR_CAP_AMBIENT as u64,
];

/// Typing for others on a terminal, and marks on files that Landlock lets be set.
const REQUESTS: [u64; 4] = [
    0x5412,      // TIOCSTI of asm-generic/ioctls.h
    0x541c,      // TIOCLINUX
    0x4008_6602, // FS_IOC_SETFLAGS of linux/fs.h
    0x401c_5820, // FS_IOC_FSSETXATTR
];

/// Limits of others, and new ones of our own.
fn limits() -> Result<Rules, BackendError> {
    let set = SeccompCondition::new(2, SeccompCmpArgLen::Qword, Ne, 0)?;
    Ok(vec![rule(&[(0, Ne, 0)])?, SeccompRule::new(vec![set])?])
}

fn each(argument: u8, values: &[u64]) -> Result<Rules, BackendError> {
    values.iter().map(|value| rule(&[(argument, Eq, *value)])).collect()
}

/// Holds when all conditions do: argument, comparison, value; each of the 32 bits that the
/// kernel looks at.
fn rule(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, BackendError> {
    let condition = |(argument, operator, value): &(u8, SeccompCmpOp, u64)| {
        SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, operator.clone(), *value)
    };
    SeccompRule::new(conditions.iter().map(condition).collect::<Result<_, _>>()?)
}

fn number(value: libc::c_int) -> u64 {
    value.unsigned_abs().into()
}
