//! One connection, from accept to close.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::head_timer::HeadTimer;
use super::stream::Unstuck;
use crate::config::Limits;

/// Room for one head. Larger than what our own guards let pass, so that they answer first.
const BUFFER: usize = 64 * 1024;

/// How long a connection may take over things.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// For a whole head to arrive, idle time before it included.
    pub(crate) head: Duration,
    /// Without progress in writing.
    pub(crate) write: Duration,
}

impl From<&Limits> for Timeouts {
    fn from(limits: &Limits) -> Self {
        Self { head: limits.header_timeout, write: limits.write_timeout }
    }
}

/// Serves requests until the peer closes, a timeout strikes, or `cancel` asks to stop; then the
/// request under way is still answered.
///
/// # Errors
/// What ended the connection other than a close between requests.
pub(crate) async fn serve<T, A, F, B>(
    stream: T,
    timeouts: Timeouts,
    cancel: CancellationToken,
    answer: A,
) -> hyper::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let io = TokioIo::new(Unstuck::new(stream, timeouts.write));
    let connection = builder(timeouts).serve_connection(io, service_fn(answer));
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        () = cancel.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

fn builder(timeouts: Timeouts) -> Builder {
    let mut builder = Builder::new();
    builder
        // Bodies are queued, not copied into hyper's write buffer: dropping ours is the wipe.
        .writev(true)
        .max_buf_size(BUFFER)
        .half_close(false)
        .keep_alive(true)
        .timer(HeadTimer::default())
        .header_read_timeout(timeouts.head);
    builder
}
