//! One cached value, and how long it may be served.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::answer::{Freshness, Served};
use crate::config::SecretSpec;
use crate::lease::{
    Lease, TokenLife, now, refresh_after, renew_after, replace_after, replace_orphan_after,
};
use crate::secret::Secret;
use crate::vault::Renewed;

/// A value that we may not read any more is not served longer than this.
const LONGEST_DENIED: Duration = Duration::from_mins(1);

/// Immutable; whatever changes makes another one.
pub(super) struct Value {
    pub(super) secret: Arc<Secret>,
    pub(super) version: u64,
    /// When Vault last confirmed it.
    pub(super) confirmed: Instant,
    /// Absent for what has no life of its own.
    pub(super) lease: Option<Held>,
}

/// A lease as it stands now.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) id: Box<str>,
    ends: Instant,
    /// Life when it was new.
    pub(super) granted: Duration,
    /// Vault would extend it.
    extends: bool,
    token: Arc<TokenLife>,
    /// When its next step is due.
    due: Instant,
}

/// What to do next about a value.
pub(super) enum Step {
    /// Read it again.
    Read,
    /// Ask for more life for its lease.
    Renew(Box<str>),
}

impl Held {
    /// A lease runs from the moment it was asked for: Vault's clock started no earlier. One that
    /// Vault gave no life has an unknown one, and counts as good for `refresh`.
    pub(super) fn new(lease: &Lease, asked: Instant, refresh: Duration) -> Self {
        let known = !lease.duration.is_zero();
        let granted = if known { lease.duration } else { refresh };
        let extends = lease.renewable && known;
        let step = if extends { renew_after } else { replace_after };
        Self {
            id: lease.id.clone(),
            ends: asked + granted,
            granted,
            extends,
            token: Arc::clone(&lease.token),
            due: asked + step(granted),
        }
    }

    /// After a renewal. Vault grants less and less when the maximum life comes near; then the
    /// lease is replaced while it lives.
    pub(super) fn renewed(&self, renewed: Renewed, asked: Instant) -> Self {
        let left = self.ends.saturating_duration_since(asked);
        let extends = renewed.renewable && renewed.duration > left.mul_f64(1.5);
        let step = if extends { renew_after } else { replace_after };
        Self {
            ends: asked + renewed.duration,
            extends,
            due: asked + step(renewed.duration),
            ..self.clone()
        }
    }

    /// Its own end or its token's, whichever comes first.
    pub(super) fn ends(&self) -> Instant {
        self.token.ends().map_or(self.ends, |token| token.min(self.ends))
    }

    /// Vault still knows it, as far as we know.
    pub(super) fn lives(&self) -> bool {
        self.ends() > now()
    }

    /// It does not end with our own token at the stop.
    pub(super) fn outlives_us(&self) -> bool {
        !self.token.is_handed_back_at_stop()
    }
}

impl Value {
    /// From when on it must not be served.
    pub(super) fn end(&self, spec: &SecretSpec) -> Instant {
        match &self.lease {
            Some(lease) => lease.ends(),
            None => self.confirmed + spec.refresh + spec.max_stale,
        }
    }

    /// The same, since Vault said from `denied` on that we may not read it: it is served for one
    /// more `refresh`, a minute at most, in case that was a mistake. A lease is Vault's to end.
    pub(super) fn end_when_denied(&self, spec: &SecretSpec, denied: Option<Instant>) -> Instant {
        let end = self.end(spec);
        match denied.filter(|_| self.lease.is_none()) {
            Some(denied) => end.min(denied + spec.refresh.min(LONGEST_DENIED)),
            None => end,
        }
    }

    /// The answer, unless it is past its `end`.
    pub(super) fn serve(&self, spec: &SecretSpec, end: Instant) -> Option<Served> {
        let now = now();
        if now >= end {
            return None;
        }
        let age = now.saturating_duration_since(self.confirmed);
        let fresh = self.lease.is_some() || age <= spec.refresh;
        Some(Served {
            secret: Arc::clone(&self.secret),
            version: self.version,
            freshness: if fresh { Freshness::Fresh } else { Freshness::Stale },
            age,
            expires_in: self.lease.as_ref().map(|l| l.ends().saturating_duration_since(now)),
        })
    }

    /// When the next step is due.
    pub(super) fn due_in(&self, spec: &SecretSpec) -> Duration {
        let Some(lease) = &self.lease else { return refresh_after(spec.refresh) };
        let now = now();
        let left = lease.ends().saturating_duration_since(now);
        if lease.token.is_superseded() || lease.token.is_dead() {
            return replace_orphan_after(left);
        }
        // The token's end may come before the lease's.
        let last = if lease.ends() < lease.ends { replace_after(left) } else { left };
        lease.due.saturating_duration_since(now).min(last)
    }

    /// What the next step is.
    pub(super) fn step(&self) -> Step {
        match &self.lease {
            Some(lease) if lease.extends && !lease.token.is_superseded() => {
                Step::Renew(lease.id.clone())
            }
            _ => Step::Read,
        }
    }
}
