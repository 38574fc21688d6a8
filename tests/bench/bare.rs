//! The measure: hyper alone, answering from memory, with as many threads as `sidekey serve`
//! takes. It knows no callers, no names and no timeouts.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

/// Serves `value` under `headers` until killed.
pub(crate) fn serve(tcp: SocketAddr, unix: &str, headers: &HeaderMap, value: String) {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = (processors / 2).clamp(1, 4);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .unwrap();
    let value = Bytes::from(value);
    runtime.block_on(async {
        let addr = std::os::unix::net::SocketAddr::from_abstract_name(unix).unwrap();
        let unix = std::os::unix::net::UnixListener::bind_addr(&addr).unwrap();
        unix.set_nonblocking(true).unwrap();
        let unix = UnixListener::from_std(unix).unwrap();
        let tcp = TcpListener::bind(tcp).await.unwrap();
        loop {
            tokio::select! {
                accepted = tcp.accept() => {
                    let stream = accepted.unwrap().0;
                    stream.set_nodelay(true).unwrap();
                    tokio::spawn(connection(stream, headers.clone(), value.clone()));
                }
                accepted = unix.accept() => {
                    let stream = accepted.unwrap().0;
                    tokio::spawn(connection(stream, headers.clone(), value.clone()));
                }
            }
        }
    });
}

async fn connection<S>(stream: S, headers: HeaderMap, value: Bytes)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = |_| {
        let mut response = Response::new(Full::new(value.clone()));
        response.headers_mut().clone_from(&headers);
        async move { Ok::<_, Infallible>(response) }
    };
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}
