//! The ceiling on requests to Vault, for the whole process and whatever goes wrong.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A token bucket with reservations: each request takes the next free place in line.
pub(super) struct Ceiling {
    interval: Duration,
    burst: u32,
    /// When the bucket would be full again if nothing more was taken.
    full_at: Mutex<Instant>,
}

impl Ceiling {
    /// `rate` requests per second on average, `2 * rate` at once after a pause.
    pub(super) fn new(rate: u32) -> Self {
        let rate = rate.max(1);
        Self {
            interval: Duration::from_secs(1) / rate,
            burst: rate.saturating_mul(2),
            full_at: Mutex::new(Instant::now()),
        }
    }

    /// Waits for a place in line. `false`, at once, when it would take longer than `patience`.
    ///
    /// Cancel safety: a canceled wait has used up its place.
    pub(super) async fn pass(&self, patience: Duration) -> bool {
        match self.reserve(patience) {
            Some(wait) => {
                tokio::time::sleep(wait).await;
                true
            }
            None => false,
        }
    }

    fn reserve(&self, patience: Duration) -> Option<Duration> {
        let now = Instant::now();
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let next = (*full_at).max(now) + self.interval;
        let wait = (next - now).saturating_sub(self.interval.saturating_mul(self.burst));
        if wait > patience {
            return None;
        }
        *full_at = next;
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_the_rate() {
        let ceiling = Ceiling::new(5);
        let start = Instant::now();
        for _ in 0..10 {
            assert!(ceiling.pass(Duration::ZERO).await);
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..50 {
            assert!(ceiling.pass(Duration::from_mins(1)).await);
        }
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(10), "{took:?}");
        assert!(took < Duration::from_millis(10_200), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_impatient_are_told_at_once_and_take_no_place() {
        let ceiling = Ceiling::new(1);
        for _ in 0..2 {
            assert!(ceiling.pass(Duration::ZERO).await);
        }
        for _ in 0..100 {
            assert!(!ceiling.pass(Duration::from_millis(500)).await);
        }
        assert!(ceiling.pass(Duration::from_secs(2)).await);
    }
}
