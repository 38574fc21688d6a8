//! What a running sidecar may still do, tried from inside: a child takes on the same two layers
//! by the same functions and then tries everything. Without them, the same child succeeds.
#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]
#![allow(missing_docs, unreachable_pub, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

#[cfg(target_arch = "x86_64")]
mod inside;
mod probe;
mod serving;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Command, ExitCode};

use libtest_mimic::Arguments;
use support::trials::{ROOT, ignored, trial};

type Outcomes = BTreeMap<String, String>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|arg| arg == "probe") {
        probe::run(&args[2..]);
        return ExitCode::SUCCESS;
    }
    let landlock = probe_all("free")["landlock"] == "ok";
    // A kernel is not installed like a package, so CI is no exception.
    let by_landlock = |trial| if landlock { trial } else { ignored(trial, "lacks Landlock 6") };
    let rules = RULES.iter().map(|(name, probes)| {
        let trial = trial(name, &[], probes);
        let of_landlock = name.starts_with("files") || name.starts_with("ports");
        if of_landlock { by_landlock(trial) } else { trial }
    });
    let mut trials: Vec<_> = rules.collect();
    trials.extend([
        by_landlock(trial("a_signal_of_the_configuration_is_allowed_and_no_other", &[], signals)),
        by_landlock(trial("what_a_sidecar_needs_is_allowed", &[], allowed)),
        trial("serves_reloads_and_rotates_inside", &[], serving::life_inside),
        by_landlock(trial("a_reload_beyond_the_sandbox_is_refused", &[], serving::reload_beyond)),
        trial("check_says_what_can_be_had", &[], serving::check),
        trial("every_call_on_the_list_is_refused", &[], every_listed_call),
    ]);
    #[cfg(target_arch = "x86_64")]
    trials.push(by_landlock(trial(
        "refused_in_the_running_process",
        &[ROOT],
        inside::refused_in_the_running_process,
    )));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

const RULES: &[(&str, fn())] = &[
    ("files_no_writing", || refused(&["write", "create", "remove", "truncate", "rename", "link"])),
    ("files_no_making", || {
        refused(&["folder", "remove a folder", "symlink", "pipe", "socket file"]);
    }),
    ("files_no_reading_of_others", || {
        refused(&["read /etc/shadow", "read a stranger's", "list /"]);
    }),
    ("files_no_program", || refused(&["run /bin/true"])),
    ("ports_no_other_connection", || refused(&["connect elsewhere"])),
    ("ports_no_other_listener", || refused(&["bind elsewhere"])),
    ("files_no_signal", || refused(&["signal"])),
    ("files_no_abstract_socket_of_others", || refused(&["abstract"])),
    ("calls_no_program", || refused(&["execve", "execveat", "fork", "clone a process"])),
    ("calls_no_other_process", || {
        refused(&["ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp"]);
    }),
    ("calls_no_signal", || refused(&["kill", "tgkill", "pidfd_send_signal"])),
    ("calls_no_listener", || refused(&["bind", "listen", "bind udp"])),
    ("calls_no_code_without_file", || refused(&["memfd_create"])),
    ("calls_no_wide_interfaces", || {
        refused(&["io_uring_setup", "bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key"]);
    }),
    ("calls_no_namespaces", || refused(&["unshare", "setns", "mount", "umount2", "chroot"])),
    ("calls_no_other_protocol", || {
        refused(&["mptcp socket", "mptcp socket, IPv6", "sctp socket, by its type", "raw socket"]);
        refused(&["packet socket", "vsock socket", "netlink route", "unix socket"]);
        refused(&["pair of datagrams"]);
    }),
    ("calls_no_connecting_while_sending", || {
        refused(&["sendto, connecting", "sendmsg, connecting", "sendmmsg, connecting"]);
        refused(&["fast open", "tcp_ulp"]);
    }),
    ("calls_no_change_of_files", || {
        refused(&["chmod", "chown", "utime", "setxattr", "removexattr"]);
    }),
    ("calls_no_less_protection", || {
        refused(&["dumpable", "a filter", "new limits", "thread in other namespaces"]);
    }),
    ("calls_no_influence_on_others", || {
        refused(&["limits of another", "typing for others", "pidfd_open", "shmget", "mq_open"]);
        refused(&["setpriority", "sched_setaffinity"]);
    }),
    ("calls_no_other_mounts", || refused(&["open_tree_attr", "fspick"])),
    ("calls_no_clock", || refused(&["clock_adjtime"])),
    #[cfg(target_arch = "x86_64")]
    ("calls_no_ports_of_the_machine", || refused(&["iopl"])),
    ("calls_no_machine", || refused(&["init_module", "finit_module", "delete_module", "reboot"])),
];

/// Each of `probes` is refused inside, and outside fails in another way or not at all.
fn refused(probes: &[&str]) {
    let (inside, outside) = (probe_all("sandboxed"), probe_all("free"));
    for probe in probes {
        let (inside, outside) = (&inside[*probe], &outside[*probe]);
        eprintln!("{probe:24} inside: {inside:12} outside: {outside}");
        assert!(matches!(&**inside, "EPERM" | "EACCES"), "{probe} inside: {inside}");
        // Some are refused to this test as well, by the container that it runs in.
        let also_outside = matches!(&**outside, "EPERM" | "EACCES");
        assert!(!also_outside || probe::NEEDS_RIGHTS.contains(probe), "{probe} outside: {outside}");
    }
}

/// Whatever else is on the filter's list, with arguments that point nowhere.
fn every_listed_call() {
    let inside = probe_all("sandboxed");
    let listed: Vec<_> = inside.iter().filter(|(probe, _)| probe.starts_with("call ")).collect();
    assert!(listed.len() > 40, "{}", listed.len());
    for (probe, outcome) in listed {
        assert_eq!(outcome, "EPERM", "{probe}");
    }
    let clone3 = format!("errno {}", libc::ENOSYS);
    assert_eq!(inside["clone3"], clone3, "the C library falls back to what the filter sees");
}

fn allowed() {
    let inside = probe_all("sandboxed");
    for probe in [
        "read configuration",
        "read token",
        "read a rotated token",
        "read /etc/hosts",
        "read own status",
        "connect vault",
        "accept",
        "abstract listener",
        "thread",
        "secret memory",
        "udp send",
        "tcp socket",
        "udp socket",
        "socket table",
        "own limits",
    ] {
        assert_eq!(inside[probe], "ok", "{probe}");
    }
    let errno = |code: i32| format!("errno {code}");
    for (probe, code) in
        [("pair of streams", libc::EFAULT), ("sendmsg", libc::EBADF), ("no delay", libc::EBADF)]
    {
        assert_eq!(inside[probe], errno(code), "{probe} fails by its arguments alone");
    }
}

fn signals() {
    let inside = probe_all("signals");
    assert_eq!(inside["SIGWINCH"], "ok");
    for other in ["kill", "tgkill", "pidfd_send_signal"] {
        assert_eq!(inside[other], "EPERM", "{other}");
    }
}

/// Runs the child; what came of each probe.
fn probe_all(how: &str) -> Outcomes {
    let (vault, other) = (listener(), listener());
    let abstract_name = format!("sidekey-stranger-{}-{}", std::process::id(), port(&vault));
    let stranger = SocketAddr::from_abstract_name(&abstract_name).unwrap();
    let _stranger = UnixListener::bind_addr(&stranger).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let said = Command::new(std::env::current_exe().unwrap())
        .args(["probe", how, folder.path().to_str().unwrap()])
        .args([port(&vault).to_string(), port(&other).to_string(), abstract_name])
        .output()
        .unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(said.status.success(), "{text}\n{}", String::from_utf8_lossy(&said.stderr));
    let pair = |line: &str| line.split_once(" = ").map(|(a, b)| (a.to_owned(), b.to_owned()));
    text.lines().filter_map(pair).collect()
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}
