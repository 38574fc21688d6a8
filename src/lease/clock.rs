//! A clock that goes on while the host is suspended.

use std::sync::OnceLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Now, as far as the end of leases is concerned: tokio's clock, which tests can pause, moved
/// forward by the time that the host was suspended (`CLOCK_BOOTTIME` counts it, the monotonic
/// clock does not).
pub fn now() -> Instant {
    Instant::now() + suspended()
}

fn suspended() -> Duration {
    static AT_START: OnceLock<Duration> = OnceLock::new();
    let gap = gap();
    gap.saturating_sub(*AT_START.get_or_init(|| gap))
}

fn gap() -> Duration {
    let read = |clock| {
        let time = clock_gettime(clock);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
    };
    // The monotonic clock first: a moment between the two readings never looks like a gap lost.
    let monotonic = read(ClockId::Monotonic);
    let gap = read(ClockId::Boottime).saturating_sub(monotonic);
    // Less than this is the moment between the two readings.
    if gap < Duration::from_millis(50) { Duration::ZERO } else { gap }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn follows_tokios_clock_on_a_host_that_does_not_sleep() {
        let start = now();
        tokio::time::advance(Duration::from_mins(1)).await;
        let passed = now() - start;
        assert!(passed >= Duration::from_mins(1));
        assert!(passed < Duration::from_secs(61), "{passed:?}");
    }
}
