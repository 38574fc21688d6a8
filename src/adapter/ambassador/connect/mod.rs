//! From a name in the configuration to a connection with the destination: resolved here, and
//! with TLS judged as a whole: chain, name and dates. Where the destination is to know us too,
//! it is shown the certificate of that moment ([`identity`]), or there is no connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use crate::adapter::silence::notice_silence;
use crate::cache::ReadError;
use crate::config::{AmbassadorProtocol, AmbassadorSpec, Destination};
use crate::memory::scrubbed;

mod identity;
mod outbound;
mod trust;
mod unreached;

pub(super) use identity::Identity;
pub(super) use outbound::Outbound;
#[allow(unreachable_pub, reason = "in an error that is public")]
pub use trust::TrustError;
pub(in crate::adapter) use trust::client_config;
pub(super) use unreached::Unreached;

const LEAST_FOR_AN_ADDRESS: Duration = Duration::from_millis(250);

/// Why the destination was not reached. Holds no address and no name, which the asker need not
/// know; the log has both.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("its name cannot be resolved")]
    Resolve(#[source] io::Error),
    #[error("it cannot be connected to")]
    Connect(#[source] io::Error),
    #[error("no TLS connection with it")]
    Tls(#[source] io::Error),
    #[error("it does not speak TLS")]
    NoTls,
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error("there is no client certificate to show it")]
    NoCertificate(#[source] ReadError),
    #[error("the client certificate cannot be shown to it")]
    CertificateUnusable,
    #[error("it does not accept the client certificate")]
    CertificateRefused(#[source] io::Error),
}

impl ConnectError {
    fn handshake(error: io::Error) -> Self {
        if refuses_certificate(&error) { Self::CertificateRefused(error) } else { Self::Tls(error) }
    }
}

/// Whether `error` is a server's word about the certificate that it was shown, or was not. With
/// TLS 1.3 it comes after the handshake, with the first read.
pub(in crate::adapter) fn refuses_certificate(error: &io::Error) -> bool {
    use AlertDescription as Alert;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(
        inner,
        Some(rustls::Error::AlertReceived(
            Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::CertificateRequired
        ))
    )
}

/// Opens connections to one destination.
#[derive(Clone)]
pub(super) struct Connector(Arc<Inner>);

struct Inner {
    destination: Destination,
    tls: Option<Tls>,
    patience: Duration,
    keepalive: Duration,
}

struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Connector {
    pub(super) fn new(spec: &AmbassadorSpec) -> Result<Self, TrustError> {
        let tls = spec.destination.tls.as_ref().map(|tls| {
            let mut config = trust::client_config(tls.ca_cert.as_deref())?;
            if matches!(spec.protocol, AmbassadorProtocol::Http(_)) {
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
            }
            Ok(Tls { config: Arc::new(config), name: tls.name.clone() })
        });
        Ok(Self(Arc::new(Inner {
            destination: spec.destination.clone(),
            tls: tls.transpose()?,
            patience: spec.connect_timeout,
            keepalive: spec.keepalive,
        })))
    }

    /// Whether connections are to be with TLS.
    pub(super) fn has_tls(&self) -> bool {
        self.0.tls.is_some()
    }

    /// A connection, with TLS from its first byte where TLS is asked for.
    ///
    /// Cancel safety: a connection half made is closed.
    pub(super) async fn connect(
        &self,
        identity: Option<Identity>,
    ) -> Result<Outbound, ConnectError> {
        self.within(async {
            let stream = self.tcp().await?;
            self.secure(stream, identity).await
        })
        .await
    }

    /// Runs `work` within the time that a connection may take.
    pub(super) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        let patience = self.0.patience;
        timeout(patience, work).await.unwrap_or(Err(ConnectError::Timeout(patience)))
    }

    /// A connection without TLS. Every address of the name gets its share of the time.
    pub(super) async fn tcp(&self) -> Result<TcpStream, ConnectError> {
        let deadline = Instant::now() + self.0.patience;
        let Destination { host, port, .. } = &self.0.destination;
        let found = lookup_host((&**host, *port)).await.map_err(ConnectError::Resolve)?;
        let addresses: Vec<SocketAddr> = found.collect();
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for (tried, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let others = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let share = (left / others).max(LEAST_FOR_AN_ADDRESS);
            match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true);
                    notice_silence(&stream, self.0.keepalive);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(ConnectError::Connect(last))
    }

    /// `stream` with TLS, where TLS is asked for. It never goes without an identity that there is.
    pub(super) async fn secure(
        &self,
        stream: TcpStream,
        identity: Option<Identity>,
    ) -> Result<Outbound, ConnectError> {
        let Some(tls) = &self.0.tls else { return Ok(Outbound::Plain(stream)) };
        let connect = |config| TlsConnector::from(config).connect(tls.name.clone(), stream);
        let Some(shown) = identity.map(Identity::into_shown) else {
            let secured = connect(Arc::clone(&tls.config)).await;
            return Ok(Outbound::Tls(Box::new(secured.map_err(ConnectError::handshake)?)));
        };
        // It signs with the key.
        let secured = scrubbed(connect(Arc::new(shown.settings(&tls.config)))).await;
        let secured = secured.map_err(ConnectError::handshake)?;
        if shown.is_unfit() {
            return Err(ConnectError::CertificateUnusable);
        }
        Ok(Outbound::Tls(Box::new(secured)))
    }
}
