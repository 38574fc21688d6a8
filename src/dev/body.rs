//! A response body that can stop, stall or break where a script says so.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// One step of a body.
pub(super) enum Step {
    Data(Bytes),
    Sleep(Duration),
    /// Nothing more, and no end.
    Idle,
    /// The connection breaks.
    Fail,
}

/// A body as a list of steps.
pub(super) struct ScriptedBody {
    steps: VecDeque<Step>,
    sleeping: Option<Pin<Box<Sleep>>>,
    /// Known only for a body without surprises.
    length: Option<u64>,
}

/// What the server sends.
pub(super) type ResponseBody = http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error>;

/// A body sent as it is.
pub(super) fn whole(body: Bytes) -> ResponseBody {
    let length = u64::try_from(body.len()).ok();
    let steps = if body.is_empty() { VecDeque::new() } else { VecDeque::from([Step::Data(body)]) };
    ScriptedBody { steps, sleeping: None, length }.boxed_unsync()
}

/// A body in steps; its length, if any, is announced by a header.
pub(super) fn scripted(steps: impl IntoIterator<Item = Step>) -> ResponseBody {
    let steps = steps.into_iter().collect();
    ScriptedBody { steps, sleeping: None, length: None }.boxed_unsync()
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(sleeping) = &mut self.sleeping {
                std::task::ready!(sleeping.as_mut().poll(context));
                self.sleeping = None;
            }
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Data(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Step::Sleep(duration)) => self.sleeping = Some(Box::pin(sleep(duration))),
                Some(Step::Idle) => {
                    // Put back, so that another poll finds it again. Hyper notices a client
                    // that goes away by itself.
                    self.steps.push_front(Step::Idle);
                    return Poll::Pending;
                }
                Some(Step::Fail) => {
                    return Poll::Ready(Some(Err(io::Error::other("scripted reset"))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.sleeping.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
