//! One cached value, and how long it may be served.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::answer::{Freshness, Served};
use crate::config::Declaration;
use crate::lease::{
    Handle, Lease, TokenLife, now, refresh_after, renew_after, replace_after, replace_last_after,
    replace_orphan_after,
};
use crate::secret::{KvVersion, Secret};
use crate::vault::Renewed;

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
}

/// A lease as it stands now.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) handle: Handle,
    ends: Instant,
    /// Its end by the wall clock, for what others judge by that.
    ends_at: Option<SystemTime>,
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
        Self {
            handle: lease.handle.clone(),
            ends: asked + granted,
            ends_at: lease.ends_at,
            granted,
            extends,
            token: Arc::clone(&lease.token),
            due: asked + lease.next_step(granted, extends),
        }
    }

    /// After a renewal. Vault grants less and less when the maximum life comes near; then the
    /// lease is replaced while it lives.
    pub(super) fn renewed(&self, renewed: Renewed, asked: Instant) -> Self {
        let left = self.ends.saturating_duration_since(asked);
        let extends = renewed.renewable && renewed.duration > left.mul_f64(1.5);
        let due = if extends {
            renew_after(renewed.duration)
        } else {
            replace_last_after(renewed.duration, self.granted)
        };
        Self { ends: asked + renewed.duration, extends, due: asked + due, ..self.clone() }
    }

    /// Its own end or its token's, whichever comes first.
    pub(super) fn ends(&self) -> Instant {
        let own = self.ends_by_all_clocks();
        self.token.ends().map_or(own, |token| token.min(own))
    }

    /// The wall clock may be set while we run; an end that it has passed is an end.
    fn ends_by_all_clocks(&self) -> Instant {
        let Some(ends_at) = self.ends_at else { return self.ends };
        let left = ends_at.duration_since(SystemTime::now()).unwrap_or_default();
        self.ends.min(now() + left)
    }

    /// Vault still knows it, as far as we know.
    pub(super) fn lives(&self) -> bool {
        self.ends() > now()
    }

    /// It does not end with our own token at the stop.
    pub(super) fn outlives_us(&self) -> bool {
        !self.token.is_handed_back_at_stop()
    }

    /// Vault is to be asked to end it.
    pub(super) fn is_to_be_revoked(&self) -> bool {
        !matches!(self.handle, Handle::Certificate { revoke: false, .. })
    }
}

impl Value {
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
        self.secret.kv().filter(|_| self.unread < MOST_UNREAD && self.lease.is_none())
    }

    /// The same value, which Vault has confirmed now.
    pub(super) fn confirm(&self) -> Self {
        Self {
            secret: Arc::clone(&self.secret),
            version: self.version,
            confirmed: now(),
            unread: self.unread + 1,
            lease: self.lease.clone(),
        }
    }

    /// When the next step is due.
    pub(super) fn due_in(&self, declaration: &Declaration) -> Duration {
        let lease = match (&self.lease, declaration) {
            (Some(lease), _) => lease,
            (None, Declaration::Secret(spec)) => return refresh_after(spec.refresh),
            (None, Declaration::Certificate(_)) => return Duration::ZERO,
        };
        let now = now();
        let left = lease.ends().saturating_duration_since(now);
        if lease.token.is_superseded() || lease.token.is_dead() {
            return replace_orphan_after(left);
        }
        // The token's end may come before the lease's.
        let by_token = lease.token.ends().is_some_and(|token| token < lease.ends);
        let last = if by_token { replace_after(left) } else { left };
        lease.due.saturating_duration_since(now).min(last)
    }

    /// What the next step is.
    pub(super) fn step(&self) -> Step {
        match &self.lease {
            Some(Held { handle: Handle::Lease(id), extends: true, token, .. })
                if !token.is_superseded() =>
            {
                Step::Renew(id.clone())
            }
            _ => Step::Read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(duration: Duration, ends_at: SystemTime) -> Held {
        let lease = Lease {
            handle: Handle::Certificate { mount: "pki".into(), serial: "0a".into(), revoke: true },
            duration,
            ends_at: Some(ends_at),
            renewable: false,
            replace_at_percent: Some(50),
            token: Arc::new(TokenLife::new(None, false)),
        };
        Held::new(&lease, now(), Duration::ZERO)
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_ends_by_whichever_clock_is_first() {
        let (minute, hour) = (Duration::from_mins(1), Duration::from_hours(1));
        let by_time_passed = certificate(minute, SystemTime::now() + hour);
        let by_the_wall = certificate(hour, SystemTime::now() + minute);
        let set_forward = certificate(hour, SystemTime::now() - minute);
        assert!(by_time_passed.lives() && by_the_wall.lives() && !set_forward.lives());
        assert!(by_the_wall.ends() <= now() + minute);
        tokio::time::advance(minute).await;
        assert!(!by_time_passed.lives());
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_is_replaced_by_its_share() {
        let hour = Duration::from_hours(1);
        let held = certificate(hour, SystemTime::now() + hour);
        let wait = held.due - now();
        assert!(wait <= hour / 2 && wait >= hour.mul_f64(0.449), "{wait:?}");
        assert!(held.outlives_us() && held.is_to_be_revoked());
    }
}
