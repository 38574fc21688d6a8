//! A server under load, as the kernel sees it.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// A child process; killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// Answers that the load has had from it.
    pub(crate) answered: AtomicU64,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Self { child: child.expect("the server starts"), answered: AtomicU64::new(0) }
    }

    /// CPU time so far, of all threads, in user and kernel.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // The name of the program may have spaces and brackets in it.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = rest.split_ascii_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|field| field.parse::<u64>().unwrap()).sum();
        // The unit of /proc is a hundredth of a second on every Linux machine we know.
        Duration::from_millis(ticks * 10)
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

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
