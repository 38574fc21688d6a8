//! A destination that speaks nothing in particular, with or without TLS.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use socket2::Socket;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use crate::destination::secure;
use crate::support::vanish::vanish;

/// What it does with a connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Manner {
    /// Sends back what comes, and ends when the other side has ended.
    Echo,
    /// Reads to the end, and only then answers with the number of bytes, and ends.
    Count,
    /// Sends without an end.
    Endless,
    /// Reads nothing and says nothing.
    Deaf,
    /// Sends this many bytes slowly, in pieces of 100, and ends.
    Dripping(usize),
    /// Sends some and breaks off: no end of TLS, or a reset.
    BreaksOff,
    /// Passes everything on to another server, which vanishes with it.
    Before(SocketAddr),
    /// Offers TLS as PostgreSQL does.
    Postgres,
}

pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    state: Arc<State>,
    _runtime: Runtime,
}

#[derive(Default)]
struct State {
    connections: AtomicUsize,
    ended: AtomicUsize,
    sent: AtomicUsize,
    sockets: Mutex<Vec<Socket>>,
}

impl Peer {
    pub(crate) fn start(manner: Manner, tls: Option<rustls::ServerConfig>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        let tls = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, state) = (tls.clone(), Arc::clone(&shared));
                let socket = stream.as_fd().try_clone_to_owned().unwrap();
                state.sockets.lock().unwrap().push(socket.into());
                tokio::spawn(async move {
                    let mut stream = stream;
                    if manner == Manner::Postgres {
                        let asked = stream.read_exact(&mut [0; 8]).await;
                        if asked.is_err() || stream.write_all(b"S").await.is_err() {
                            return;
                        }
                    }
                    match tls {
                        None => behave(stream, manner, &state).await,
                        Some(tls) => {
                            let Some(stream) = secure(&tls, stream).await else { return };
                            behave(stream, manner, &state).await;
                        }
                    }
                    state.sockets.lock().unwrap().clear();
                    state.ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { addr, state, _runtime: runtime }
    }

    /// Connections whose TLS, where there is one, came about.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn ended(&self) -> usize {
        self.state.ended.load(Ordering::SeqCst)
    }

    /// Bytes that it got rid of.
    pub(crate) fn sent(&self) -> usize {
        self.state.sent.load(Ordering::SeqCst)
    }

    /// From now on nothing arrives at it.
    pub(crate) fn vanish(&self) {
        vanish(&self.state.sockets.lock().unwrap(), self.addr.port());
    }
}

async fn behave(mut stream: impl AsyncRead + AsyncWrite + Unpin, manner: Manner, state: &State) {
    state.connections.fetch_add(1, Ordering::SeqCst);
    let mut buffer = vec![0; 64 << 10];
    match manner {
        Manner::Echo => {
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..read]).await.is_err() || stream.flush().await.is_err()
                {
                    return;
                }
            }
            let _ = stream.shutdown().await;
        }
        Manner::Count => {
            let mut count = 0;
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                count += read;
            }
            let _ = stream.write_all(count.to_string().as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Manner::Endless => {
            while let Ok(sent @ 1..) = stream.write(&buffer).await {
                state.sent.fetch_add(sent, Ordering::SeqCst);
            }
        }
        Manner::Before(addr) => {
            let mut server = TcpStream::connect(addr).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
        }
        Manner::Deaf | Manner::Postgres => std::future::pending().await,
        Manner::Dripping(mut left) => {
            while left > 0 {
                let piece = left.min(100);
                if stream.write_all(&buffer[..piece]).await.is_err()
                    || stream.flush().await.is_err()
                {
                    return;
                }
                left -= piece;
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            let _ = stream.shutdown().await;
        }
        Manner::BreaksOff => {
            let _ = stream.write_all(b"some").await;
            let _ = stream.flush().await;
            // With something unread, and without a word.
            let _ = stream.read(&mut buffer[..1]).await;
        }
    }
}
