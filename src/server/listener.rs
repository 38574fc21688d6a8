//! Listening and accepting.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net as unix;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::guard::OwnNames;
use super::peer::Peer;
use super::socket_table::OwnSocket;
use super::stream::Stream;
use crate::config::AbstractName;
use crate::observe::event;

/// Connections that the kernel keeps for us while all permits are taken.
const BACKLOG: i32 = 1024;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const WARN_EVERY: Duration = Duration::from_mins(1);

/// Where we could not listen, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// `127.0.0.1:7433`, or `@name` of an abstract unix socket, and what it is for.
    pub address: String,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

impl BindError {
    fn at(address: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        let address = address.to_string();
        move |source| Self { address, source }
    }

    /// With the key of the configuration that asks for it.
    pub(crate) fn of(self, key: &str) -> Self {
        Self { address: format!("{} ({key})", self.address), ..self }
    }
}

/// One bound socket.
pub(crate) enum Listener {
    Tcp { socket: TcpListener, addr: SocketAddr, names: Arc<OwnNames> },
    Unix { socket: UnixListener, name: AbstractName, names: Arc<OwnNames> },
}

impl Listener {
    /// One of the local door's. Must be called inside a tokio runtime.
    pub(super) fn door(addr: SocketAddr) -> Result<Self, BindError> {
        let elsewhere = |BindError { address, source }| {
            let address = format!("{address} (--listen or [listen] tcp names another address)");
            BindError { address, source }
        };
        Self::tcp(addr).map_err(elsewhere)
    }

    /// Must be called inside a tokio runtime.
    pub(crate) fn tcp(addr: SocketAddr) -> Result<Self, BindError> {
        let bind = || {
            let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
            if addr.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&addr.into())?;
            socket.listen(BACKLOG)?;
            let socket = TcpListener::from_std(socket.into())?;
            let addr = socket.local_addr()?;
            Ok(Self::Tcp { socket, addr, names: Arc::new(OwnNames::tcp(addr)) })
        };
        bind().map_err(BindError::at(addr))
    }

    /// Must be called inside a tokio runtime.
    pub(super) fn health(addr: SocketAddr) -> Result<Self, BindError> {
        let elsewhere = |BindError { address, source }| {
            let address = format!(
                "{address} for health and metrics (--health-listen or [health] listen names another address, `off` none)"
            );
            BindError { address, source }
        };
        Self::tcp(addr).map_err(elsewhere)
    }

    /// Must be called inside a tokio runtime.
    pub(crate) fn unix(name: &AbstractName, names: OwnNames) -> Result<Self, BindError> {
        let bind = || {
            let addr = unix::SocketAddr::from_abstract_name(name.as_str())?;
            let socket = unix::UnixListener::bind_addr(&addr)?;
            socket.set_nonblocking(true)?;
            let socket = UnixListener::from_std(socket)?;
            Ok(Self::Unix { socket, name: name.clone(), names: Arc::new(names) })
        };
        bind().map_err(BindError::at(name))
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Peer)>> {
        match self {
            Self::Tcp { socket, names, .. } => socket.poll_accept(cx).map(|accepted| {
                let (stream, peer) = accepted?;
                stream.set_nodelay(true)?;
                let own = OwnSocket::of(&stream)?;
                let peer = Peer::tcp(peer, own, Arc::clone(names));
                Ok((Stream::Left(stream), peer))
            }),
            Self::Unix { socket, names, .. } => socket.poll_accept(cx).map(|accepted| {
                let (stream, _) = accepted?;
                let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                Ok((Stream::Right(stream), Peer::unix(uid, Arc::clone(names))))
            }),
        }
    }
}

/// Accepts from all of `listeners` until `cancel`, handing each connection to `start` with the
/// permit that it holds while it lives.
///
/// When no permit is left, `make_room` may have a connection end, and the accepted one waits for
/// its place. Further ones wait in the kernel, where they cost us nothing. No error ends this, and
/// none makes it spin.
pub(crate) async fn accept_loop(
    listeners: Vec<Listener>,
    permits: Arc<Semaphore>,
    cancel: CancellationToken,
    make_room: impl Fn(),
    mut start: impl FnMut(Stream, Peer, OwnedSemaphorePermit),
) {
    let mut turn = 0;
    let mut errors = Errors::default();
    let accept_and_start = async {
        loop {
            match accept(&listeners, &mut turn).await {
                Ok((stream, peer)) => {
                    errors.forget();
                    let Some(permit) = permit(&permits, &make_room).await else { return };
                    start(stream, peer, permit);
                }
                Err(error) => {
                    if let Some(pause) = errors.pause_after(&error) {
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => {}
        () = accept_and_start => {}
    }
}

async fn accept(listeners: &[Listener], turn: &mut usize) -> io::Result<(Stream, Peer)> {
    // Each time another listener is asked first, so that none starves the others.
    *turn = turn.wrapping_add(1);
    let first = *turn % listeners.len().max(1);
    std::future::poll_fn(|cx| {
        let (later, sooner) = listeners.split_at_checked(first).unwrap_or_default();
        for listener in sooner.iter().chain(later) {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

/// `None` once the semaphore is closed, which none of ours ever is.
async fn permit(permits: &Arc<Semaphore>, make_room: impl Fn()) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
        return Some(permit);
    }
    make_room();
    Arc::clone(permits).acquire_owned().await.ok()
}

/// What to do after errors of accept.
#[derive(Default)]
struct Errors {
    skipped: u32,
    pause: Option<Duration>,
    warned: Option<Instant>,
}

impl Errors {
    /// Errors of single connections are skipped, unless nothing but errors comes. Others are
    /// ours (out of file descriptors or memory) and take time to pass.
    fn pause_after(&mut self, error: &io::Error) -> Option<Duration> {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        let of_one_connection = matches!(
            error.kind(),
            ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
        );
        self.skipped += 1;
        if of_one_connection && self.skipped < 64 {
            return None;
        }
        let pause = self.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        self.pause = Some(pause);
        if self.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            event::accept_paused(error, pause);
        }
        Some(pause)
    }

    fn forget(&mut self) {
        self.skipped = 0;
        self.pause = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let first = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let Listener::Tcp { addr, .. } = first else { unreachable!() };
        let error = Listener::tcp(addr).err().unwrap();
        assert_eq!(error.address, addr.to_string());
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn v6_does_not_take_v4() {
        let v6 = Listener::tcp("[::1]:0".parse().unwrap()).unwrap();
        let Listener::Tcp { socket, .. } = v6 else { unreachable!() };
        assert!(socket2::SockRef::from(&socket).only_v6().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_are_forgotten() {
        let mut errors = Errors::default();
        let emfile = io::Error::from_raw_os_error(libc::EMFILE);
        let pauses: Vec<_> = (0..9).filter_map(|_| errors.pause_after(&emfile)).collect();
        assert_eq!(pauses[0], FIRST_PAUSE);
        assert_eq!(pauses[1], FIRST_PAUSE * 2);
        assert_eq!(pauses[8], LONGEST_PAUSE);
        errors.forget();
        assert_eq!(errors.pause_after(&emfile), Some(FIRST_PAUSE));
        errors.forget();
        let reset = io::Error::from(io::ErrorKind::ConnectionAborted);
        assert_eq!(errors.pause_after(&reset), None);
        assert!((0..100).any(|_| errors.pause_after(&reset).is_some()), "never spins");
    }
}
