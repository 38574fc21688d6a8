//! Whether a connection from outside still does something.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// How often a connection is looked at, at least.
const LOOK: Duration = Duration::from_secs(2);

/// How long a connection may take over what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For the first head from the handshake on, and for any head from its first byte on.
    pub(super) head: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
}

/// Why a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// A head did not come to its end.
    Head,
    /// No request came.
    Idle,
}

impl Over {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head_timeout",
            Self::Idle => "idle",
        }
    }
}

/// One connection's.
pub(super) struct Pulse {
    patience: Patience,
    /// The bytes between two requests are the start of a head: not so in HTTP/2, where there is
    /// more to say.
    bytes_are_heads: bool,
    state: Mutex<State>,
    /// A write made no progress.
    is_stuck: AtomicBool,
}

struct State {
    /// Under way.
    requests: usize,
    /// Since when nothing is under way, or when the first byte of a head came.
    since: Instant,
    /// The next thing to end is a head.
    head: bool,
}

/// A request under way, until dropped.
pub(super) struct Request {
    pulse: Arc<Pulse>,
}

impl Pulse {
    pub(super) fn new(patience: Patience, bytes_are_heads: bool) -> Self {
        let state = Mutex::new(State { requests: 0, since: Instant::now(), head: true });
        Self { patience, bytes_are_heads, state, is_stuck: AtomicBool::new(false) }
    }

    pub(super) fn begin(self: &Arc<Self>) -> Request {
        self.lock().requests += 1;
        Request { pulse: Arc::clone(self) }
    }

    /// Ends when the connection is to be ended.
    pub(super) async fn over(&self) -> Over {
        loop {
            match self.look() {
                Ok(at) => sleep_until(at).await,
                Err(over) => return over,
            }
        }
    }

    /// When to look again.
    fn look(&self) -> Result<Instant, Over> {
        let now = Instant::now();
        let state = self.lock();
        if state.requests > 0 {
            return Ok(now + LOOK);
        }
        let (patience, over) = if state.head {
            (self.patience.head, Over::Head)
        } else {
            (self.patience.idle, Over::Idle)
        };
        let end = state.since + patience;
        if now >= end { Err(over) } else { Ok(end.min(now + LOOK.min(self.patience.head))) }
    }

    /// Whether the connection ended because a write made no progress.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck.load(Ordering::Relaxed)
    }

    fn wrote<R>(&self, written: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if let Poll::Ready(Err(error)) = &written
            && error.kind() == io::ErrorKind::TimedOut
        {
            self.is_stuck.store(true, Ordering::Relaxed);
        }
        written
    }

    fn bytes_came(&self) {
        let mut state = self.lock();
        if self.bytes_are_heads && state.requests == 0 && !state.head {
            state.head = true;
            state.since = Instant::now();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut state = self.pulse.lock();
        state.requests = state.requests.saturating_sub(1);
        if state.requests == 0 {
            state.since = Instant::now();
            state.head = false;
        }
    }
}

/// Tells `pulse` of bytes that come in.
pub(super) struct Felt<T> {
    pub(super) inner: T,
    pub(super) pulse: Arc<Pulse>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Felt<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        self.pulse.bytes_came();
        Poll::Ready(read)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Felt<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.pulse.wrote(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.pulse.wrote(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.pulse.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience =
        Patience { head: Duration::from_secs(10), idle: Duration::from_mins(1) };

    async fn over(pulse: &Pulse) -> (Over, u64) {
        let start = Instant::now();
        let over = pulse.over().await;
        (over, start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_half_a_head_goes_soon() {
        let pulse = Pulse::new(PATIENCE, true);
        assert_eq!(over(&pulse).await, (Over::Head, 10));

        let pulse = Arc::new(Pulse::new(PATIENCE, true));
        drop(pulse.begin());
        tokio::time::sleep(Duration::from_secs(50)).await;
        pulse.bytes_came();
        tokio::time::sleep(Duration::from_secs(1)).await;
        pulse.bytes_came();
        assert_eq!(over(&pulse).await, (Over::Head, 9));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_nothing_more_goes_later() {
        for bytes_are_heads in [true, false] {
            let pulse = Arc::new(Pulse::new(PATIENCE, bytes_are_heads));
            let request = pulse.begin();
            let long = tokio::time::timeout(Duration::from_hours(1), pulse.over());
            assert!(long.await.is_err(), "a request is under way");
            drop(request);
            if bytes_are_heads {
                assert_eq!(over(&pulse).await, (Over::Idle, 60));
            } else {
                tokio::time::sleep(Duration::from_secs(20)).await;
                pulse.bytes_came();
                assert_eq!(over(&pulse).await, (Over::Idle, 40));
            }
        }
    }
}
