//! One request of HTTP/2, which ends alone where its client takes nothing more of the answer.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::STUCK;
use crate::observe::TlsMetrics;

tokio::task_local! {
    static OWN: Arc<Handed>;
}

/// What of an answer was handed over to be sent. hyper asks for more only when the windows of its
/// client have room for some.
#[derive(Default)]
pub(super) struct Handed {
    pieces: AtomicU64,
    /// The last piece was not followed by the question for another one.
    waits: AtomicBool,
}

impl Handed {
    /// That of the request whose task this is; `None` for HTTP/1.1, where writes alone count.
    pub(super) fn own() -> Option<Arc<Self>> {
        OWN.try_with(Arc::clone).ok()
    }

    pub(super) fn piece(&self) {
        self.pieces.fetch_add(1, Ordering::Relaxed);
        self.waits.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_room(&self) {
        self.waits.store(false, Ordering::Relaxed);
    }
}

/// Runs the requests of HTTP/2. They end with their connection, which a stop waits for.
#[derive(Clone)]
pub(super) struct Streams {
    /// For a piece of an answer to be taken.
    pub(super) patience: Duration,
    pub(super) numbers: Arc<TlsMetrics>,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let Self { patience, numbers } = self.clone();
        TaskTracker::new().spawn(async move {
            // Dropped before its end, the stream is reset.
            if is_given_up(future, patience).await {
                numbers.refused(STUCK);
            }
        });
    }
}

/// Answers to the end, or until nothing of the answer was taken for `patience`.
async fn is_given_up(answer: impl Future, patience: Duration) -> bool {
    let handed = Arc::<Handed>::default();
    let mut answer = pin!(OWN.scope(Arc::clone(&handed), answer));
    let mut taken = pin!(sleep(patience));
    let mut seen = 0;
    poll_fn(|cx| {
        if answer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        if !handed.waits.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let pieces = handed.pieces.load(Ordering::Relaxed);
        if pieces != seen {
            seen = pieces;
            taken.as_mut().reset(Instant::now() + patience);
        }
        taken.as_mut().poll(cx).map(|()| true)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_is_given_up() {
        let start = Instant::now();
        let unread = async {
            let handed = Handed::own().unwrap();
            for _ in 0..3 {
                handed.piece();
                sleep(Duration::from_secs(20)).await;
                handed.has_room();
            }
            handed.piece();
            std::future::pending::<()>().await;
        };
        assert!(is_given_up(unread, PATIENCE).await);
        assert_eq!(start.elapsed().as_secs(), 90);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_application_is_not_given_up() {
        let waits = async {
            let handed = Handed::own().unwrap();
            handed.piece();
            sleep(Duration::from_secs(1)).await;
            handed.has_room();
            sleep(Duration::from_hours(1)).await;
        };
        assert!(!is_given_up(waits, PATIENCE).await);
        assert!(Handed::own().is_none());
    }
}
