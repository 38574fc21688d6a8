//! The destination of requests, and connections that end with their certificate.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::task::TaskTracker;

use super::super::connect::{ConnectError, Outbound};
use super::super::{Station, identity};
use crate::adapter::upstream::Destination;
use crate::lease::{now, until};
use crate::memory::InSecretMemory;

/// The one destination of an ambassador.
pub(super) struct Dial(pub(super) Arc<Station>);

impl Destination for Dial {
    type Stream = Mortal;
    type Error = ConnectError;

    async fn connect(&self) -> Result<Mortal, ConnectError> {
        let certificate = self.0.certificate().await?;
        let end = certificate.as_ref().and_then(|served| Some(now() + served.expires_in?));
        let identity = identity(certificate.as_ref())?;
        let stream = self.0.connector.connect(identity).await?;
        let end = end.map(|end| Box::pin(until(end, now)) as End);
        Ok(Mortal { stream, end })
    }

    /// Where its buffers, through which the credential goes, are in secret memory. Connections end
    /// with the pool, which no stop has to wait for.
    fn run(connection: impl Future<Output = ()> + Send + 'static) {
        TaskTracker::new().spawn(InSecretMemory::of_credential(connection));
    }
}

type End = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection that fails when the certificate ends that it was made with. It is not used for
/// anything new long before that.
pub(super) struct Mortal {
    stream: Outbound,
    end: Option<End>,
}

impl Mortal {
    fn poll_alive(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let over = self.end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready());
        if over {
            // Polled again, it would panic.
            self.end = Some(Box::pin(std::future::ready(())));
            return Err(io::Error::new(io::ErrorKind::TimedOut, "its client certificate ended"));
        }
        Ok(())
    }
}

impl AsyncRead for Mortal {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_alive(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Mortal {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_alive(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_alive(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
