//! Applications behind the adapter: one of HTTP that writes down what it was asked, and one of
//! bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};

/// What the application was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }
}

type Log = Arc<Mutex<Vec<Asked>>>;
type Body = BoxBody<Bytes, hyper::Error>;

pub(crate) struct Application {
    pub(crate) addr: SocketAddr,
    log: Log,
    /// Lets `/wait` answer, and `/half` and `/events` end.
    pub(crate) go: Arc<Notify>,
    /// How each upgraded connection ended: `true` for a proper end.
    pub(crate) ends: Arc<Mutex<Vec<bool>>>,
    _runtime: Runtime,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

impl Application {
    pub(crate) fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap())
    }

    pub(crate) fn start_at(addr: SocketAddr) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind(addr)).unwrap();
        let addr = listener.local_addr().unwrap();
        let (log, go) = (Log::default(), Arc::<Notify>::default());
        let ends = Arc::<Mutex<Vec<bool>>>::default();
        let state = (Arc::clone(&log), Arc::clone(&go), Arc::clone(&ends));
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, state.clone()));
            }
        });
        Self { addr, log, go, ends, _runtime: runtime }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Asked {
        self.asked().pop().expect("the application was asked")
    }
}

type State = (Log, Arc<Notify>, Arc<Mutex<Vec<bool>>>);

async fn serve(stream: TcpStream, state: State) {
    stream.set_nodelay(true).unwrap();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(answer(request, state).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let _ = served.await;
}

async fn answer(mut request: Request<Incoming>, (log, go, ends): State) -> Response<Body> {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/echo" => return Response::new(request.into_body().boxed()),
        "/upgrade" => return upgrade(&mut request, ends),
        "/later" => return later(request.into_body()),
        "/early" => return whole(StatusCode::IM_A_TEAPOT, "enough"),
        _ => {}
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return whole(StatusCode::BAD_REQUEST, "cut") };
    let trailers = body.trailers().cloned();
    log.lock().unwrap().push(Asked {
        target: parts.uri.to_string(),
        headers: parts.headers,
        body: body.to_bytes(),
        trailers,
    });
    match path.as_str() {
        "/silent" => std::future::pending().await,
        "/wait" => {
            go.notified().await;
            whole(StatusCode::OK, "waited")
        }
        "/half" => half(go),
        "/events" => {
            let mut response = half(go);
            let kind = "text/event-stream; charset=utf-8".parse().unwrap();
            response.headers_mut().insert("content-type", kind);
            response
        }
        "/endless" => endless(),
        "/trailers" => with_trailers(),
        "/hop" => {
            let mut response = whole(StatusCode::OK, "hop");
            let headers = response.headers_mut();
            headers.insert("connection", "x-hop".parse().unwrap());
            headers.insert("x-hop", "1".parse().unwrap());
            headers.insert("x-kept", "1".parse().unwrap());
            response
        }
        _ => whole(StatusCode::OK, "hello"),
    }
}

/// Agrees to `echo/1` and `websocket`, greets, and returns each byte until the end of its input;
/// then it says goodbye.
fn upgrade(request: &mut Request<Incoming>, ends: Arc<Mutex<Vec<bool>>>) -> Response<Body> {
    let Some(protocol) = request.headers().get("upgrade").cloned() else {
        return whole(StatusCode::UPGRADE_REQUIRED, "no upgrade");
    };
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgraded.await.unwrap());
        let proper = echo(&mut stream).await;
        ends.lock().unwrap().push(proper);
    });
    let mut response = whole(StatusCode::SWITCHING_PROTOCOLS, "");
    response.headers_mut().insert("upgrade", protocol);
    response.headers_mut().insert("connection", "upgrade".parse().unwrap());
    response.headers_mut().insert("sec-websocket-accept", "yes".parse().unwrap());
    response
}

/// Whether the input came to a proper end.
async fn echo(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
    if stream.write_all(b"welcome\n").await.is_err() {
        return false;
    }
    let mut buffer = vec![0; 4096];
    let proper = loop {
        match stream.read(&mut buffer).await {
            Ok(0) => break true,
            Err(_) => break false,
            Ok(read) if stream.write_all(&buffer[..read]).await.is_err() => break false,
            Ok(_) => {}
        }
    };
    let _ = stream.write_all(b"goodbye\n").await;
    let _ = stream.shutdown().await;
    proper
}

/// A body of what comes through a channel.
pub(crate) struct Channel(mpsc::Receiver<Frame<Bytes>>);

impl Channel {
    pub(crate) fn new() -> (mpsc::Sender<Frame<Bytes>>, Self) {
        let (sender, receiver) = mpsc::channel(1);
        (sender, Self(receiver))
    }
}

impl hyper::body::Body for Channel {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

fn streamed(body: Channel) -> Response<Body> {
    Response::new(body.map_err(|never| match never {}).boxed())
}

/// Half an answer, and the rest after `go`.
fn half(go: Arc<Notify>) -> Response<Body> {
    let (sender, body) = Channel::new();
    tokio::spawn(async move {
        let _ = sender.send(Frame::data(Bytes::from_static(b"first half, "))).await;
        go.notified().await;
        let _ = sender.send(Frame::data(Bytes::from_static(b"second half"))).await;
    });
    streamed(body)
}

/// Head at once, and the body once the request's has ended.
fn later(asked: Incoming) -> Response<Body> {
    let (sender, body) = Channel::new();
    tokio::spawn(async move {
        let asked = asked.collect().await.unwrap().to_bytes();
        let _ = sender.send(Frame::data(asked)).await;
    });
    streamed(body)
}

fn endless() -> Response<Body> {
    let (sender, body) = Channel::new();
    tokio::spawn(async move {
        let piece = Bytes::from(vec![b'x'; 64 << 10]);
        while sender.send(Frame::data(piece.clone())).await.is_ok() {}
    });
    streamed(body)
}

fn with_trailers() -> Response<Body> {
    let (sender, body) = Channel::new();
    tokio::spawn(async move {
        let _ = sender.send(Frame::data(Bytes::from_static(b"body"))).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "42".parse().unwrap());
        let _ = sender.send(Frame::trailers(trailers)).await;
    });
    let mut response = streamed(body);
    response.headers_mut().insert("trailer", "x-sum".parse().unwrap());
    response
}

fn whole(status: StatusCode, text: &'static str) -> Response<Body> {
    let body = Full::new(Bytes::from_static(text.as_bytes()));
    let mut response = Response::new(body.map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
}

/// An application that is no HTTP: it keeps the PROXY header, where one is announced, and then
/// does what `/upgrade` does.
pub(crate) struct Bytewise {
    pub(crate) addr: SocketAddr,
    /// The headers of the connections so far.
    pub(crate) headers: Arc<Mutex<Vec<Vec<u8>>>>,
    /// How each connection ended: `true` for a proper end.
    pub(crate) ends: Arc<Mutex<Vec<bool>>>,
    _runtime: Runtime,
}

impl Bytewise {
    pub(crate) fn start(announced: bool) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), announced)
    }

    pub(crate) fn start_at(addr: SocketAddr, announced: bool) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind(addr)).unwrap();
        let addr = listener.local_addr().unwrap();
        let (headers, ends) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let state = (Arc::clone(&headers), Arc::clone(&ends));
        runtime.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (headers, ends) = state.clone();
                tokio::spawn(async move {
                    if announced {
                        let mut header = vec![0; 16];
                        stream.read_exact(&mut header).await.unwrap();
                        let rest = u16::from_be_bytes([header[14], header[15]]);
                        header.resize(16 + usize::from(rest), 0);
                        stream.read_exact(&mut header[16..]).await.unwrap();
                        headers.lock().unwrap().push(header);
                    }
                    let proper = echo(&mut stream).await;
                    ends.lock().unwrap().push(proper);
                });
            }
        });
        Self { addr, headers, ends, _runtime: runtime }
    }
}
