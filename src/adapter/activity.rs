//! When something last moved.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

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
        self.quiet_for_with(patience, &Alarms::default()).await;
    }

    /// The same, with an alarm of somebody who needs it no more.
    pub(super) async fn quiet_for_with(&self, patience: Duration, alarms: &Alarms) {
        let mut alarm = alarms.take(patience);
        let end = || {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            self.base + last + patience
        };
        loop {
            alarm.until(end()).await;
            if end() <= Instant::now() {
                return;
            }
        }
    }
}

/// Alarms that requests leave to those after them, where they stand: nearly all are answered long
/// before, and to set one anew for each takes the lock of all timers, twice.
#[derive(Default)]
pub(super) struct Alarms(Mutex<Vec<Pin<Box<Sleep>>>>);

/// More are not kept.
const KEPT: usize = 64;

struct Alarm<'a> {
    /// `None` at the end alone.
    sleep: Option<Pin<Box<Sleep>>>,
    alarms: &'a Alarms,
}

impl Alarms {
    fn take(&self, patience: Duration) -> Alarm<'_> {
        let left = self.lock().pop();
        let sleep = left.unwrap_or_else(|| Box::pin(sleep(patience)));
        Alarm { sleep: Some(sleep), alarms: self }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Pin<Box<Sleep>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Alarm<'_> {
    /// Rings at `end` at the latest, perhaps before.
    async fn until(&mut self, end: Instant) {
        let Some(sleep) = &mut self.sleep else { return };
        if sleep.is_elapsed() || sleep.deadline() > end {
            sleep.as_mut().reset(end);
        }
        sleep.as_mut().await;
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        let mut left = self.alarms.lock();
        if left.len() < KEPT {
            left.extend(self.sleep.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn an_alarm_that_was_left_rings_at_the_time_of_who_has_it_now() {
        let (alarms, start) = (Alarms::default(), Instant::now());
        let second = Duration::from_secs(1);
        let answered = |patience: Duration, after: Duration| {
            let alarms = &alarms;
            async move {
                let activity = Activity::new();
                timeout(after, activity.quiet_for_with(patience, alarms)).await.is_err()
            }
        };
        assert!(answered(second * 60, second).await);
        assert_eq!(alarms.lock().len(), 1);
        // Its own time is later than where the alarm stands, then before that.
        Activity::new().quiet_for_with(second * 100, &alarms).await;
        assert_eq!(start.elapsed(), second * 101);
        assert!(answered(second * 60, second).await);
        Activity::new().quiet_for_with(second * 3, &alarms).await;
        assert_eq!(start.elapsed(), second * 105);
        // It rang, and rings again.
        Activity::new().quiet_for_with(second * 3, &alarms).await;
        assert_eq!((start.elapsed(), alarms.lock().len()), (second * 108, 1));
    }
}
