//! The program that `exec` looks after.

use std::error::Error;
use std::time::Duration;

use tracing::{info, warn};

use crate::config::NotifySignal;
use crate::observe::Chain;

/// The program of `exec` runs.
pub fn child_started(pid: i32) {
    info!(target: "sidekey", pid, "program started");
}

/// The program of `exec` ended.
pub fn child_ended(pid: i32, status: u8) {
    info!(target: "sidekey", pid, status, "program ended");
}

/// A value changed, and the program is asked to end.
pub fn child_restarts(pid: i32) {
    info!(target: "sidekey", pid, "a value changed: restarting the program");
}

/// A value changed into something that the program cannot be given.
pub fn child_keeps_values(pid: i32, why: &(dyn Error + 'static)) {
    warn!(target: "sidekey", pid, error = %Chain(why), "a value changed and cannot be used: the program keeps what it has");
}

/// The program did not end in time.
pub fn child_killed(pid: i32, grace: Duration) {
    warn!(target: "sidekey", pid, ?grace, "the program did not end in time: killed");
}

/// A value changed, and the program was told.
pub fn child_signalled(pid: i32, signal: NotifySignal) {
    info!(target: "sidekey", pid, signal = signal.as_str(), "a value changed: program signalled");
}

/// The program took leased values with it, which nobody renews or revokes.
pub fn leases_left_behind() {
    warn!(target: "sidekey", "the program has leased values: nobody renews them, and our token is kept for them");
}
