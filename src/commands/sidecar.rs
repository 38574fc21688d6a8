//! Asking a running sidecar, over loopback TCP or its abstract unix socket.

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::certificate::KeystorePassword;
use crate::config::AbstractName;
use crate::error::Error;
use crate::memory::{SecretBuf, SecretWriter};

/// No answer of a sidecar is larger.
const MAX_ANSWER: usize = 32 << 20;
const PROBLEM: &str = "application/problem+json";
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a sidecar listens.
pub(super) enum Address {
    /// `HOST:PORT`.
    Tcp(String),
    /// An abstract unix socket.
    Unix(AbstractName),
}

/// A `GET`.
pub(super) struct Question<'a> {
    pub(super) path: &'a str,
    pub(super) token: Option<&'a SecretBuf>,
    /// For a keystore.
    pub(super) keystore_password: Option<&'a KeystorePassword>,
    /// The entity tag of what the asker has.
    pub(super) known: Option<&'a HeaderValue>,
}

/// An answer, whatever its status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) etag: Option<HeaderValue>,
    pub(super) retry_after: Option<Duration>,
    /// It has what every answer of a local door has: a value's freshness, or a problem document.
    pub(super) is_of_sidecar: bool,
    pub(super) body: SecretBuf,
}

/// Of RFC 9457.
#[derive(Deserialize)]
pub(super) struct Problem {
    pub(super) code: String,
    pub(super) detail: Option<String>,
}

impl Address {
    /// `http://HOST:PORT`, `HOST:PORT`, `unix:@NAME` or `@NAME`.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let unix = text.strip_prefix("unix:").unwrap_or(text);
        if unix.starts_with('@') {
            let name = AbstractName::parse(unix);
            return name
                .map(Self::Unix)
                .ok_or_else(|| Error::Usage(format!("{text}: no socket name")));
        }
        let authority = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let valid: Result<http::uri::Authority, _> = authority.parse();
        match valid {
            // Not quoted: it may have a password in it.
            _ if authority.contains('@') => {
                Err(Error::Usage("a user name or password has no place in the address".into()))
            }
            Ok(valid) if valid.port().is_some() => Ok(Self::Tcp(authority.into())),
            _ => Err(Error::Usage(format!("{text}: expected http://127.0.0.1:PORT or unix:@NAME"))),
        }
    }

    /// The same, where a caller's token may be sent: on this host alone, whoever listens there.
    pub(super) fn parse_local(text: &str) -> Result<Self, Error> {
        let address = Self::parse(text)?;
        match &address {
            Self::Tcp(authority) if authority.starts_with("localhost:") => {
                let written = authority.replacen("localhost", "127.0.0.1", 1);
                Err(Error::Usage(format!(
                    "{text}: what `localhost` means is up to the resolver: write http://{written}"
                )))
            }
            Self::Tcp(authority) if !is_loopback(authority) => Err(Error::Usage(format!(
                "{text}: a sidecar answers on loopback alone, and the token goes nowhere else: \
                 expected http://127.0.0.1:PORT or unix:@NAME"
            ))),
            _ => Ok(address),
        }
    }

    /// # Errors
    /// [`Error::Client`] where there is no answer, [`Error::Usage`] where none can come.
    pub(super) async fn ask(&self, question: &Question<'_>) -> Result<Answer, Error> {
        let asked = async {
            match self {
                Self::Tcp(authority) => {
                    let stream = TcpStream::connect(authority).await;
                    let stream = stream.map_err(|e| self.unreachable(&e))?;
                    ask(stream, (self, authority), question).await
                }
                Self::Unix(name) => {
                    let stream = connect_abstract(name).map_err(|e| self.unreachable(&e))?;
                    ask(stream, (self, "localhost"), question).await
                }
            }
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Client(format!("no answer from {self} within {PATIENCE:?}"))),
        }
    }

    fn unreachable(&self, error: &std::io::Error) -> Error {
        Error::Client(format!("no sidecar answers at {self}: {error}"))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(authority) => f.write_str(authority),
            Self::Unix(name) => name.fmt(f),
        }
    }
}

impl Answer {
    pub(super) fn problem(&self) -> Option<Problem> {
        serde_json::from_slice(self.body.expose()).ok()
    }

    /// The refusal in the words of its problem document.
    pub(super) fn refusal(&self) -> String {
        let Some(Problem { code, detail }) = self.problem() else { return self.status.to_string() };
        let detail = detail.map(|d| format!(": {d}")).unwrap_or_default();
        format!("{} {code}{detail}", self.status.as_u16())
    }
}

/// An address, not a name: what a name means is up to the resolver.
fn is_loopback(authority: &str) -> bool {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let host: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
    host.is_ok_and(|host| host.is_loopback())
}

fn connect_abstract(name: &AbstractName) -> std::io::Result<UnixStream> {
    use std::os::linux::net::SocketAddrExt as _;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name.as_str())?;
    let stream = std::os::unix::net::UnixStream::connect_addr(&address)?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

async fn ask<S>(
    stream: S,
    (address, host): (&Address, &str),
    question: &Question<'_>,
) -> Result<Answer, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = || {
        let why = "the connection broke, as it does where something else than a sidecar listens";
        Error::Client(format!("{address}: {why}"))
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| broken())?;
    let mut request = Request::get(question.path)
        .header(header::HOST, host)
        .body(Empty::<Bytes>::new())
        .map_err(|_| Error::Usage("not a name or field that a URL can hold".into()))?;
    if let Some(known) = question.known {
        request.headers_mut().insert(header::IF_NONE_MATCH, known.clone());
    }
    if let Some(token) = question.token {
        let mut value = SecretWriter::with_capacity(token.len() + 7);
        value.push(b"Bearer ");
        value.push(token.expose());
        let mut value = HeaderValue::from_bytes(value.expose())
            .map_err(|_| Error::Usage("SIDEKEY_TOKEN has characters no header can hold".into()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    if let Some(password) = question.keystore_password {
        let mut value = HeaderValue::from_bytes(password.expose())
            .map_err(|_| Error::Usage("a password that no header can hold".into()))?;
        value.set_sensitive(true);
        request.headers_mut().insert("sidekey-keystore-password", value);
    }
    let answered = async {
        let response = sender.send_request(request).await.map_err(|_| broken())?;
        let (status, headers) = (response.status(), response.headers());
        let etag = headers.get(header::ETAG).cloned();
        let retry_after = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let is_problem = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM);
        let is_of_sidecar = is_problem || headers.contains_key("sidekey-freshness");
        let body = collect(response.into_body()).await?;
        Ok(Answer { status, etag, retry_after, is_of_sidecar, body })
    };
    tokio::select! {
        biased;
        answer = answered => answer,
        () = async { let _ = connection.await; std::future::pending::<()>().await } => {
            Err(broken())
        }
    }
}

async fn collect(mut body: Incoming) -> Result<SecretBuf, Error> {
    let mut collected = SecretWriter::with_capacity(1024);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Error::Client("the answer was cut off".into()))?;
        if let Some(data) = frame.data_ref() {
            collected.push(data);
        }
        if collected.len() > MAX_ANSWER {
            return Err(Error::Client("the answer is too large".into()));
        }
    }
    Ok(collected.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stays_on_this_host() {
        for good in ["http://127.0.0.1:7433", "127.0.0.2:1", "http://[::1]:7433/", "@s"] {
            assert!(Address::parse_local(good).is_ok(), "{good}");
        }
        for bad in ["http://192.0.2.2:7433", "vault:8200", "localhost:7433", "0.0.0.0:7433"] {
            assert!(Address::parse_local(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_of_a_sidecar() {
        for good in ["http://127.0.0.1:7433", "127.0.0.1:1", "http://[::1]:7433/", "unix:@s", "@s"]
        {
            assert!(Address::parse(good).is_ok(), "{good}");
        }
        for bad in
            ["http://127.0.0.1", "https://x:1/path", "unix:@", "", "unix:/run/s", "http://a:b@x:1"]
        {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
