//! A server under load, as the kernel sees it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Which processors who may use: the last one is for the server that is measured, the others are
/// for who asks it and for what stands behind it. On a machine with one they share it.
struct Processors {
    measured: CpuSet,
    others: CpuSet,
}

impl Processors {
    fn of_this_machine() -> Self {
        static ALL: OnceLock<CpuSet> = OnceLock::new();
        let all = *ALL.get_or_init(|| sched_getaffinity(None).unwrap());
        let (mut measured, mut others) = (CpuSet::new(), all);
        let last = (0..CpuSet::MAX_CPU).rfind(|at| all.is_set(*at)).unwrap();
        measured.set(last);
        if all.count() > 1 {
            others.unset(last);
        }
        Self { measured, others }
    }
}

/// Keeps the calling thread, and all that it starts from now on, away from the servers that are
/// measured. To be called first thing.
pub(crate) fn keep_apart() {
    sched_setaffinity(None, &Processors::of_this_machine().others).unwrap();
}

/// A child process; killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// Answers that the load has had from it.
    pub(crate) answered: AtomicU64,
}

impl Process {
    /// A server to be measured: it has a processor for itself.
    pub(crate) fn measured(command: &mut Command) -> Self {
        let Processors { measured, others } = Processors::of_this_machine();
        sched_setaffinity(None, &measured).unwrap();
        let server = Self::start(command);
        sched_setaffinity(None, &others).unwrap();
        server
    }

    /// What stands behind servers that are measured.
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Self { child: child.expect("the server starts"), answered: AtomicU64::new(0) }
    }

    /// CPU time so far, of all threads, in user and kernel.
    pub(crate) fn cpu(&self) -> Duration {
        cpu_of(&self.proc("stat"))
    }

    /// Resident memory, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))
            .expect("the server is still there")
    }
}

pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// A file that nobody else can read.
pub(crate) fn write_private(path: &Path, content: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.to_owned()
}

/// CPU time so far of this process.
pub(crate) fn own_cpu() -> Duration {
    cpu_of(&std::fs::read_to_string("/proc/self/stat").unwrap())
}

/// CPU time so far of the whole machine, interrupts left out: the packets of loopback are
/// handled there.
pub(crate) fn machine_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let fields = stat.lines().next().unwrap_or_default().split_ascii_whitespace();
    // cpu, user, nice, system, idle, iowait, irq, softirq, steal
    ticks(fields.enumerate().filter(|(at, _)| matches!(at, 1..=3 | 8)).map(|(_, field)| field))
}

fn cpu_of(stat: &str) -> Duration {
    // The name of the program may have spaces and brackets in it.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    ticks(rest.split_ascii_whitespace().skip(11).take(2))
}

/// The unit of /proc is a hundredth of a second on every Linux machine we know.
fn ticks<'a>(fields: impl Iterator<Item = &'a str>) -> Duration {
    Duration::from_millis(fields.map(|field| field.parse::<u64>().unwrap() * 10).sum())
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
