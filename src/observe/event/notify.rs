//! Telling the application of rotations.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use tracing::{info, warn};

use super::brief;
use crate::config::{NotifyTarget, ProcessSource};
use crate::observe::Chain;

/// The application was told of rotations.
pub fn notified(target: &NotifyTarget, names: &[&str]) {
    let target = Recipient(target);
    info!(target: "sidekey", %target, ?names, "application notified");
}

/// The application could not be told of rotations; it is tried again.
pub fn not_notified(target: &NotifyTarget, why: &(dyn Error + 'static), retry_in: Duration) {
    let target = Recipient(target);
    warn!(target: "sidekey", %target, error = %Chain(why), retry_in = ?brief(retry_in), "application not notified");
}

/// A target without the query of its URL, which may be a credential.
struct Recipient<'a>(&'a NotifyTarget);

impl fmt::Display for Recipient<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            NotifyTarget::Http { url, .. } => {
                let path = url.target.split('?').next().unwrap_or_default();
                write!(f, "http://{}{path}", url.addr)
            }
            NotifyTarget::Signal { signal, process: ProcessSource::PidFile(file) } => {
                write!(f, "SIG{} by {}", signal.as_str(), file.display())
            }
            NotifyTarget::Signal { signal, process: ProcessSource::Named(name) } => {
                write!(f, "SIG{} to {name}", signal.as_str())
            }
        }
    }
}
