//! The server's own idea of time, and how it writes it down.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::fields::LONGEST;
use crate::observe::civil;

/// A point in time, counted from the Unix epoch by the server's clock.
pub(super) type Moment = Duration;

/// Wall time at start plus a monotonic count plus what a test added, so that expiry can
/// be tried without sleeping.
pub(super) struct Clock {
    wall: Duration,
    start: Instant,
    offset: Duration,
}

impl Clock {
    pub(super) fn new() -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { wall, start: Instant::now(), offset: Duration::ZERO }
    }

    pub(super) fn now(&self) -> Moment {
        self.wall + self.start.elapsed() + self.offset
    }

    pub(super) fn set_offset(&mut self, offset: Duration) {
        self.offset = offset.min(LONGEST);
    }
}

/// RFC 3339 in UTC with nanoseconds, as Go prints a `time.Time` in JSON.
pub(super) fn rfc3339(moment: Moment) -> String {
    let seconds = moment.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let nanos = moment.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// A duration as Go's `String` prints it in whole seconds: `0s`, `1m30s`, `3h0m0s`.
pub(super) fn go_duration(duration: Duration) -> String {
    let total = duration.as_secs();
    let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        let at = |seconds| rfc3339(Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.000000000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(at(1_735_689_599), "2024-12-31T23:59:59.000000000Z");
    }

    #[test]
    fn durations_read_like_go() {
        assert_eq!(go_duration(Duration::ZERO), "0s");
        assert_eq!(go_duration(Duration::from_secs(90)), "1m30s");
        assert_eq!(go_duration(Duration::from_hours(3)), "3h0m0s");
    }
}
