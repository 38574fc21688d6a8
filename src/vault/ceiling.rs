//! The ceiling on requests to Vault, for the whole process and whatever goes wrong.

use std::time::Duration;

use crate::lease::Bucket;

/// Two lines under one ceiling: whatever reads do, a fifth of it is kept for what keeps us
/// logged in and our leases alive.
pub(super) struct Ceiling {
    common: Bucket,
    reserve: Bucket,
}

/// How a request stands in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Reads, which callers can bring about: in the common line alone.
    Read,
    /// Renewing and revoking leases: in either line, but never so far back in the reserve that
    /// the session would not be served in time.
    Lease,
    /// Login, and all that concerns our own token: in either line.
    Session,
}

impl Ceiling {
    /// `rate` requests per second on average, `2 * rate` at once after a pause; four fifths of
    /// both for reads.
    pub(super) fn new(rate: u32) -> Self {
        let rate = rate.max(1);
        let burst = rate.saturating_mul(2);
        let reserved = (burst / 5).max(1);
        Self {
            common: Bucket::new(Duration::from_secs(5) / 4 / rate, burst - reserved),
            reserve: Bucket::new(Duration::from_secs(5) / rate, reserved),
        }
    }

    /// Waits for a place in line.
    ///
    /// Cancel safety: a canceled wait has used up its place.
    ///
    /// # Errors
    /// At once, with the wait that it would be, when that is longer than `patience`.
    pub(super) async fn pass(&self, urgency: Urgency, patience: Duration) -> Result<(), Duration> {
        let wait = self.take(urgency, patience)?;
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn take(&self, urgency: Urgency, patience: Duration) -> Result<Duration, Duration> {
        let in_reserve = match urgency {
            Urgency::Read => return self.common.take(patience),
            Urgency::Lease => patience / 2,
            Urgency::Session => patience,
        };
        if self.reserve.wait() < self.common.wait() {
            self.reserve.take(in_reserve).or_else(|_| self.common.take(patience))
        } else {
            self.common.take(patience).or_else(|_| self.reserve.take(in_reserve))
        }
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
            ceiling.pass(Urgency::Session, Duration::ZERO).await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..50 {
            ceiling.pass(Urgency::Session, Duration::from_mins(1)).await.unwrap();
        }
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(10), "{took:?}");
        assert!(took < Duration::from_millis(10_300), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn reads_get_four_fifths() {
        let ceiling = Ceiling::new(5);
        for _ in 0..8 {
            ceiling.pass(Urgency::Read, Duration::ZERO).await.unwrap();
        }
        let wait = ceiling.pass(Urgency::Read, Duration::ZERO).await.unwrap_err();
        assert_eq!(wait, Duration::from_millis(250));
    }

    #[tokio::test(start_paused = true)]
    async fn the_impatient_are_told_at_once_and_take_no_place() {
        let ceiling = Ceiling::new(1);
        ceiling.pass(Urgency::Read, Duration::ZERO).await.unwrap();
        for _ in 0..100 {
            let wait = ceiling.pass(Urgency::Read, Duration::from_millis(500)).await.unwrap_err();
            assert_eq!(wait, Duration::from_millis(1250));
        }
        ceiling.pass(Urgency::Read, Duration::from_secs(2)).await.unwrap();
    }

    /// Whatever waits in the lines of reads and leases, the session's turn comes in time.
    #[tokio::test(start_paused = true)]
    async fn neither_reads_nor_leases_starve_the_session() {
        for rate in [1, 2, 5, 100] {
            let ceiling = Ceiling::new(rate);
            let patience = Duration::from_secs(10);
            while ceiling.take(Urgency::Read, patience).is_ok() {}
            while ceiling.take(Urgency::Lease, patience).is_ok() {}
            // A wrapped secret-id takes three requests in turn.
            let wait = ceiling.take(Urgency::Session, patience).unwrap();
            assert!(wait <= patience / 2 + Duration::from_secs(5), "{wait:?} at {rate}");
        }
    }

    /// No more than the rate and the burst, whoever asks for what.
    #[tokio::test(start_paused = true)]
    async fn the_lines_together_keep_the_ceiling() {
        for rate in [1, 2, 3, 5, 7, 50] {
            let ceiling = Ceiling::new(rate);
            let patience = Duration::from_secs(20);
            let mut passed = 0;
            for urgency in [Urgency::Read, Urgency::Lease, Urgency::Session] {
                while ceiling.take(urgency, patience).is_ok() {
                    passed += 1;
                }
            }
            assert!(passed <= rate * 20 + rate * 2 + 2, "{passed} in 20 s at {rate}");
        }
    }
}
