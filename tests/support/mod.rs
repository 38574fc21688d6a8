//! What black-box tests share: the real binary under test, Vaults to put behind it, a client
//! that writes raw bytes, and canaries.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

pub mod canary;
pub mod client;
pub mod go;
pub mod jwt;
pub mod kubernetes_api;
pub mod limits;
pub mod needle;
pub mod postgres;
pub mod programs;
pub mod ptrace;
pub mod scan;
pub mod sidecar;
pub mod tls;
pub mod trials;
pub mod vanish;
pub mod vault;
pub mod wire;

use std::time::{Duration, Instant};

/// Whether a missing component is a failure.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|ci| ci == "true")
}

/// Whether this test may look into other processes.
pub fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:\t0\t0\t"))
}

/// Waits until `probe` gives something, polling: the only way to see another process change.
pub fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    eventually_or(|| what.to_owned(), probe)
}

/// The same; `what` is asked for at the end, as for a log.
pub fn eventually_or<T>(what: impl Fn() -> String, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "waited 30 s for {}", what());
        std::thread::sleep(Duration::from_millis(10));
    }
}
