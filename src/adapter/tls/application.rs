//! The way to the application.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::adapter::relay::reset_when_dropped;
use crate::config::Forward;

/// Why the application was not reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("it cannot be connected to")]
    Refused(#[source] io::Error),
    #[error("no connection within {0:?}")]
    Timeout(Duration),
}

/// Opens connections to the application.
#[derive(Debug, Clone)]
pub(super) struct Application {
    pub(super) forward: Forward,
    pub(super) patience: Duration,
}

impl Application {
    /// Cancel safety: a connection half made is closed.
    pub(super) async fn connect(&self) -> Result<Inside, ConnectError> {
        match timeout(self.patience, self.open()).await {
            Ok(opened) => opened.map_err(ConnectError::Refused),
            Err(_) => Err(ConnectError::Timeout(self.patience)),
        }
    }

    async fn open(&self) -> io::Result<Inside> {
        match &self.forward {
            Forward::Tcp(addr) => {
                let stream = TcpStream::connect(addr.get()).await?;
                stream.set_nodelay(true)?;
                Ok(Inside::Tcp(stream))
            }
            Forward::Abstract(name) => {
                let path = [b"\0", name.as_str().as_bytes()].concat();
                Ok(Inside::Unix(UnixStream::connect(OsString::from_vec(path)).await?))
            }
            Forward::Socket(path) => Ok(Inside::Unix(UnixStream::connect(path).await?)),
        }
    }
}

/// A connection with the application.
#[derive(Debug)]
pub(super) enum Inside {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Inside {
    /// Whether the application sees a cut instead of an end when this is dropped. A unix socket
    /// has no such thing: there an end is an end.
    pub(super) fn reset_when_dropped(&self, reset: bool) {
        if let Self::Tcp(stream) = self {
            reset_when_dropped(stream, reset);
        }
    }
}

macro_rules! either {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Inside::Tcp($stream) => $call,
            Inside::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Inside {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Inside {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // Most requests are one piece, for which the kernel has a shorter way.
        if let [whole] = bufs {
            return self.poll_write(cx, whole);
        }
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
