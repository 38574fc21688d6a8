//! The local door: its listeners and its callers.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tracing::{info, warn};

use super::brief;
use crate::config::AbstractName;
use crate::observe::Chain;

/// A TCP listener is bound.
pub fn listening(addr: SocketAddr) {
    info!(target: "sidekey", %addr, "listening");
}

/// The abstract unix listener is bound.
pub fn listening_unix(name: &AbstractName) {
    info!(target: "sidekey", %name, "listening");
}

/// `dev` listens elsewhere than usual.
pub fn usual_address_taken(addr: SocketAddr) {
    warn!(target: "sidekey", %addr, "somebody listens at the usual address already: another port was taken");
}

/// The health listener is bound.
pub fn health_listening(addr: SocketAddr) {
    info!(target: "sidekey", %addr, "health and metrics");
}

/// No connection can be accepted just now: out of file descriptors or memory.
pub fn accept_paused(error: &(dyn Error + 'static), pause: Duration) {
    warn!(target: "sidekey", error = %Chain(error), pause = ?brief(pause), "not accepting connections");
}

/// Connections that did not end in time are cut.
pub fn drain_cut_short(connections: usize) {
    if connections == 0 {
        return;
    }
    warn!(target: "sidekey", connections, "connections cut");
}

/// A caller rule permits every name.
pub fn caller_may_read_everything(caller: &str) {
    warn!(target: "sidekey", caller, "caller may read every secret");
}

/// A caller's token file cannot be used; its rule matches nobody until it can.
pub fn token_file_gone(caller: &str, file: &Path, why: &(dyn Error + 'static)) {
    let (file, why) = (file.display(), Chain(why));
    warn!(target: "sidekey", caller, %file, error = %why, "token file unusable, rule matches nobody");
}

/// A caller's token file can be used again.
pub fn token_file_back(caller: &str, file: &Path) {
    info!(target: "sidekey", caller, file = %file.display(), "token file usable again");
}
