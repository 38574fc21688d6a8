//! An HTTP server that writes down what it was asked, with or without TLS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper_util::rt::TokioIo;
use sidekey::dev::DevTls;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::support::tls::Authority;

/// What the destination was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }
}

/// One for each connection with one, in DER.
type Certificates = Arc<Mutex<Vec<Vec<u8>>>>;
type Log = Arc<Mutex<Vec<Asked>>>;

/// What a test may change of it.
#[derive(Clone, Default)]
struct Mood {
    /// Where `/redirect` leads.
    elsewhere: Arc<Mutex<String>>,
    /// The tokens that it takes; all, at first.
    taken: Arc<Mutex<Option<Vec<String>>>>,
}

impl Mood {
    fn takes(&self, asked: &Asked) -> bool {
        let taken = self.taken.lock().unwrap();
        let given = asked.header("authorization");
        let is_given = |token: &String| given == [format!("Bearer {token}")];
        taken.as_ref().is_none_or(|taken| taken.iter().any(is_given))
    }
}

pub(crate) struct Destination {
    pub(crate) addr: SocketAddr,
    log: Log,
    mood: Mood,
    certificates: Certificates,
    closed: Arc<Mutex<usize>>,
    _runtime: Runtime,
}

impl Destination {
    pub(crate) fn plain() -> Self {
        Self::start(None)
    }

    pub(crate) fn tls(tls: &DevTls) -> Self {
        Self::start(Some(Authority::settings(tls, None)))
    }

    /// One that wants a client certificate of this authority.
    pub(crate) fn mutual(tls: &DevTls, client_ca: &str) -> Self {
        Self::start(Some(Authority::settings(tls, Some(client_ca.as_bytes()))))
    }

    fn start(tls: Option<rustls::ServerConfig>) -> Self {
        let tls = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let (log, mood) = (Log::default(), Mood::default());
        let state = (Arc::clone(&log), mood.clone());
        let (certificates, closed_in_all) =
            (Certificates::default(), Arc::<Mutex<usize>>::default());
        let (shown, closed) = (Arc::clone(&certificates), Arc::clone(&closed_in_all));
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, state) = (tls.clone(), state.clone());
                let (shown_there, closed_there) = (shown.clone(), closed.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, state).await,
                        Some(tls) => {
                            if let Some(stream) = secure(&tls, stream).await {
                                let shown = stream.get_ref().1.peer_certificates();
                                let shown = shown.map(|chain| chain[0].to_vec());
                                shown_there.lock().unwrap().extend(shown);
                                serve(stream, state).await;
                                *closed_there.lock().unwrap() += 1;
                            }
                        }
                    }
                });
            }
        });
        Self { addr, log, mood, certificates, closed: closed_in_all, _runtime: runtime }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }

    /// The client certificates that were shown, one for each connection.
    pub(crate) fn certificates(&self) -> Vec<Vec<u8>> {
        self.certificates.lock().unwrap().clone()
    }

    /// Connections with TLS that ended.
    pub(crate) fn closed(&self) -> usize {
        *self.closed.lock().unwrap()
    }

    pub(crate) fn last(&self) -> Asked {
        self.asked().pop().expect("the destination was asked")
    }

    pub(crate) fn redirects_to(&self, url: &str) {
        url.clone_into(&mut self.mood.elsewhere.lock().unwrap());
    }

    /// These tokens and no others, from now on.
    pub(crate) fn takes(&self, tokens: &[String]) {
        *self.mood.taken.lock().unwrap() = Some(tokens.to_vec());
    }
}

/// The connection with TLS, or `None` when there is none. What was refused is read to its end, so
/// that the reason is not lost in a reset.
pub(crate) async fn secure(tls: &TlsAcceptor, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
    match tls.accept(stream).into_fallible().await {
        Ok(stream) => Some(stream),
        Err((_, mut refused)) => {
            let _ = refused.shutdown().await;
            while refused.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
            None
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (log, mood): (Log, Mood),
) {
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let (log, mood) = (Arc::clone(&log), mood.clone());
        async move {
            let (parts, body) = request.into_parts();
            let path = parts.uri.path().to_owned();
            if path == "/early" {
                // An answer before the request's body ends.
                return Ok::<_, Infallible>(whole(StatusCode::PAYLOAD_TOO_LARGE, "enough"));
            }
            let Ok(body) = body.collect().await else { std::future::pending().await };
            let asked = Asked {
                method: parts.method.to_string(),
                target: parts.uri.to_string(),
                headers: parts.headers,
                body: body.to_bytes(),
            };
            log.lock().unwrap().push(asked.clone());
            if !mood.takes(&asked) {
                return Ok(whole(StatusCode::UNAUTHORIZED, ""));
            }
            let elsewhere = mood.elsewhere.lock().unwrap().clone();
            Ok(answer(&path, &asked, &elsewhere).await)
        }
    });
    let io = TokioIo::new(stream);
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn answer(path: &str, asked: &Asked, elsewhere: &str) -> Answer {
    let authorization = asked.headers.get("authorization").cloned();
    match path {
        "/silent" => std::future::pending().await,
        "/redirect" => {
            let mut response = whole(StatusCode::FOUND, "");
            response.headers_mut().insert("location", elsewhere.parse().unwrap());
            response
        }
        "/echo" => {
            let mut response = whole(StatusCode::OK, "echoed");
            let headers = response.headers_mut();
            headers.insert("x-echo", authorization.unwrap());
            headers.insert("x-other", "kept".parse().unwrap());
            headers.insert("connection", "x-hop".parse().unwrap());
            headers.insert("x-hop", "1".parse().unwrap());
            response
        }
        "/endless" => Response::new(Endless.boxed()),
        "/stream" => {
            let pieces = (0..3).map(|n| Ok(Frame::data(Bytes::from(format!("piece {n}\n")))));
            Response::new(Pieces(pieces.collect()).boxed())
        }
        _ => whole(StatusCode::OK, "hello"),
    }
}

/// What never ends.
struct Endless;

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static BLOCK: [u8; 64 << 10] = [b'x'; 64 << 10];
        std::task::Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&BLOCK)))))
    }
}

/// What is there already, without a length.
struct Pieces(std::collections::VecDeque<Result<Frame<Bytes>, Infallible>>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.pop_front())
    }
}

fn whole(status: StatusCode, text: &'static str) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())).boxed());
    *response.status_mut() = status;
    response
}
