//! How the process is told to stop, and the one deadline over all of it.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Asks a running sidecar to stop. Clones ask the same one.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    gracefully: CancellationToken,
    at_once: CancellationToken,
}

impl Shutdown {
    /// Nothing is asked for yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop; asked again, to stop at once. What is held is wiped either way.
    pub fn stop(&self) {
        if self.gracefully.is_cancelled() {
            self.at_once.cancel();
        }
        self.gracefully.cancel();
    }

    /// Waits until a stop is asked for. Cancel safe.
    pub async fn asked(&self) {
        self.gracefully.cancelled().await;
    }

    /// Waits until there is no more patience. Cancel safe.
    pub async fn asked_at_once(&self) {
        self.at_once.cancelled().await;
    }

    /// True once there is no more patience.
    pub fn is_at_once(&self) -> bool {
        self.at_once.is_cancelled()
    }
}

/// The time that the steps of a stop share.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    start: Instant,
    whole: Duration,
}

impl Deadline {
    /// Begins now.
    pub fn new(whole: Duration) -> Self {
        Self { start: Instant::now(), whole }
    }

    /// What is left for draining: a third of the whole is kept for revoking.
    pub fn for_draining(self) -> Duration {
        self.whole.mul_f64(2.0 / 3.0).saturating_sub(self.start.elapsed())
    }

    /// What is left for revoking: the whole but for a moment to wipe and exit.
    pub fn for_revoking(self) -> Duration {
        self.whole.mul_f64(0.95).saturating_sub(self.start.elapsed())
    }

    /// What is left of the whole.
    pub fn left(self) -> Duration {
        self.whole.saturating_sub(self.start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_second_request_is_the_impatient_one() {
        let shutdown = Shutdown::new();
        shutdown.stop();
        shutdown.asked().await;
        assert!(!shutdown.is_at_once());
        shutdown.stop();
        shutdown.asked_at_once().await;
    }

    #[tokio::test(start_paused = true)]
    async fn steps_share_one_deadline() {
        let deadline = Deadline::new(Duration::from_secs(9));
        assert_eq!(deadline.for_draining(), Duration::from_secs(6));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(deadline.for_draining(), Duration::ZERO);
        assert!(deadline.for_revoking() > Duration::from_secs(1));
        assert!(deadline.for_revoking() < Duration::from_secs(2));
    }
}
