//! One look at what an issuer publishes.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::{Host, Position};

use super::super::jwt::{KeySet, NoKeySet};
use crate::adapter::ambassador::connect::{TrustError, client_config};
use crate::config::{JwtSpec, KeyAddress, KeySource};

/// Certificates of many keys fit in it.
const LARGEST_ANSWER: usize = 512 * 1024;

/// Why no keys came. Holds nothing of what came instead.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no connection with the issuer")]
    Connect(#[source] io::Error),
    #[error("no TLS connection with the issuer")]
    Tls(#[source] io::Error),
    #[error("no whole answer within {0:?}")]
    Timeout(Duration),
    #[error("the issuer broke off, or answered nonsense")]
    Broken,
    #[error("the issuer answered with status {0}; a redirect is not followed")]
    Status(StatusCode),
    #[error("the answer is longer than {LARGEST_ANSWER} bytes")]
    TooLarge,
    #[error(transparent)]
    NoKeySet(#[from] NoKeySet),
    #[error("the issuer's metadata cannot be used: {0}")]
    Metadata(&'static str),
}

/// Where an issuer publishes, and whom to trust about it.
pub(super) struct Issuer {
    name: Box<str>,
    source: KeySource,
    tls: Option<Arc<ClientConfig>>,
}

/// `OpenID` Connect Discovery 1.0, 3.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl Issuer {
    pub(super) fn new(spec: &JwtSpec) -> Result<Self, TrustError> {
        let with_tls = spec.keys.address().url().scheme() == "https";
        let config = with_tls.then(|| {
            let mut config = client_config(spec.ca_cert.as_deref())?;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Ok(Arc::new(config))
        });
        Ok(Self { name: spec.issuer.clone(), source: spec.keys.clone(), tls: config.transpose()? })
    }

    /// The keys, as they are published now.
    pub(super) async fn keys(&self, patience: Duration) -> Result<KeySet, FetchError> {
        let found;
        let address = match &self.source {
            KeySource::Keys(address) => address,
            KeySource::Metadata(address) => {
                found = self.place(&self.get(address, patience).await?, address)?;
                &found
            }
        };
        Ok(KeySet::parse(&self.get(address, patience).await?)?)
    }

    /// Where the metadata says that the keys are.
    fn place(&self, body: &[u8], metadata: &KeyAddress) -> Result<KeyAddress, FetchError> {
        let broken = |_| FetchError::Metadata("no issuer and jwks_uri in it");
        let read: Metadata = serde_json::from_slice(body).map_err(broken)?;
        if *read.issuer != *self.name {
            return Err(FetchError::Metadata("it is of another issuer"));
        }
        let place = KeyAddress::parse(&read.jwks_uri)
            .ok_or(FetchError::Metadata("its jwks_uri is no https:// URL"))?;
        if place.url().scheme() != metadata.url().scheme() {
            return Err(FetchError::Metadata("its jwks_uri has another scheme"));
        }
        // The sandbox knows no other.
        if place.port() != metadata.port() {
            return Err(FetchError::Metadata("its jwks_uri has another port: set jwks_url"));
        }
        Ok(place)
    }

    async fn get(&self, address: &KeyAddress, patience: Duration) -> Result<Bytes, FetchError> {
        let answer = async {
            let host = match address.url().host() {
                Some(Host::Domain(name)) => name.to_owned(),
                Some(Host::Ipv4(ip)) => ip.to_string(),
                Some(Host::Ipv6(ip)) => ip.to_string(),
                None => return Err(FetchError::Broken),
            };
            let connected = TcpStream::connect((&*host, address.port())).await;
            let stream = connected.map_err(FetchError::Connect)?;
            match &self.tls {
                None => exchange(stream, address).await,
                Some(config) => {
                    let name = ServerName::try_from(host).map_err(|_| FetchError::Broken)?;
                    let connector = TlsConnector::from(Arc::clone(config));
                    let stream = connector.connect(name, stream).await.map_err(FetchError::Tls)?;
                    exchange(stream, address).await
                }
            }
        };
        timeout(patience, answer).await.unwrap_or(Err(FetchError::Timeout(patience)))
    }
}

async fn exchange<S>(stream: S, address: &KeyAddress) -> Result<Bytes, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let broken = |_| FetchError::Broken;
    let url = address.url();
    let request = Request::get(&url[Position::BeforePath..Position::AfterQuery])
        .header(header::HOST, &url[Position::BeforeHost..Position::AfterPort])
        .header(header::USER_AGENT, concat!("sidekey/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Broken)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => FetchError::TooLarge,
            None => FetchError::Broken,
        })?;
        Ok(body.to_bytes())
    };
    let mut answer = pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // What it read before it ended is still to be had.
        _ = connection => answer.await,
    }
}
