//! How long a value is good for, and when to act on it. Nothing here talks to Vault.
//!
//! # The contract
//!
//! With `ttl` the life that Vault granted, `left` what is left of it, and a random factor so that
//! many sidecars do not act at once:
//!
//! | what | when |
//! | --- | --- |
//! | renew a token or lease | after `ttl` × 2/3 × (90 to 100 %): [`renew_after`] |
//! | replace what cannot be renewed (any more) | after `ttl` × 9/10 × (90 to 100 %): [`replace_after`] |
//! | replace what Vault extends no more, near its maximum life | the same of what is left, and with a tenth of the first `ttl` left at least: [`replace_last_after`] |
//! | replace what was made under a token that another took the place of | within 30 s, and half of what is left: [`replace_orphan_after`] |
//! | renew or replace what ends no sooner than its token, when that is not extended any more | not before the token is replaced: nothing under it would live longer |
//! | read an unleased value again | after `refresh` × 95/100 × (84 to 100 %): [`refresh_after`] |
//! | read again what Vault itself rotates | when its `ttl` is over, 1 to 2 s later: [`after_rotation`] |
//! | retry | after min(1 s × 2ⁿ, 60 s, max(`left` / 4, 1 s)) × (50 to 100 %), never before `Retry-After`: [`Backoff`] |
//! | log in again | when the token cannot be renewed any more: as for replacing. When Vault no longer knows it: at once the first time, then as for retries |
//! | a 403 | one look whether the token lives, at most every 10 s. It does not: log in, ask once more. It does: it is about the path, and retried as any failure |
//! | replace a certificate | after its life × `renew_at_percent` (67) × (90 to 100 %): [`replace_after_percent`] |
//! | a new lease or certificate | only when the old one is gone or cannot be renewed any more; 20 at once and 200 an hour at most for each name |
//! | read after a login that came late | at once what has no value; within 5 s, at random, what has: [`after_late_login`] |
//! | give up | never; but what is past its end is not served |
//!
//! So an outage that begins at the worst moment, right before a renewal, is survived when it is
//! shorter than [`outage_survived`]: a third of the `ttl` for what Vault renews, a tenth for what
//! it does not, both less the longest wait between the last two attempts. When Vault hangs
//! instead of refusing, an attempt costs up to `vault.timeout` too, and that comes off as well.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

mod backoff;
mod bucket;
mod clock;
mod schedule;
#[cfg(test)]
mod tests;

pub use backoff::Backoff;
pub(crate) use backoff::{jittered, random_fraction};
pub use bucket::Bucket;
pub use clock::now;
pub(crate) use clock::until;
pub use schedule::{
    Kind, after_late_login, after_rotation, outage_survived, refresh_after, renew_after,
    replace_after, replace_after_percent, replace_last_after, replace_orphan_after, spread,
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
    /// When to renew or replace it, counted from the moment it was asked for, when it lives for
    /// `granted` and whether Vault `extends` it.
    pub fn next_step(&self, granted: Duration, extends: bool) -> Duration {
        match self.replace_at_percent {
            Some(percent) => replace_after_percent(granted, percent),
            None if extends => renew_after(granted),
            None => replace_after(granted),
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
    superseded: OnceLock<Instant>,
    handed_back: AtomicBool,
    fixed: AtomicBool,
    ours: bool,
}

impl TokenLife {
    /// `None` for a token without an end. `ours` when the stop will revoke it.
    pub fn new(ends: Option<Instant>, ours: bool) -> Self {
        Self {
            ends: Mutex::new(ends),
            dead: AtomicBool::new(false),
            superseded: OnceLock::new(),
            handed_back: AtomicBool::new(false),
            fixed: AtomicBool::new(false),
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

    /// Whether Vault extends it, as far as we know.
    pub fn set_extended(&self, extended: bool) {
        self.fixed.store(!extended, Ordering::Release);
    }

    /// Its end, when that does not move any more.
    pub fn fixed_end(&self) -> Option<Instant> {
        self.ends().filter(|_| self.fixed.load(Ordering::Acquire))
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
        self.superseded.get_or_init(now);
    }

    /// See [`supersede`](Self::supersede).
    pub fn is_superseded(&self) -> bool {
        self.superseded_at().is_some()
    }

    /// When that was.
    pub fn superseded_at(&self) -> Option<Instant> {
        self.superseded.get().copied()
    }

    /// Another Vault or another login took its place: it is revoked soon, and at the stop at the
    /// latest, if it is ours.
    pub fn hand_back(&self) {
        self.supersede();
        self.handed_back.store(true, Ordering::Release);
    }

    /// Whether the stop revokes this token, which ends the leases under it.
    pub fn is_handed_back_at_stop(&self) -> bool {
        self.ours && (!self.is_superseded() || self.handed_back.load(Ordering::Acquire))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
