//! A limit on how often something may happen: one atomic, no lock, no background task.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Allows `per_second` in the long run, and as many at once after a quiet second (the generic
/// cell rate algorithm).
#[derive(Debug)]
pub(super) struct Rate {
    base: Instant,
    interval: u64,
    /// When the bucket is full again, in nanoseconds since `base`.
    full_at: AtomicU64,
}

const SECOND: u64 = 1_000_000_000;

impl Rate {
    /// Zero counts as one.
    pub(super) fn per_second(per_second: u32) -> Self {
        let interval = SECOND / u64::from(per_second.max(1));
        Self { base: Instant::now(), interval, full_at: AtomicU64::new(0) }
    }

    /// Takes one, or says how long to wait for it.
    pub(super) fn take(&self) -> Result<(), Duration> {
        let now = u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let room = SECOND.saturating_sub(self.interval);
        let next = |full_at: u64| {
            let full_at = full_at.max(now);
            (full_at - now <= room).then(|| full_at.saturating_add(self.interval))
        };
        match self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(_) => Ok(()),
            Err(full_at) => Err(Duration::from_nanos(full_at.saturating_sub(now + room))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_quiet_second_buys_a_burst_and_no_more() {
        let rate = Rate::per_second(10);
        let taken = |rate: &Rate| (0..100).filter(|_| rate.take().is_ok()).count();
        assert_eq!(taken(&rate), 10);
        assert_eq!(rate.take().unwrap_err(), Duration::from_millis(100));
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(taken(&rate), 2);
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(taken(&rate), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn one_per_second() {
        let rate = Rate::per_second(1);
        assert!(rate.take().is_ok());
        assert_eq!(rate.take().unwrap_err(), Duration::from_secs(1));
    }
}
