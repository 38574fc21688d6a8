//! Configuration, readiness, stop and reload.

use std::error::Error;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::observe::Chain;

/// A setting that works but should be said aloud.
pub fn configuration_warning(warning: &str) {
    warn!(target: "sidekey", "{warning}");
}

/// Some required secrets are not loaded.
pub fn not_ready(pending: &[String]) {
    warn!(target: "sidekey", ?pending, "not ready");
}

/// Every required secret is loaded.
pub fn ready() {
    info!(target: "sidekey", "ready");
}

/// The stop began.
pub fn stopping(deadline: Duration) {
    info!(target: "sidekey", ?deadline, "stopping");
}

/// The stop ended.
pub fn stopped() {
    info!(target: "sidekey", "stopped");
}

/// The configuration was read again and is in force.
pub fn reloaded() {
    info!(target: "sidekey", "configuration reloaded");
}

/// The configuration was read again and refused; the running one stays.
pub fn reload_refused(error: &(dyn Error + 'static)) {
    error!(target: "sidekey", error = %Chain(error), "configuration refused, the running one stays");
}
