//! A client of the outside: TLS with rustls, HTTP with hyper or by hand.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::scene::NAME;
use crate::support::tls::Pair;

pub(crate) type Stream = TlsStream<TcpStream>;

/// Ends what hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test's own part of the conversation.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async { tokio::time::timeout(PATIENCE * 4, future).await.unwrap() })
}

/// Who connects, and whom it trusts.
#[derive(Clone)]
pub(crate) struct Client {
    addr: SocketAddr,
    config: Arc<ClientConfig>,
}

impl Client {
    pub(crate) fn new(addr: SocketAddr, authority: &str) -> Self {
        Self::with(addr, authority, None)
    }

    pub(crate) fn with(addr: SocketAddr, authority: &str, pair: Option<&Pair>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap()
            }
        };
        Self { addr, config: Arc::new(config) }
    }

    /// Offers this protocol.
    pub(crate) async fn connect(&self, alpn: Option<&str>) -> io::Result<Stream> {
        let tcp = TcpStream::connect(self.addr).await?;
        self.secure(tcp, alpn).await
    }

    pub(crate) async fn secure(&self, tcp: TcpStream, alpn: Option<&str>) -> io::Result<Stream> {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = alpn.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(NAME).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    }

    /// A connection that the server lets be used: with TLS 1.3 a client hears of the refusal of
    /// its certificate only then.
    pub(crate) async fn is_let_in(&self) -> Result<(), String> {
        let get = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
        let answer = self.exchange(get.as_bytes()).await.map_err(|error| error.to_string())?;
        if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer) }
    }

    /// Writes `bytes`, and reads to the end.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> io::Result<String> {
        let mut stream = self.connect(Some("http/1.1")).await?;
        stream.write_all(bytes).await?;
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap()?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Sends requests one after the other over HTTP/1.1.
    pub(crate) async fn http1(&self) -> Http1 {
        let stream = self.connect(Some("http/1.1")).await.unwrap();
        let made = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = made.unwrap();
        tokio::spawn(connection.with_upgrades());
        Http1(sender)
    }

    /// Sends requests over HTTP/2.
    pub(crate) async fn http2(&self) -> Http2 {
        let stream = self.connect(Some("h2")).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let made =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = made.unwrap();
        let ended = tokio::spawn(connection);
        Http2 { sender, ended }
    }
}

/// A connection whose client stops reading, once told so.
pub(crate) struct Gated {
    inner: Stream,
    closed: Arc<AtomicBool>,
}

impl Gated {
    pub(crate) fn new(inner: Stream) -> (Self, Arc<AtomicBool>) {
        let closed = Arc::<AtomicBool>::default();
        (Self { inner, closed: Arc::clone(&closed) }, closed)
    }
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.closed.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gated {
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
}

/// The serial number of the certificate that a server showed, as Vault writes it.
pub(crate) fn serial_of(stream: &Stream) -> String {
    let shown = &stream.get_ref().1.peer_certificates().unwrap()[0];
    let (_, parsed) = x509_parser::parse_x509_certificate(shown).unwrap();
    parsed.raw_serial_as_string()
}

pub(crate) struct Http1(pub(crate) hyper::client::conn::http1::SendRequest<Full<Bytes>>);

pub(crate) struct Http2 {
    pub(crate) sender: hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    pub(crate) ended: tokio::task::JoinHandle<hyper::Result<()>>,
}

impl Http1 {
    pub(crate) async fn get(&mut self, path: &str) -> hyper::Result<Response<Incoming>> {
        self.0.ready().await?;
        let request = Request::get(path).header("host", NAME).body(Full::default()).unwrap();
        self.0.send_request(request).await
    }
}

impl Http2 {
    pub(crate) async fn get(&mut self, path: &str) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        let uri = format!("https://{NAME}{path}");
        self.sender.send_request(Request::get(uri).body(Full::default()).unwrap()).await
    }
}

pub(crate) async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8_lossy(&body).into_owned()
}
