//! Requests to the one place that an adapter leads to, over connections that are kept.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

/// Where requests go.
pub(super) trait Destination: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    type Error;

    /// Cancel safety: a connection half made is closed.
    fn connect(&self) -> impl Future<Output = Result<Self::Stream, Self::Error>> + Send;

    /// Runs a connection in the background, for as long as it lasts.
    fn run(connection: impl Future<Output = ()> + Send + 'static);
}

/// How connections are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keeping {
    /// Room for one head of an answer.
    pub(super) largest_head: usize,
    /// Unused ones at most.
    pub(super) most: usize,
    /// For how long.
    pub(super) time: Duration,
}

/// Requests of HTTP/1.1 with bodies of type `B`. Let go of, it closes the connections that are not
/// in use, and the others after their answer.
pub(super) struct Upstream<D, B> {
    destination: D,
    largest_head: usize,
    kept: Arc<Kept<B>>,
}

/// What a request asks for when its URI is this: a path, which is never empty (RFC 9112, 3.2.1).
pub(super) fn target(uri: Uri) -> Uri {
    // Of a fragment alone a path is left that holds nothing, and says that it is `/`.
    let path = uri.into_parts().path_and_query.filter(|path| path.as_str() != "/");
    Uri::from(path.unwrap_or(PathAndQuery::from_static("/")))
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered<E> {
    /// There was no connection.
    #[error(transparent)]
    Connect(E),
    /// It broke off, was no HTTP, or the request's own body failed.
    #[error(transparent)]
    Broken(hyper::Error),
}

impl<D, B> Upstream<D, B>
where
    D: Destination,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) fn new(destination: D, keeping: Keeping) -> Self {
        let Keeping { largest_head, most, time } = keeping;
        let kept = Kept { most, time, idle: Mutex::default() };
        Self { destination, largest_head, kept: Arc::new(kept) }
    }

    /// Sends a request, whose URI is a [`target`], and whose headers are complete. It goes out
    /// again by itself only when it had not been written at all to a kept connection that turned
    /// out to be closed.
    ///
    /// Cancel safety: the connection is closed. So it is when an answer is dropped before its end.
    pub(super) async fn request(
        &self,
        mut request: Request<B>,
    ) -> Result<Response<Answer<B>>, Unanswered<D::Error>> {
        loop {
            let kept = self.kept.take();
            let was_kept = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.open().await?,
            };
            request = match connection.try_send_request(request).await {
                Ok(response) => return Ok(self.answer(response, connection)),
                Err(mut error) => match error.take_message().filter(|_| was_kept) {
                    Some(unsent) => unsent,
                    None => return Err(Unanswered::Broken(error.into_error())),
                },
            };
        }
    }

    async fn open(&self) -> Result<SendRequest<B>, Unanswered<D::Error>> {
        let stream = self.destination.connect().await.map_err(Unanswered::Connect)?;
        let mut builder = Builder::new();
        // What an answer is made of is queued, not copied together.
        builder.writev(true).max_buf_size(self.largest_head);
        let opened = builder.handshake(TokioIo::new(stream)).await;
        let (connection, runs) = opened.map_err(Unanswered::Broken)?;
        D::run(async move {
            // Whoever waits for an answer hears of it.
            let _ = runs.with_upgrades().await;
        });
        Ok(connection)
    }

    fn answer(
        &self,
        response: Response<Incoming>,
        connection: SendRequest<B>,
    ) -> Response<Answer<B>> {
        let goes_on = response.status() != StatusCode::SWITCHING_PROTOCOLS;
        let connection = goes_on.then(|| (connection, Arc::downgrade(&self.kept)));
        response.map(|body| Answer { body, connection })
    }
}

/// Connections that wait for their next request.
struct Kept<B> {
    most: usize,
    time: Duration,
    idle: Mutex<Idle<B>>,
}

struct Idle<B> {
    /// Since when each of them waits; the oldest first.
    connections: Vec<(SendRequest<B>, Instant)>,
    is_swept: bool,
}

impl<B> Default for Idle<B> {
    fn default() -> Self {
        Self { connections: Vec::new(), is_swept: false }
    }
}

impl<B: Send + 'static> Kept<B> {
    /// The one that was used last. Those that are not ready yet are left to others.
    fn take(&self) -> Option<SendRequest<B>> {
        let mut idle = self.lock();
        while idle.connections.pop_if(|(connection, _)| connection.is_closed()).is_some() {}
        let at = idle.connections.iter().rposition(|(connection, _)| connection.is_ready())?;
        let (connection, since) = idle.connections.remove(at);
        (since.elapsed() < self.time).then_some(connection)
    }

    fn keep(self: &Arc<Self>, connection: SendRequest<B>) {
        let mut idle = self.lock();
        if idle.connections.len() >= self.most {
            idle.connections.retain(|(kept, _)| kept.is_ready());
        }
        if connection.is_closed() || idle.connections.len() >= self.most {
            return;
        }
        idle.connections.push((connection, Instant::now()));
        if !std::mem::replace(&mut idle.is_swept, true) {
            TaskTracker::new().spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Lets go of those that waited too long. Returns when to look again, while there are any.
    fn sweep(&self) -> Option<Instant> {
        let mut idle = self.lock();
        let is_of_use = |(connection, since): &(SendRequest<B>, Instant)| {
            !connection.is_closed() && since.elapsed() < self.time
        };
        idle.connections.retain(is_of_use);
        let oldest = idle.connections.first().map(|(_, since)| *since + self.time);
        idle.is_swept = oldest.is_some();
        oldest
    }

    fn lock(&self) -> MutexGuard<'_, Idle<B>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sweep<B: Send + 'static>(kept: Weak<Kept<B>>) {
    while let Some(at) = kept.upgrade().and_then(|kept| kept.sweep()) {
        sleep_until(at).await;
    }
}

/// The body of an answer. Dropped at its end, it leaves its connection to the next request.
pub(super) struct Answer<B: Send + 'static> {
    body: Incoming,
    connection: Option<(SendRequest<B>, Weak<Kept<B>>)>,
}

impl<B: Send + 'static> Answer<B> {
    fn end(&mut self) {
        if let Some((connection, kept)) = self.connection.take()
            && let Some(kept) = kept.upgrade()
        {
            kept.keep(connection);
        }
    }
}

impl<B: Send + 'static> Body for Answer<B> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            None => self.end(),
            // Nothing comes behind them, and not everybody asks.
            Some(Ok(frame)) if frame.is_trailers() => self.end(),
            Some(Ok(_)) => {}
            Some(Err(_)) => self.connection = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Send + 'static> Drop for Answer<B> {
    fn drop(&mut self) {
        if self.body.is_end_stream() {
            self.end();
        }
    }
}

impl<B: Send + 'static> fmt::Debug for Answer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
