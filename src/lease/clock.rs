//! A clock that goes on while the host is suspended.

#[cfg(not(test))]
use std::sync::OnceLock;
use std::time::Duration;

#[cfg(not(test))]
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, sleep};

/// Timers stand still while the host is suspended: how late an end may be noticed after that.
const MOST_NAP: Duration = Duration::from_secs(30);

/// Now, as far as the end of leases is concerned: `CLOCK_BOOTTIME`, which counts the time that
/// the host was suspended (the monotonic clock, tokio's, does not), as that many seconds after
/// the moment at which it was asked first. Read at every request.
#[cfg(not(test))]
pub fn now() -> Instant {
    static FIRST: OnceLock<(Instant, Duration)> = OnceLock::new();
    let booted = since_boot();
    let (instant, then) = *FIRST.get_or_init(|| (Instant::now(), booted));
    instant + booted.saturating_sub(then)
}

#[cfg(not(test))]
fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Unit tests set tokio's clock, and the kernel's does not follow.
#[cfg(test)]
pub fn now() -> Instant {
    Instant::now()
}

/// Ends at `end` by `clock`, which goes on while timers stand still.
pub(crate) async fn until(end: Instant, clock: impl Fn() -> Instant) {
    loop {
        let left = end.saturating_duration_since(clock());
        if left.is_zero() {
            return;
        }
        sleep(left.min(MOST_NAP)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_end_that_came_during_a_suspend_is_noticed() {
        let start = Instant::now();
        until(start + Duration::from_mins(2), Instant::now).await;
        assert_eq!(start.elapsed(), Duration::from_mins(2));
        // An hour's suspend, ten seconds from now.
        let start = Instant::now();
        let clock = || {
            let slept = start.elapsed() > Duration::from_secs(10);
            Instant::now() + if slept { Duration::from_hours(1) } else { Duration::ZERO }
        };
        until(start + Duration::from_hours(1), clock).await;
        assert_eq!(start.elapsed(), MOST_NAP);
    }
}
