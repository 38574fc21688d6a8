//! hyper's timer for request heads, without a timer registration for each request.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant as StdInstant};

use hyper::rt::{Sleep, Timer};
use tokio::time::Instant;

/// One alarm for all the sleeps of one connection, of which there is one at a time.
///
/// Each new sleep of a kept-alive connection ends later than the one before. The alarm is left
/// where it stands, and set anew only when it rings too early.
#[derive(Default)]
pub(super) struct HeadTimer(Alarm);

type Alarm = Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>;

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: StdInstant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HeadSleep { deadline: deadline.into(), alarm: Arc::clone(&self.0) })
    }

    fn now(&self) -> StdInstant {
        Instant::now().into_std()
    }
}

struct HeadSleep {
    deadline: Instant,
    alarm: Alarm,
}

impl Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        let mut alarm = self.alarm.lock().unwrap_or_else(PoisonError::into_inner);
        let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if alarm.deadline() > deadline {
            alarm.as_mut().reset(deadline);
        }
        loop {
            ready!(alarm.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_sleep_ends_at_its_own_time() {
        let timer = HeadTimer::default();
        let start = Instant::now();
        let until = |seconds| (start + Duration::from_secs(seconds)).into_std();
        // Given up before its time, as when a head arrives.
        let first = tokio::time::timeout(Duration::from_secs(1), timer.sleep_until(until(5)));
        assert!(first.await.is_err());
        timer.sleep_until(until(8)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(8));
        timer.sleep_until(until(9)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(9));
        let long = tokio::time::timeout(Duration::from_secs(1), timer.sleep_until(until(100)));
        assert!(long.await.is_err());
        timer.sleep_until(until(20)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(20));
    }
}
