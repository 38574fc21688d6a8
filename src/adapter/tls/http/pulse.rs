//! Whether a connection from outside still does something.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// For a piece of an answer to be taken, over HTTP/2.
    pub(super) write: Duration,
}

/// Why a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// A head did not come to its end.
    Head,
    /// No request came.
    Idle,
    /// An answer is not read.
    Stuck,
}

impl Over {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head_timeout",
            Self::Idle => "idle",
            Self::Stuck => "write_timeout",
        }
    }
}

/// One connection's.
pub(super) struct Pulse {
    base: Instant,
    patience: Patience,
    /// The bytes between two requests are the start of a head: not so in HTTP/2, where there is
    /// more to say.
    bytes_are_heads: bool,
    state: Mutex<State>,
}

struct State {
    requests: Vec<Arc<Handed>>,
    /// Since when nothing is under way, or when the first byte of a head came.
    since: Instant,
    /// The next thing to end is a head.
    head: bool,
}

/// When a piece of an answer was handed over to be written, in milliseconds from the start of
/// the connection on; 0 once more is asked for.
struct Handed(AtomicU64);

/// A request under way, until dropped.
pub(super) struct Request {
    pulse: Arc<Pulse>,
    handed: Arc<Handed>,
}

impl Pulse {
    pub(super) fn new(patience: Patience, bytes_are_heads: bool) -> Self {
        let state = State { requests: Vec::new(), since: Instant::now(), head: true };
        Self { base: Instant::now(), patience, bytes_are_heads, state: Mutex::new(state) }
    }

    pub(super) fn begin(self: &Arc<Self>) -> Request {
        let handed = Arc::new(Handed(AtomicU64::new(0)));
        self.lock().requests.push(Arc::clone(&handed));
        Request { pulse: Arc::clone(self), handed }
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
        if state.requests.is_empty() {
            let (patience, over) = if state.head {
                (self.patience.head, Over::Head)
            } else {
                (self.patience.idle, Over::Idle)
            };
            let end = state.since + patience;
            let again = end.min(now + LOOK.min(self.patience.head));
            return if now >= end { Err(over) } else { Ok(again) };
        }
        let handed = state.requests.iter().map(|handed| handed.0.load(Ordering::Relaxed));
        let oldest = handed.filter(|handed| *handed > 0).min();
        let stuck = oldest.map(|at| self.base + Duration::from_millis(at) + self.patience.write);
        match stuck {
            Some(end) if now >= end => Err(Over::Stuck),
            _ => Ok(now + LOOK.min(self.patience.write)),
        }
    }

    fn bytes_came(&self) {
        let mut state = self.lock();
        if self.bytes_are_heads && state.requests.is_empty() && !state.head {
            state.head = true;
            state.since = Instant::now();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Request {
    /// A piece of the answer is on its way out.
    pub(super) fn hand_over(&self) {
        let since = self.pulse.base.elapsed().as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX).max(1);
        self.handed.0.store(since, Ordering::Relaxed);
    }

    /// There is room for another piece.
    pub(super) fn has_room(&self) {
        self.handed.0.store(0, Ordering::Relaxed);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut state = self.pulse.lock();
        state.requests.retain(|other| !Arc::ptr_eq(other, &self.handed));
        if state.requests.is_empty() {
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
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(10),
        idle: Duration::from_mins(1),
        write: Duration::from_secs(30),
    };

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

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_goes_too() {
        let pulse = Arc::new(Pulse::new(PATIENCE, false));
        let (waits, reads) = (pulse.begin(), pulse.begin());
        tokio::time::sleep(Duration::from_secs(1)).await;
        waits.hand_over();
        waits.has_room();
        let long = tokio::time::timeout(Duration::from_hours(1), pulse.over());
        assert!(long.await.is_err(), "it is the application that is waited for");
        reads.hand_over();
        let (over, after) = over(&pulse).await;
        assert_eq!(over, Over::Stuck);
        assert!((30..=32).contains(&after), "{after}");
    }
}
