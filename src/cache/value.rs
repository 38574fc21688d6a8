//! One cached value, and how long it may be served.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::answer::{Freshness, Served};
use super::held::Held;
use crate::config::Declaration;
use crate::lease::{after_rotation, now, refresh_after};
use crate::secret::{KvVersion, Secret};

/// A value that we may not read any more is served for one more `refresh`, within these bounds:
/// time enough to find out that it is the token which Vault does not know, and no more than that.
const SHORTEST_DENIED: Duration = Duration::from_secs(15);
const LONGEST_DENIED: Duration = Duration::from_mins(1);

/// Confirmations by metadata in a row.
const MOST_UNREAD: u32 = 9;

/// Immutable; whatever changes makes another one.
pub(super) struct Value {
    pub(super) secret: Arc<Secret>,
    pub(super) version: u64,
    /// When Vault last confirmed it.
    pub(super) confirmed: Instant,
    /// How often that was by its metadata, since it was last read as a whole.
    pub(super) unread: u32,
    /// Absent for what has no life of its own.
    pub(super) lease: Option<Held>,
    /// When what has none is read again.
    due: Instant,
    /// Of a Vault that we do not ask any more: what the present one says is compared with others.
    left_behind: bool,
}

/// What to do next about a value.
pub(super) enum Step {
    /// Read it again.
    Read,
    /// Ask for more life for its lease.
    Renew(Box<str>),
}

impl Value {
    /// What was read just now.
    pub(super) fn new(
        secret: Arc<Secret>,
        version: u64,
        lease: Option<Held>,
        declaration: &Declaration,
    ) -> Self {
        let confirmed = now();
        let due = read_again(&secret, confirmed, declaration);
        Self { secret, version, confirmed, unread: 0, lease, due, left_behind: false }
    }

    /// The same value, whose lease is this now.
    pub(super) fn extended(&self, lease: Held) -> Self {
        Self { confirmed: now(), unread: 0, ..self.with(Some(lease)) }
    }

    /// The same value, kept as another declaration of it says.
    pub(super) fn retuned(&self, declaration: &Declaration) -> Self {
        let due = read_again(&self.secret, self.confirmed, declaration);
        let lease = self.lease.as_ref().map(|lease| lease.retuned(declaration));
        Self { due, ..self.with(lease) }
    }

    /// The same value, of a Vault that we do not ask any more.
    pub(super) fn left_behind(&self) -> Self {
        Self { left_behind: true, ..self.with(self.lease.as_ref().map(Held::left_behind)) }
    }

    /// The version by which the present Vault knows it.
    pub(super) fn kv(&self) -> Option<KvVersion> {
        self.secret.kv().filter(|_| !self.left_behind)
    }

    fn with(&self, lease: Option<Held>) -> Self {
        let secret = Arc::clone(&self.secret);
        let Self { version, confirmed, unread, due, left_behind, .. } = *self;
        Self { secret, version, confirmed, unread, lease, due, left_behind }
    }

    /// From when on it must not be served.
    pub(super) fn end(&self, declaration: &Declaration) -> Instant {
        match (&self.lease, declaration) {
            (Some(lease), _) => lease.ends(),
            (None, Declaration::Secret(spec)) => self.confirmed + spec.refresh + spec.max_stale,
            // Does not happen: a certificate has an end of its own.
            (None, Declaration::Certificate(_)) => self.confirmed,
        }
    }

    /// The same, since Vault said from `denied` on that we may not read it: it is served for one
    /// more `refresh`, 15 s at least and a minute at most, in case that is a mistake. A lease is Vault's to end.
    pub(super) fn end_when_denied(
        &self,
        declaration: &Declaration,
        denied: Option<Instant>,
    ) -> Instant {
        let end = self.end(declaration);
        match denied.filter(|_| self.lease.is_none()) {
            Some(denied) => {
                end.min(denied + declaration.refresh().clamp(SHORTEST_DENIED, LONGEST_DENIED))
            }
            None => end,
        }
    }

    /// The answer, unless it is past its `end`.
    pub(super) fn serve(&self, declaration: &Declaration, end: Instant) -> Option<Served> {
        let now = now();
        if now >= end {
            return None;
        }
        let age = now.saturating_duration_since(self.confirmed);
        let fresh = match (&self.lease, declaration) {
            (None, Declaration::Secret(spec)) => age <= spec.refresh,
            _ => true,
        };
        Some(Served {
            secret: Arc::clone(&self.secret),
            version: self.version,
            freshness: if fresh { Freshness::Fresh } else { Freshness::Stale },
            age,
            expires_in: self.lease.as_ref().map(|l| l.ends().saturating_duration_since(now)),
        })
    }

    /// What to recognize it by in Vault's metadata. Not for ever: a policy that lets us read
    /// metadata and the secret itself no more is to be noticed.
    pub(super) fn recognizable(&self) -> Option<KvVersion> {
        self.kv().filter(|_| self.unread < MOST_UNREAD && self.lease.is_none())
    }

    /// The same value, which Vault has confirmed now.
    pub(super) fn confirm(&self, declaration: &Declaration) -> Self {
        let confirmed = now();
        let due = read_again(&self.secret, confirmed, declaration);
        Self { confirmed, unread: self.unread + 1, due, ..self.with(self.lease.clone()) }
    }

    /// When the next step is due.
    pub(super) fn due_in(&self) -> Duration {
        let due = self.lease.as_ref().map_or(self.due, Held::due);
        due.saturating_duration_since(now())
    }

    /// What the next step is.
    pub(super) fn step(&self) -> Step {
        match self.lease.as_ref().and_then(Held::renewable) {
            Some(id) => Step::Renew(id.into()),
            None => Step::Read,
        }
    }
}

/// When to read again what has no lease: by `refresh`, and when Vault itself rotates it.
fn read_again(secret: &Secret, confirmed: Instant, declaration: &Declaration) -> Instant {
    let by_refresh = refresh_after(declaration.refresh());
    let by_rotation = secret.rotates_in().map(after_rotation);
    confirmed + by_rotation.map_or(by_refresh, |wait| wait.min(by_refresh))
}
