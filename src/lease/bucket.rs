//! A token bucket with reservations: each taker gets the next free place in line.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// `burst` at once after a pause, one an `interval` after that.
#[derive(Debug)]
pub struct Bucket {
    interval: Duration,
    burst: u32,
    /// When the bucket would be full again if nothing more was taken.
    full_at: Mutex<Instant>,
}

impl Bucket {
    /// A full bucket.
    pub fn new(interval: Duration, burst: u32) -> Self {
        Self { interval, burst, full_at: Mutex::new(Instant::now()) }
    }

    /// The wait until a place that was taken now would come up.
    pub fn wait(&self) -> Duration {
        let now = Instant::now();
        let full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        ((*full_at).max(now) + self.interval - now)
            .saturating_sub(self.interval.saturating_mul(self.burst))
    }

    /// The wait until the place taken comes up.
    ///
    /// # Errors
    /// The wait that it would be, when that is longer than `patience`; no place is taken then.
    pub fn take(&self, patience: Duration) -> Result<Duration, Duration> {
        let now = Instant::now();
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let next = (*full_at).max(now) + self.interval;
        let wait = (next - now).saturating_sub(self.interval.saturating_mul(self.burst));
        if wait > patience {
            return Err(wait);
        }
        *full_at = next;
        Ok(wait)
    }
}
