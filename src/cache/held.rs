//! A lease or certificate as it stands now, and when its next step is due.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::config::Declaration;
use crate::lease::{
    Handle, Lease, TokenLife, now, random_fraction, renew_after, replace_after_percent,
    replace_last_after, replace_orphan_after,
};
use crate::vault::Renewed;

/// Vault counts in whole seconds: two ends that are one may be as far apart.
const ROUNDED: Duration = Duration::from_secs(2);

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
    /// When its next step is due, as long as its token is in use.
    due: Instant,
    /// Its place among all that are replaced because their token was, from 0 to 1.
    place: f64,
    /// It is of a Vault that we do not ask any more.
    left_behind: bool,
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
            place: random_fraction(),
            left_behind: false,
        }
    }

    /// After a renewal. Near the maximum life Vault grants less than at first, in the end no more
    /// than what was left; then the lease is replaced while it lives. A whole life is not the last
    /// one, however early it was asked for, and neither is what adds half to what was left.
    pub(super) fn renewed(&self, renewed: Renewed, asked: Instant) -> Self {
        let left = self.ends.saturating_duration_since(asked);
        let more = renewed.duration >= self.granted || renewed.duration > left.mul_f64(1.5);
        let extends = renewed.renewable && more;
        let due = if extends {
            renew_after(renewed.duration)
        } else {
            replace_last_after(renewed.duration, self.granted)
        };
        Self { ends: asked + renewed.duration, extends, due: asked + due, ..self.clone() }
    }

    /// As another `declaration` of the same certificate has it.
    pub(super) fn retuned(&self, declaration: &Declaration) -> Self {
        let Declaration::Certificate(spec) = declaration else { return self.clone() };
        let mut held = self.clone();
        if let Handle::Certificate { revoke, .. } = &mut held.handle {
            *revoke = spec.revoke;
        }
        // Certificates are not renewed: this is when it was asked for.
        let asked = self.ends.checked_sub(self.granted).unwrap_or(self.ends);
        held.due = asked + replace_after_percent(self.granted, spec.renew_at_percent);
        held
    }

    /// The same, of a Vault that we do not ask any more.
    pub(super) fn left_behind(&self) -> Self {
        Self { left_behind: true, ..self.clone() }
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

    /// When its next step is due. Its token's end is no reason for one: what would be made under
    /// the same token ends with it too. Another token is; and when nothing under this one would
    /// live longer, nothing is done before.
    pub(super) fn due(&self) -> Instant {
        let Some(since) = self.token.superseded_at() else {
            let is_last = |end| end <= self.ends + ROUNDED;
            let waits = self.token.fixed_end().is_some_and(is_last);
            return if waits { self.ends } else { self.due };
        };
        let left = self.ends().saturating_duration_since(since);
        self.due.min(since + replace_orphan_after(left, self.place))
    }

    /// The lease to ask more life for, when that can be had.
    pub(super) fn renewable(&self) -> Option<&str> {
        match &self.handle {
            Handle::Lease(id) if self.extends && !self.token.is_superseded() => Some(id),
            _ => None,
        }
    }

    /// Whether it, or another in its place, could live that long: it did when it was new, and
    /// nothing outlives the token that it is made under.
    pub(super) fn could_live_for(&self, least: Duration) -> bool {
        let is_gone = self.token.is_superseded() || self.token.is_dead();
        let by_token = || self.token.ends().is_none_or(|end| end >= now() + least);
        self.granted >= least && (is_gone || by_token())
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
        !self.left_behind && !matches!(self.handle, Handle::Certificate { revoke: false, .. })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const HOUR: Duration = Duration::from_hours(1);

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

    fn lease(duration: Duration, token: &Arc<TokenLife>) -> Held {
        let lease = Lease {
            handle: Handle::Lease("database/creds/app/1".into()),
            duration,
            ends_at: None,
            renewable: true,
            replace_at_percent: None,
            token: Arc::clone(token),
        };
        Held::new(&lease, now(), Duration::ZERO)
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_ends_by_whichever_clock_is_first() {
        let by_time_passed = certificate(MINUTE, SystemTime::now() + HOUR);
        let by_the_wall = certificate(HOUR, SystemTime::now() + MINUTE);
        let set_forward = certificate(HOUR, SystemTime::now() - MINUTE);
        assert!(by_time_passed.lives() && by_the_wall.lives() && !set_forward.lives());
        assert!(by_the_wall.ends() <= now() + MINUTE);
        tokio::time::advance(MINUTE).await;
        assert!(!by_time_passed.lives());
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_is_replaced_by_its_share() {
        let held = certificate(HOUR, SystemTime::now() + HOUR);
        let wait = held.due() - now();
        assert!(wait <= HOUR / 2 && wait >= HOUR.mul_f64(0.449), "{wait:?}");
        assert!(held.outlives_us() && held.is_to_be_revoked());
        assert!(!held.left_behind().is_to_be_revoked());
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_kept_alive_hurries_no_lease() {
        let token = Arc::new(TokenLife::new(Some(now() + MINUTE * 20), true));
        let held = lease(HOUR, &token);
        assert_eq!(held.ends(), now() + MINUTE * 20);
        assert!(held.due() >= now() + MINUTE * 36);
        token.supersede();
        let due = held.due();
        assert!(due <= now() + Duration::from_secs(30));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(held.due(), due, "whoever looks again finds the same moment");
        assert!(held.renewable().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_done_under_a_token_that_ends_first_anyway() {
        let token = Arc::new(TokenLife::new(Some(now() + MINUTE * 60), true));
        token.fix();
        let (long, short) = (lease(HOUR, &token), lease(HOUR / 2, &token));
        assert!(long.due() >= token.ends().unwrap());
        assert!(short.due() <= now() + MINUTE * 20);
        token.supersede();
        assert!(long.due() <= now() + MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_could_outlive_its_token() {
        let token = Arc::new(TokenLife::new(Some(now() + HOUR), true));
        let held = lease(HOUR * 24, &token);
        assert!(held.could_live_for(HOUR) && !held.could_live_for(HOUR * 2));
        token.supersede();
        assert!(held.could_live_for(HOUR * 24), "by another token, perhaps");
        assert!(!held.could_live_for(HOUR * 25));
    }

    /// What Vault grants at `age`, with these default and maximum lives.
    fn grant(default: Duration, max: Duration, age: Duration) -> Renewed {
        let duration = default.min(max.saturating_sub(age));
        Renewed { duration, renewable: true }
    }

    proptest! {
        /// However early each renewal is asked for, the lease is given up near its maximum life
        /// alone, with a tenth of a first life left or as soon as less than that is granted.
        #[test]
        fn a_lease_is_used_up_to_its_maximum_life(
            first in 60u64..100_000,
            lives in 1.0f64..50.0,
            early in proptest::collection::vec(0.02f64..1.0, 1..40),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _inside = runtime.enter();
            let first = Duration::from_secs(first);
            let max = Duration::from_secs(first.mul_f64(lives).as_secs());
            let start = now();
            let mut held = lease(first, &Arc::new(TokenLife::new(None, true)));
            let mut early = early.iter().cycle();
            let mut asked = start;
            while held.renewable().is_some() {
                asked += (held.due - asked).mul_f64(*early.next().unwrap());
                let granted = grant(first, max, asked - start);
                prop_assume!(!granted.duration.is_zero());
                held = held.renewed(granted, asked);
                prop_assert!(held.due <= held.ends);
            }
            prop_assert!(held.ends + Duration::from_secs(1) >= start + max, "{:?} early", start + max - held.ends);
            let left = held.ends - held.due;
            prop_assert!(left >= first / 10 || held.due == asked, "{left:?} left of {first:?}");
            prop_assert!(left <= first / 4 || held.due == asked, "{left:?} left of {first:?}");
        }

        /// An engine whose renewals grant less than the first life, time after time, has its lease
        /// renewed all the same.
        #[test]
        fn renewals_that_grant_less_each_time_count(first in 60u64..100_000, share in 0.62f64..1.0) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _inside = runtime.enter();
            let first = Duration::from_secs(first);
            let mut held = lease(first, &Arc::new(TokenLife::new(None, true)));
            for _ in 0..20 {
                let renewed = Renewed { duration: first.mul_f64(share), renewable: true };
                held = held.renewed(renewed, held.due);
                prop_assert!(held.renewable().is_some());
            }
        }
    }
}
