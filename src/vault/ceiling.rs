//! The ceiling on requests to Vault, for the whole process and whatever goes wrong.

use std::time::Duration;

use crate::lease::Bucket;

pub(super) struct Ceiling(Bucket);

impl Ceiling {
    /// `rate` requests per second on average, `2 * rate` at once after a pause.
    pub(super) fn new(rate: u32) -> Self {
        let rate = rate.max(1);
        Self(Bucket::new(Duration::from_secs(1) / rate, rate.saturating_mul(2)))
    }

    /// Waits for a place in line.
    ///
    /// Cancel safety: a canceled wait has used up its place.
    ///
    /// # Errors
    /// At once, with the wait that it would be, when that is longer than `patience`.
    pub(super) async fn pass(&self, patience: Duration) -> Result<(), Duration> {
        let wait = self.0.take(patience)?;
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_the_rate() {
        let ceiling = Ceiling::new(5);
        let start = Instant::now();
        for _ in 0..10 {
            ceiling.pass(Duration::ZERO).await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..50 {
            ceiling.pass(Duration::from_mins(1)).await.unwrap();
        }
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(10), "{took:?}");
        assert!(took < Duration::from_millis(10_200), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_impatient_are_told_at_once_and_take_no_place() {
        let ceiling = Ceiling::new(1);
        for _ in 0..2 {
            ceiling.pass(Duration::ZERO).await.unwrap();
        }
        for _ in 0..100 {
            let wait = ceiling.pass(Duration::from_millis(500)).await.unwrap_err();
            assert_eq!(wait, Duration::from_secs(1));
        }
        ceiling.pass(Duration::from_secs(2)).await.unwrap();
    }
}
