//! Bodies on their way through: the bytes as they are, without trailers.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until};

/// A body without its trailers, in which a header could come back.
pub(super) struct Data {
    body: Incoming,
    activity: Option<Arc<Activity>>,
}

impl Data {
    pub(super) fn plain(body: Incoming) -> Self {
        Self { body, activity: None }
    }

    /// Marks `activity` with each piece of it.
    pub(super) fn counted(body: Incoming, activity: Arc<Activity>) -> Self {
        Self { body, activity: Some(activity) }
    }
}

impl Body for Data {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        loop {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            if let Some(activity) = &self.activity {
                activity.mark();
            }
            match frame {
                Some(Ok(frame)) if frame.is_trailers() => {}
                other => return Poll::Ready(other),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer: the destination's, or ours.
pub(super) enum Reply {
    Streamed(Data),
    Whole(Full<Bytes>),
}

impl Body for Reply {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Streamed(body) => Pin::new(body).poll_frame(cx),
            Self::Whole(body) => {
                let frame = Pin::new(body).poll_frame(cx);
                frame.map(|frame| frame.map(|whole| whole.map_err(|never| match never {})))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Streamed(body) => body.is_end_stream(),
            Self::Whole(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Streamed(body) => body.size_hint(),
            Self::Whole(body) => body.size_hint(),
        }
    }
}

/// When a request's body last moved.
pub(super) struct Activity {
    base: Instant,
    /// Milliseconds since `base`.
    last: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self { base: Instant::now(), last: AtomicU64::new(0) }
    }

    fn mark(&self) {
        let now = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Ends when nothing moved for `patience`.
    pub(super) async fn quiet_for(&self, patience: Duration) {
        loop {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let end = self.base + last + patience;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}
