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
use super::stream::Handed;
use crate::adapter::activity::Activity;
use crate::adapter::tls::access::Reserved;
use crate::adapter::upstream::Answer;
use crate::observe::TlsMetrics;

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

/// Why an answer does not reach its client as a whole. The names count in metrics.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("it was cut off")]
    CutOff(#[source] hyper::Error),
    #[error("nothing more of it came")]
    Stalled,
}

impl AnswerError {
    const fn code(&self) -> &'static str {
        match self {
            Self::CutOff(_) => "application_failed",
            Self::Stalled => "application_stalled",
        }
    }
}

/// How long a body may make no progress.
struct Patience {
    /// `None` for ever.
    most: Option<Duration>,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(most: Option<Duration>) -> Self {
        Self { most, waiting: None }
    }

    /// Something came.
    fn renew(&mut self) {
        self.waiting = None;
    }

    /// Whether it is over when nothing else has moved for `quiet` either; if not, it begins anew
    /// from then on.
    fn is_over(&mut self, quiet: Duration) -> bool {
        let left =
            self.most.and_then(|most| most.checked_sub(quiet)).filter(|left| !left.is_zero());
        self.waiting = left.map(|left| Box::pin(tokio::time::sleep(left)));
        left.is_none()
    }

    /// Ready once nothing came for too long.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(most) = self.most else { return Poll::Pending };
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(most)));
        waiting.as_mut().poll(cx)
    }
}

/// The body of a request.
pub(super) struct Inbound {
    body: Incoming,
    activity: Arc<Activity>,
    /// Bytes that may still come.
    left: Option<u64>,
    patience: Patience,
    reserved: Reserved,
}

impl Inbound {
    /// Marks `activity` with each piece; fails after more than `most` bytes, and when nothing
    /// comes for `patience`. Trailers say nothing under `reserved` names.
    pub(super) fn new(
        body: Incoming,
        activity: Arc<Activity>,
        most: Option<u64>,
        patience: Duration,
        reserved: Reserved,
    ) -> Self {
        let patience = Patience::new(Some(patience));
        Self { body, activity, left: most, patience, reserved }
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
            ready!(self.patience.poll_over(cx));
            return Poll::Ready(Some(Err(BodyError::Stalled)));
        };
        self.patience.renew();
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
            self.reserved.take_out(trailers);
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

/// The application's answer.
pub(super) struct Outbound {
    body: Answer<Inbound>,
    /// Of the request, which the rest of the answer may wait for.
    activity: Arc<Activity>,
    patience: Patience,
    numbers: Arc<TlsMetrics>,
}

impl Outbound {
    /// Fails when nothing comes for `patience`, if there is one, while its client would take more
    /// and sends nothing.
    pub(super) fn new(
        body: Answer<Inbound>,
        activity: Arc<Activity>,
        patience: Option<Duration>,
        numbers: Arc<TlsMetrics>,
    ) -> Self {
        Self { body, activity, patience: Patience::new(patience), numbers }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let frame = if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.patience.renew();
            frame.map(|frame| frame.map_err(AnswerError::CutOff))
        } else {
            loop {
                ready!(self.patience.poll_over(cx));
                if self.patience.is_over(self.activity.quiet()) {
                    break;
                }
            }
            Some(Err(AnswerError::Stalled))
        };
        if let Some(Err(error)) = &frame {
            self.numbers.application_error(error.code());
        }
        Poll::Ready(frame)
    }
}

/// The body of an answer: the application's, or ours.
pub(super) enum Content {
    Streamed(Outbound),
    Whole(Full<Bytes>),
}

/// The body of an answer, which is under way until it is dropped.
pub(super) struct Reply {
    content: Content,
    #[expect(dead_code, reason = "held for its drop")]
    request: Request,
    handed: Option<Arc<Handed>>,
}

impl Reply {
    /// To be made in the task of the request.
    pub(super) fn new(content: Content, request: Request) -> Self {
        Self { content, request, handed: Handed::own() }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let this = self.get_mut();
        let handed = this.handed.as_ref();
        if let Some(handed) = handed {
            handed.has_room();
        }
        let frame = ready!(match &mut this.content {
            Content::Streamed(body) => body.poll_frame(cx),
            Content::Whole(body) => {
                let frame = Pin::new(body).poll_frame(cx);
                frame.map(|frame| frame.map(|whole| whole.map_err(|never| match never {})))
            }
        });
        if let (Some(handed), Some(Ok(_))) = (handed, &frame) {
            handed.piece();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Streamed(answer) => answer.body.is_end_stream(),
            Content::Whole(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Streamed(answer) => answer.body.size_hint(),
            Content::Whole(body) => body.size_hint(),
        }
    }
}
