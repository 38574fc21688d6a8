//! When something last moved.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// When something last moved.
pub(super) struct Activity {
    base: Instant,
    /// Milliseconds since `base`.
    last: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self { base: Instant::now(), last: AtomicU64::new(0) }
    }

    pub(super) fn mark(&self) {
        let now = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// How long nothing has moved.
    pub(super) fn quiet(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.base.elapsed().saturating_sub(last)
    }

    /// Ends when nothing moved for `patience`.
    pub(super) async fn quiet_for(&self, patience: Duration) {
        loop {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let end = self.base + last + patience;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}
