//! What hyper-util's pool of connections asks for: a connection, and somebody to run it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::super::connect::{ConnectError, Outbound};
use super::super::{Station, identity};
use crate::lease::{now, until};
use crate::memory::InSecretMemory;

/// Connects to the destination, whatever the URI says: it is ours, and the same each time.
#[derive(Clone)]
pub(super) struct Dial(pub(super) Arc<Station>);

impl Service<Uri> for Dial {
    type Response = TokioIo<Mortal>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let station = Arc::clone(&self.0);
        Box::pin(async move {
            let certificate = station.certificate().await?;
            let end = certificate.as_ref().and_then(|served| Some(now() + served.expires_in?));
            let identity = identity(certificate.as_ref())?;
            let stream = station.connector.connect(identity).await?;
            let end = end.map(|end| Box::pin(until(end, now)) as End);
            Ok(TokioIo::new(Mortal { stream, end }))
        })
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

impl Connection for Mortal {
    fn connected(&self) -> Connected {
        Connected::new()
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

/// Runs connections where their buffers, through which the credential goes, are in secret memory.
/// They end with the pool, which no stop has to wait for.
#[derive(Clone)]
pub(super) struct Spawner;

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        TaskTracker::new().spawn(InSecretMemory::of_credential(future));
    }
}
