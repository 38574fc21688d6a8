//! The life of a token.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::clock::now;
use super::schedule::{Extension, extension, has_moved};

/// The life of a token, as far as the leases that were made under it are concerned: Vault
/// revokes them together with it.
#[derive(Debug)]
pub struct TokenLife {
    granted: Mutex<Granted>,
    dead: AtomicBool,
    superseded: OnceLock<Instant>,
    handed_back: AtomicBool,
    ours: bool,
}

/// What Vault gave it.
#[derive(Debug)]
struct Granted {
    ends: Option<Instant>,
    /// The longest life that it was granted at once.
    longest: Duration,
    /// Its end does not move any more, as far as we know.
    fixed: bool,
}

impl TokenLife {
    /// `None` for a token without an end. `ours` when the stop will revoke it.
    pub fn new(ends: Option<Instant>, ours: bool) -> Self {
        let asked = now();
        Self::granted(ends.map(|ends| ends.saturating_duration_since(asked)), asked, ours)
    }

    /// Counted from the asking: Vault's clock started no earlier.
    pub fn granted(ttl: Option<Duration>, asked: Instant, ours: bool) -> Self {
        let (ends, longest) = (ttl.map(|ttl| asked + ttl), ttl.unwrap_or_default());
        Self {
            granted: Mutex::new(Granted { ends, longest, fixed: false }),
            dead: AtomicBool::new(false),
            superseded: OnceLock::new(),
            handed_back: AtomicBool::new(false),
            ours,
        }
    }

    /// When it ends, if ever; at once when it is known to be dead.
    pub fn ends(&self) -> Option<Instant> {
        if self.is_dead() {
            return Some(now());
        }
        self.lock().ends
    }

    /// The longest life that Vault granted it at once.
    pub fn longest(&self) -> Duration {
        self.lock().longest
    }

    /// A renewal that was `asked` for then granted so much. A token of ours that is given less than
    /// before is to be replaced; one that was brought may have nothing to take its place.
    pub fn renewed(&self, granted: Option<Duration>, asked: Instant) {
        let mut life = self.lock();
        let Some(granted) = granted else {
            (life.ends, life.fixed) = (None, false);
            return;
        };
        let ends = asked + granted;
        let is_later = life.ends.is_some_and(|before| has_moved(before, ends));
        life.fixed = match extension(granted, life.longest, is_later) {
            Extension::Whole => false,
            Extension::Less => self.ours,
            Extension::None => true,
        };
        life.ends = Some(ends);
        life.longest = life.longest.max(granted);
    }

    /// The same token was looked at again, and is `seen` so. Whoever else holds it may have
    /// renewed it.
    pub fn look(&self, seen: &Self) {
        let (ends, fixed) = {
            let seen = seen.lock();
            (seen.ends, seen.fixed)
        };
        let mut life = self.lock();
        let is_later = match (life.ends, ends) {
            (Some(before), Some(ends)) => has_moved(before, ends),
            (_, ends) => ends.is_none(),
        };
        life.fixed = fixed || (life.fixed && !is_later);
        life.ends = ends;
        life.longest = life.longest.max(seen.longest());
    }

    /// Vault does not extend it any more, as far as we know.
    pub fn fix(&self) {
        self.lock().fixed = true;
    }

    /// See [`fix`](Self::fix).
    pub fn is_fixed(&self) -> bool {
        self.lock().fixed
    }

    /// Its end, when that does not move any more.
    pub fn fixed_end(&self) -> Option<Instant> {
        self.ends().filter(|_| self.is_fixed())
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

    fn lock(&self) -> MutexGuard<'_, Granted> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_brought_token_is_renewed_as_long_as_its_end_moves() {
        let (brought, ours) = (TokenLife::new(Some(now() + SECOND * 60), false), true);
        let ours = TokenLife::new(brought.ends(), ours);
        tokio::time::advance(SECOND * 40).await;
        for (life, fixed) in [(&brought, false), (&ours, true)] {
            life.renewed(Some(SECOND * 50), now());
            assert_eq!(life.is_fixed(), fixed);
        }
        tokio::time::advance(SECOND * 40).await;
        // Its maximum life, give or take what Vault rounds.
        brought.renewed(Some(SECOND * 11), now());
        assert_eq!(brought.fixed_end(), Some(now() + SECOND * 11));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_forgets_nothing_but_what_somebody_changed() {
        let life = TokenLife::new(Some(now() + SECOND * 60), false);
        tokio::time::advance(SECOND * 40).await;
        life.renewed(Some(SECOND * 20), now());
        assert!(life.is_fixed());
        life.look(&TokenLife::new(Some(now() + SECOND * 19), false));
        assert!(life.is_fixed());
        assert_eq!(life.longest(), SECOND * 60);
        life.look(&TokenLife::new(Some(now() + SECOND * 50), false));
        assert!(!life.is_fixed());
    }
}
