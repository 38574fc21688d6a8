//! A clock that goes on while the host is suspended.

#[cfg(not(test))]
use std::{sync::OnceLock, time::Duration};

#[cfg(not(test))]
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

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
