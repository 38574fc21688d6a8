//! How long a value is good for.

use std::time::Duration;

mod backoff;
mod schedule;

pub use backoff::Backoff;
pub use schedule::{refresh_after, renew_after, replace_after};

/// A lease on a secret, as Vault granted it:
/// <https://developer.hashicorp.com/vault/docs/concepts/lease>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Identifies the lease to Vault. Not a secret, but it names the path.
    pub id: Box<str>,
    /// Life from the moment of the answer.
    pub duration: Duration,
    /// Whether Vault would extend it.
    pub renewable: bool,
}
