//! Waiting between attempts: capped, doubling, jittered.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

/// Doubles from `first` to `cap`; each wait is a random 50 to 100 % of its step, so that many
/// sidecars that failed together do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
    /// How often the step doubled.
    doubled: u32,
}

impl Backoff {
    /// A back-off that starts at `first` (at least 1 ms) and never waits longer than `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        let first = first.max(Duration::from_millis(1));
        Self { first, cap: cap.max(first), failures: 0, doubled: 0 }
    }

    /// The wait after one more failure: never less than `asked`, the server's `Retry-After`,
    /// itself bounded by ten times the cap.
    pub fn after_failure(&mut self, asked: Option<Duration>) -> Duration {
        self.after_failure_with(asked, None)
    }

    /// The same for what lives only `left` longer: at most a quarter of that is waited, so that
    /// retries draw closer together as the end comes near, and the last quarter is never slept
    /// through. Not more often than `first`, even so. A wait cut short doubles nothing: once the
    /// end is past, the next one is no longer than it would have been before.
    pub fn after_failure_with(
        &mut self,
        asked: Option<Duration>,
        left: Option<Duration>,
    ) -> Duration {
        let step = self.first.saturating_mul(1 << self.doubled.min(20)).min(self.cap);
        let last = left.map_or(Duration::MAX, |left| (left / 4).max(self.first));
        self.failures = self.failures.saturating_add(1);
        if step <= last {
            self.doubled = self.doubled.saturating_add(1);
        }
        let asked = asked.unwrap_or_default().min(self.cap.saturating_mul(10));
        jittered(step.min(last), 0.5).max(asked)
    }

    /// Waits no longer than `cap` from now on.
    pub fn set_cap(&mut self, cap: Duration) {
        self.cap = cap.max(self.first);
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        (self.failures, self.doubled) = (0, 0);
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// A random duration from `(1 - share) * full` up to `full`.
pub(crate) fn jittered(full: Duration, share: f64) -> Duration {
    full.mul_f64(1.0 - share * random_fraction())
}

/// Uniform in `[0, 1)`. Without randomness from the kernel it is 0: no jitter, nothing worse.
pub(crate) fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        return 0.0;
    }
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn doubles_up_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        for step in [1, 2, 4, 8, 16, 30, 30, 30] {
            let wait = backoff.after_failure(None);
            assert!(wait <= Duration::from_secs(step), "{wait:?} after a step of {step}");
            assert!(wait >= Duration::from_secs(step) / 2, "{wait:?} after a step of {step}");
        }
        backoff.reset();
        assert!(backoff.after_failure(None) <= Duration::from_secs(1));
    }

    #[test]
    fn the_servers_wish_is_honored_but_bounded() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        assert_eq!(backoff.after_failure(Some(Duration::from_secs(90))), Duration::from_secs(90));
        assert_eq!(backoff.after_failure(Some(Duration::from_hours(24))), Duration::from_mins(5));
    }

    #[test]
    fn retries_draw_closer_as_the_end_comes_near() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));
        let mut left = Duration::from_mins(20);
        let mut retries = 0;
        while left > Duration::from_secs(1) {
            let wait = backoff.after_failure_with(None, Some(left));
            assert!(wait <= (left / 4).max(Duration::from_secs(1)), "{wait:?} of {left:?}");
            left = left.saturating_sub(wait);
            retries += 1;
        }
        assert!((20..80).contains(&retries), "{retries} retries in twenty minutes");
    }

    #[test]
    fn a_wait_that_the_end_cut_short_is_no_step() {
        let (second, mut backoff) =
            (Duration::from_secs(1), Backoff::new(Duration::from_secs(1), Duration::from_mins(1)));
        for _ in 0..10 {
            assert!(backoff.after_failure_with(None, Some(second * 3)) <= second);
        }
        assert_eq!(backoff.failures(), 10);
        assert!(backoff.after_failure(None) <= second * 2);
        assert!(backoff.after_failure(None) <= second * 4);
    }

    proptest! {
        #[test]
        fn never_zero_and_never_over_the_cap(first in 0u64..100_000, cap in 0u64..1_000_000, failures in 0usize..80) {
            let cap = Duration::from_millis(cap);
            let mut backoff = Backoff::new(Duration::from_millis(first), cap);
            for _ in 0..failures {
                let wait = backoff.after_failure(None);
                prop_assert!(wait > Duration::ZERO);
                prop_assert!(wait <= cap.max(Duration::from_millis(first.max(1))));
            }
        }
    }
}
