//! Bodies on their way through: the bytes as they are, without trailers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use crate::adapter::activity::Activity;
use crate::adapter::upstream::Answer;

/// Why a body does not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// Its connection broke off.
    #[error(transparent)]
    BrokenOff(#[from] hyper::Error),
    /// Nothing came any more.
    #[error("the rest of the answer did not come in time")]
    Stalled,
}

/// A body without its trailers, in which a header could come back.
pub(super) struct Data<B = Incoming> {
    body: B,
    activity: Option<Arc<Activity>>,
    patience: Option<Patience>,
}

/// How long a piece may be waited for. Not counted is the time in which nobody asks for one,
/// because the application has not taken the last.
struct Patience {
    most: Duration,
    /// Made once there is something to wait for.
    alarm: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl<B> Data<B> {
    /// An answer's, which fails when a piece takes longer than `most`.
    pub(super) fn answer(body: B, most: Option<Duration>) -> Self {
        let patience = most.map(|most| Patience { most, alarm: None, waiting: false });
        Self { body, activity: None, patience }
    }

    /// A request's: marks `activity` with each piece of it.
    pub(super) fn counted(body: B, activity: Arc<Activity>) -> Self {
        Self { body, activity: Some(activity), patience: None }
    }
}

impl Patience {
    /// Nothing is there: ready when that is so for too long.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep(self.most)));
        if !self.waiting {
            self.waiting = true;
            alarm.as_mut().reset(Instant::now() + self.most);
        }
        alarm.as_mut().poll(cx)
    }
}

impl<B> Body for Data<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let frame = match (Pin::new(&mut self.body).poll_frame(cx), &mut self.patience) {
                (Poll::Ready(frame), patience) => {
                    if let Some(patience) = patience {
                        patience.waiting = false;
                    }
                    frame
                }
                (Poll::Pending, Some(patience)) => {
                    ready!(patience.poll_over(cx));
                    return Poll::Ready(Some(Err(BodyError::Stalled)));
                }
                (Poll::Pending, None) => return Poll::Pending,
            };
            if let Some(activity) = &self.activity {
                activity.mark();
            }
            match frame {
                Some(Ok(frame)) if frame.is_trailers() => {}
                other => return Poll::Ready(other.map(|frame| frame.map_err(Into::into))),
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
    Streamed(Data<Answer<Data>>),
    Whole(Full<Bytes>),
}

impl Body for Reply {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use tokio::sync::mpsc;

    /// Pieces as they are sent.
    struct Sent(mpsc::UnboundedReceiver<&'static str>);

    impl Body for Sent {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            let piece = ready!(self.0.poll_recv(cx));
            Poll::Ready(piece.map(|piece| Ok(Frame::data(Bytes::from(piece)))))
        }
    }

    async fn next(body: &mut Data<Sent>) -> Result<Bytes, BodyError> {
        body.frame().await.unwrap().map(|frame| frame.into_data().unwrap())
    }

    const MOST: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn a_piece_that_does_not_come_ends_it() {
        let (sender, pieces) = mpsc::unbounded_channel();
        let mut body = Data::answer(Sent(pieces), Some(MOST));
        // Each piece has its own time.
        for _ in 0..3 {
            let late = async {
                sleep(MOST / 2).await;
                sender.send("piece").unwrap();
            };
            let (piece, ()) = tokio::join!(next(&mut body), late);
            assert_eq!(piece.unwrap(), "piece");
        }
        // An application that takes its time uses up none of it.
        sleep(MOST * 2).await;
        let start = Instant::now();
        assert!(matches!(next(&mut body).await, Err(BodyError::Stalled)));
        assert_eq!(start.elapsed(), MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_in_time_counts_however_late_it_is_taken() {
        let (sender, pieces) = mpsc::unbounded_channel();
        let mut body = Data::answer(Sent(pieces), Some(MOST));
        assert!(tokio::time::timeout(Duration::from_secs(1), next(&mut body)).await.is_err());
        sender.send("piece").unwrap();
        sleep(MOST * 2).await;
        assert_eq!(next(&mut body).await.unwrap(), "piece");
        // Without a limit it may take as long as it likes.
        let (_sender, pieces) = mpsc::unbounded_channel();
        let mut endless = Data::answer(Sent(pieces), None);
        assert!(tokio::time::timeout(MOST * 10, next(&mut endless)).await.is_err());
    }
}
