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
//! | replace what Vault extends no more, near its maximum life; for a token of our own: as soon as a renewal grants less than its longest `ttl` ([`extension`]) | the same of what is left, and with a tenth of that longest `ttl` left at least: [`replace_last_after`] |
//! | a token that was brought and nothing takes the place of | is renewed as long as that moves its end, and then asked after as if it were renewed |
//! | replace what was made under a token that another took the place of | within 30 s, and half of what is left: [`replace_orphan_after`] |
//! | renew or replace what ends no sooner than its token, when that is not extended any more | not before the token is replaced: nothing under it would live longer |
//! | read an unleased value again | after `refresh` × 95/100 × (84 to 100 %): [`refresh_after`] |
//! | read again what Vault itself rotates | the same, and when its `ttl` is over, 1 to 2 s later; while it is overdue every 5 s: [`after_rotation`] |
//! | retry | after min(1 s × 2ⁿ, 60 s, max(`left` / 4, 1 s)) × (50 to 100 %), with `n` the failures before it whose wait `left` did not shorten; never before `Retry-After`, up to ten times the cap: [`Backoff`] |
//! | log in again | when the token cannot be renewed any more: as for replacing. When Vault no longer knows it: at once, and when that repeats within a minute as for retries. After a refusal: when there is another credential, or after min(1 s × 2ⁿ, 16 min) where the server may come to take it |
//! | a 403 | at most every 10 s one look whether the token lives. It does not, by Vault's `invalid token` (before 1.15.8: by its denying the look): log in, ask once more. It does: it is about the path, and retried as any failure. One that is not Vault's JSON is an outage |
//! | replace a certificate | after its life × `renew_at_percent` (67) × (90 to 100 %): [`replace_after_percent`] |
//! | a new lease or certificate | only when the old one is gone or cannot be renewed any more; 20 at once and 200 an hour at most for each name |
//! | read after a login that came late | at once what has no value; within 5 s, at random, what has: [`after_late_login`] |
//! | give up | never; but what is past its end is not served |
//!
//! So an outage that begins at the worst moment, right before a renewal, is survived when it is
//! shorter than [`outage_survived`]: a third of the `ttl` for what Vault renews, a tenth for what
//! it does not, both less the longest wait between the last two attempts. When Vault hangs
//! instead of refusing, an attempt costs up to `vault.timeout` too, and that comes off as well.

use std::time::{Duration, SystemTime};

mod backoff;
mod bucket;
mod clock;
mod schedule;
#[cfg(test)]
mod tests;
mod token_life;

pub use backoff::Backoff;
pub(crate) use backoff::{jittered, random_fraction};
pub use bucket::Bucket;
pub use clock::now;
pub(crate) use clock::until;
pub(crate) use schedule::LATE;
pub use schedule::{
    Extension, Kind, after_late_login, after_rotation, extension, outage_survived, refresh_after,
    renew_after, replace_after, replace_after_percent, replace_last_after, replace_orphan_after,
    spread,
};
pub use token_life::TokenLife;

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
