//! The bytes of one connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Sleep;
use tokio_util::either::Either;

/// An accepted connection of either kind. Both write vectored: plaintext would be copied in user
/// space where one does not.
pub(crate) type Stream = Either<TcpStream, UnixStream>;

/// Fails a connection whose writes make no progress for `timeout`, so that a reader who stops
/// reading does not keep a secret alive. Costs nothing while writes are taken at once.
pub(crate) struct Unstuck<T> {
    inner: T,
    timeout: Duration,
    /// Set from the first write that had to wait to the next that did not.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<T> Unstuck<T> {
    pub(crate) fn new(inner: T, timeout: Duration) -> Self {
        Self { inner, timeout, stuck: None }
    }

    fn watch<R>(
        &mut self,
        cx: &mut Context<'_>,
        write: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if write.is_ready() {
            self.stuck = None;
            return write;
        }
        let timeout = self.timeout;
        let sleep = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Unstuck<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Unstuck<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What TLS has taken and cannot get rid of.
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_write_without_progress_fails_in_time() {
        let (near, mut far) = tokio::io::duplex(10);
        let mut near = Unstuck::new(near, Duration::from_secs(10));
        let start = Instant::now();
        near.write_all(&[0; 10]).await.unwrap();
        let reader = async {
            tokio::time::sleep(Duration::from_secs(9)).await;
            far.read_exact(&mut [0; 5]).await.unwrap();
        };
        let (written, ()) = tokio::join!(near.write_all(&[0; 20]), reader);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // Progress at 9 s started the time anew.
        assert_eq!(start.elapsed().as_secs(), 19);
    }
    #[tokio::test(start_paused = true)]
    async fn so_does_a_flush() {
        let (near, _far) = tokio::io::duplex(10);
        let mut near = Unstuck::new(tokio::io::BufWriter::new(near), Duration::from_secs(10));
        let start = Instant::now();
        near.write_all(&[0; 20]).await.unwrap();
        let flushed = near.flush().await;
        assert_eq!(flushed.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), 10);
    }
}
