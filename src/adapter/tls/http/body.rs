//! Bodies on their way through, piece by piece.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::head;
use super::pulse::Request;
use crate::adapter::activity::Activity;

/// Why a request's body does not reach the application as a whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("it was cut off")]
    CutOff(#[source] hyper::Error),
    #[error("it is longer than it may be")]
    TooLong,
    #[error("nothing more of it came")]
    Stalled,
}

/// The body of a request.
pub(super) struct Inbound {
    body: Incoming,
    activity: Arc<Activity>,
    /// Bytes that may still come.
    left: Option<u64>,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Inbound {
    /// Marks `activity` with each piece; fails after more than `most` bytes, and when nothing
    /// comes for `patience`.
    pub(super) fn new(
        body: Incoming,
        activity: Arc<Activity>,
        most: Option<u64>,
        patience: Duration,
    ) -> Self {
        Self { body, activity, left: most, patience, waiting: None }
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            let patience = self.patience;
            let waiting =
                self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
            ready!(waiting.as_mut().poll(cx));
            return Poll::Ready(Some(Err(BodyError::Stalled)));
        };
        self.waiting = None;
        self.activity.mark();
        let Some(frame) = frame else { return Poll::Ready(None) };
        let mut frame = frame.map_err(BodyError::CutOff)?;
        if let (Some(data), Some(left)) = (frame.data_ref(), &mut self.left) {
            match left.checked_sub(data.len() as u64) {
                Some(less) => *left = less,
                None => return Poll::Ready(Some(Err(BodyError::TooLong))),
            }
        }
        if let Some(trailers) = frame.trailers_mut() {
            head::trailers(trailers);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer: the application's, or ours.
pub(super) enum Content {
    Streamed(Incoming),
    Whole(Full<Bytes>),
}

/// The body of an answer, which is under way until it is dropped.
pub(super) struct Reply {
    pub(super) content: Content,
    pub(super) request: Request,
}

impl Body for Reply {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        this.request.has_room();
        let frame = ready!(match &mut this.content {
            Content::Streamed(body) => Pin::new(body).poll_frame(cx),
            Content::Whole(body) => {
                let frame = Pin::new(body).poll_frame(cx);
                frame.map(|frame| frame.map(|whole| whole.map_err(|never| match never {})))
            }
        });
        if matches!(frame, Some(Ok(_))) {
            this.request.hand_over();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Streamed(body) => body.is_end_stream(),
            Content::Whole(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Streamed(body) => body.size_hint(),
            Content::Whole(body) => body.size_hint(),
        }
    }
}
