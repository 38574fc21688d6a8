//! An issuer that publishes what a test wants, over HTTPS or HTTP.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer as Ca, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

/// What is answered at each path. Nothing for a path that is not in it: the connection hangs.
type Answers = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

pub(in super::super) struct TestIssuer {
    pub(in super::super) addr: SocketAddr,
    /// The authority of its certificate; `None` for HTTP.
    pub(in super::super) ca: Option<tempfile::NamedTempFile>,
    answers: Answers,
    asked: watch::Sender<Vec<String>>,
}

impl TestIssuer {
    pub(in super::super) async fn https() -> Self {
        let (acceptor, ca) = tls(&["localhost".into()]);
        Self::start(Some(acceptor), Some(ca)).await
    }

    /// With a certificate for another host.
    pub(in super::super) async fn misnamed() -> Self {
        let (acceptor, ca) = tls(&["other.invalid".into()]);
        Self::start(Some(acceptor), Some(ca)).await
    }

    pub(in super::super) async fn http() -> Self {
        Self::start(None, None).await
    }

    async fn start(acceptor: Option<TlsAcceptor>, ca: Option<tempfile::NamedTempFile>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (answers, asked) = (Answers::default(), watch::Sender::new(Vec::new()));
        let issuer = Self { addr, ca, answers: Arc::clone(&answers), asked: asked.clone() };
        let tracker = TaskTracker::new();
        TaskTracker::new().spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answers, asked) = (Arc::clone(&answers), asked.clone());
                let acceptor = acceptor.clone();
                tracker.spawn(serve(stream, acceptor, answers, asked));
            }
        });
        issuer
    }

    pub(in super::super) fn url(&self, path: &str) -> String {
        match self.ca {
            Some(_) => format!("https://localhost:{}{path}", self.addr.port()),
            None => format!("http://{}{path}", self.addr),
        }
    }

    pub(in super::super) fn ca_path(&self) -> Option<PathBuf> {
        self.ca.as_ref().map(|file| file.path().to_owned())
    }

    /// Publishes these at `/jwks`.
    pub(in super::super) fn publish(&self, keys: &[Value]) {
        self.answer("/jwks", &ok(json!({ "keys": keys }).to_string().as_bytes()));
    }

    /// Answers `path` with these bytes, and then closes.
    pub(in super::super) fn answer(&self, path: &str, bytes: &[u8]) {
        let mut answers = self.answers.lock().unwrap();
        answers.retain(|(other, _)| other != path);
        answers.push((path.into(), bytes.to_vec()));
    }

    /// Answers nothing any more.
    pub(in super::super) fn hang(&self) {
        self.answers.lock().unwrap().clear();
    }

    /// How often it was asked, for whatever.
    pub(in super::super) fn asked(&self) -> usize {
        self.asked.borrow().len()
    }

    /// Waits until it was asked so often.
    pub(in super::super) async fn asked_times(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        asked.wait_for(|asked| asked.len() >= times).await.unwrap();
    }
}

pub(in super::super) fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

async fn serve(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    answers: Answers,
    asked: watch::Sender<Vec<String>>,
) {
    match acceptor {
        None => answer(stream, answers, asked).await,
        Some(acceptor) => {
            // A client that does not trust us ends it here.
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream, answers, asked).await;
            }
        }
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answers: Answers,
    asked: watch::Sender<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let found = answers.lock().unwrap().iter().find(|(at, _)| *at == path).cloned();
    asked.send_modify(|asked| asked.push(path));
    match found {
        Some((_, bytes)) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        None => std::future::pending().await,
    }
}

fn tls(names: &[String]) -> (TlsAcceptor, tempfile::NamedTempFile) {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "an issuer's authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = authority.self_signed(&key).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(certificate.pem().as_bytes()).unwrap();
    let ca = Ca::new(authority, key);

    let mut params = CertificateParams::new(names.to_vec()).unwrap();
    if names[0] == "localhost" {
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
    }
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &ca).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), file)
}
