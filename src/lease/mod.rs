//! How long a value is good for, and when to act on it. Nothing here talks to Vault.
//!
//! # The contract
//!
//! With `ttl` the life that Vault granted, and a random factor so that many sidecars do not act
//! at once:
//!
//! | what | when |
//! | --- | --- |
//! | renew a token or lease | after 60 to 67 % of `ttl` |
//! | replace what cannot be renewed (any more) | after 81 to 90 % of `ttl` |
//! | replace a certificate | after 60 to 67 % of its life, or from 90 to 100 % of `renew_at_percent` of it |
//! | read an unleased value again | after 80 to 95 % of `refresh` |
//! | retry | 1 s, 2 s, 4 s … 60 s, each 50 to 100 % of the step, never before `Retry-After` |
//! | log in again | when Vault no longer knows the token: once at once, then with the back-off |
//! | a new lease or certificate | only when the old one cannot be renewed any more; 20 at once and 200 an hour at most for each name |
//! | give up | never; but what is past its end is not served |
//!
//! So an outage that begins at the worst moment, right before a renewal, is survived when it is
//! shorter than a third of the `ttl`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

mod backoff;
mod bucket;
mod clock;
mod schedule;

pub use backoff::Backoff;
pub use bucket::Bucket;
pub use clock::now;
pub use schedule::{
    refresh_after, renew_after, replace_after, replace_after_percent, replace_orphan_after,
};

/// No life is longer, whatever Vault says: ten years, so that no sum of times overflows.
pub(crate) const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// A life that Vault granted, in seconds.
pub fn granted(seconds: u64) -> Duration {
    Duration::from_secs(seconds).min(LONGEST)
}

/// A limited life, as Vault granted it: a lease
/// (<https://developer.hashicorp.com/vault/docs/concepts/lease>) or a certificate.
#[derive(Debug, Clone)]
pub struct Lease {
    /// How it is given back.
    pub handle: Handle,
    /// Life from the moment it was asked for.
    pub duration: Duration,
    /// Its end by the wall clock, where others look at that: certificates.
    pub ends_at: Option<SystemTime>,
    /// Whether Vault would extend it.
    pub renewable: bool,
    /// How much of its life may pass before it is replaced, in per cent; `None` for the usual.
    pub replace_at_percent: Option<u32>,
    /// The life of the token that it was made under, which is the most it can have.
    pub token: std::sync::Arc<TokenLife>,
}

impl Lease {
    /// When to renew or replace it, counted from the moment it was asked for.
    pub fn next_step(&self) -> Duration {
        match self.replace_at_percent {
            Some(percent) => replace_after_percent(self.duration, percent),
            None if self.renewable => renew_after(self.duration),
            None => replace_after(self.duration),
        }
    }
}

/// What Vault knows something by that we may give back. Not a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handle {
    /// A lease, by its id.
    Lease(Box<str>),
    /// A certificate.
    Certificate {
        /// The PKI mount that issued it.
        mount: Box<str>,
        /// Its serial number, as Vault writes it.
        serial: Box<str>,
        /// The operator wants it revoked.
        revoke: bool,
    },
}

/// The life of a token, as far as the leases that were made under it are concerned: Vault
/// revokes them together with it.
#[derive(Debug)]
pub struct TokenLife {
    ends: Mutex<Option<Instant>>,
    dead: AtomicBool,
    superseded: AtomicBool,
    ours: bool,
}

impl TokenLife {
    /// `None` for a token without an end. `ours` when the stop will revoke it.
    pub fn new(ends: Option<Instant>, ours: bool) -> Self {
        Self {
            ends: Mutex::new(ends),
            dead: AtomicBool::new(false),
            superseded: AtomicBool::new(false),
            ours,
        }
    }

    /// When it ends, if ever; at once when it is known to be dead.
    pub fn ends(&self) -> Option<Instant> {
        if self.is_dead() {
            return Some(now());
        }
        *self.lock()
    }

    /// Vault extended it, or did not.
    pub fn set_end(&self, ends: Option<Instant>) {
        *self.lock() = ends;
    }

    /// Vault does not know it any more: everything under it is gone.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::Release);
    }

    /// See [`kill`](Self::kill).
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// A newer token took its place: it is not renewed any more.
    pub fn supersede(&self) {
        self.superseded.store(true, Ordering::Release);
    }

    /// See [`supersede`](Self::supersede).
    pub fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire)
    }

    /// Whether revoking our own token at the stop ends the leases under this one.
    pub fn is_handed_back_at_stop(&self) -> bool {
        self.ours && !self.is_superseded()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
