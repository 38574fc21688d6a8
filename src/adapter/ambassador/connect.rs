//! From a name in the configuration to a connection with the destination: resolved here, and
//! with TLS judged as a whole: chain, name and dates.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::{Connected, Connection};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{AmbassadorProtocol, AmbassadorSpec, Destination};

/// A peer that is gone without a word is noticed after about a minute.
const KEEPALIVE: Duration = Duration::from_secs(15);
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
}

/// Trust anchors that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file that cannot be read as certificates.
    #[error("{}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate that is none of an authority.
    #[error("{}: not the certificate of an authority", .0.display())]
    NotAnAuthority(PathBuf),
    /// A file without a certificate, or a system without trust anchors.
    #[error("no certificate of an authority in {0}")]
    Nothing(String),
    /// The library refused the settings.
    #[error("TLS cannot be set up")]
    Settings(#[source] rustls::Error),
}

/// Opens connections to one destination.
#[derive(Clone)]
pub(super) struct Connector(Arc<Inner>);

struct Inner {
    destination: Destination,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    patience: Duration,
}

impl Connector {
    pub(super) fn new(spec: &AmbassadorSpec) -> Result<Self, TrustError> {
        let tls = spec.destination.tls.as_ref().map(|tls| {
            let mut config = client_config(tls.ca_cert.as_deref())?;
            if matches!(spec.protocol, AmbassadorProtocol::Http(_)) {
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
            }
            Ok((TlsConnector::from(Arc::new(config)), tls.name.clone()))
        });
        Ok(Self(Arc::new(Inner {
            destination: spec.destination.clone(),
            tls: tls.transpose()?,
            patience: spec.connect_timeout,
        })))
    }

    /// Whether connections are to be with TLS.
    pub(super) fn has_tls(&self) -> bool {
        self.0.tls.is_some()
    }

    /// A connection, with TLS from its first byte where TLS is asked for.
    ///
    /// Cancel safety: a connection half made is closed.
    pub(super) async fn connect(&self) -> Result<Outbound, ConnectError> {
        self.within(async {
            let stream = self.tcp().await?;
            self.secure(stream).await
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
                    let alive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
                    let _ = SockRef::from(&stream).set_tcp_keepalive(&alive);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(ConnectError::Connect(last))
    }

    /// `stream` with TLS, where TLS is asked for.
    pub(super) async fn secure(&self, stream: TcpStream) -> Result<Outbound, ConnectError> {
        match &self.0.tls {
            None => Ok(Outbound::Plain(stream)),
            Some((tls, name)) => {
                let secured = tls.connect(name.clone(), stream).await;
                Ok(Outbound::Tls(Box::new(secured.map_err(ConnectError::Tls)?)))
            }
        }
    }
}

/// TLS that trusts the authorities in a file, or those of the system.
pub(in crate::adapter) fn client_config(
    ca_cert: Option<&Path>,
) -> Result<ClientConfig, TrustError> {
    let mut roots = RootCertStore::empty();
    match ca_cert {
        Some(file) => {
            let broken = |source| TrustError::File { file: file.to_owned(), source };
            for certificate in CertificateDer::pem_file_iter(file).map_err(broken)? {
                let certificate = certificate.map_err(broken)?;
                let added = roots.add(certificate);
                added.map_err(|_| TrustError::NotAnAuthority(file.to_owned()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        let place = ca_cert.map_or("this system".into(), |file| file.display().to_string());
        return Err(TrustError::Nothing(place));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TrustError::Settings)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A connection with the destination.
pub(super) enum Outbound {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Outbound {
    /// The certificate that the destination showed.
    pub(super) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.get_ref().1.peer_certificates()?.first(),
        }
    }

    /// Whether nobody sits in between: with TLS, or on this host.
    pub(super) fn is_private(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.peer_addr().is_ok_and(|peer| is_loopback(peer.ip())),
            Self::Tls(_) => true,
        }
    }
}

impl Connection for Outbound {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

macro_rules! either {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Outbound::Plain($stream) => $call,
            Outbound::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Outbound {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Outbound {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    /// Both kinds do, and what is written is copied in user space where one does not.
    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_this_host_is_private_without_tls() {
        for here in ["127.0.0.1", "127.0.0.77", "::1", "::ffff:127.0.0.1"] {
            assert!(is_loopback(here.parse().unwrap()), "{here}");
        }
        for elsewhere in ["10.0.0.1", "0.0.0.0", "fe80::1", "::ffff:10.0.0.1"] {
            assert!(!is_loopback(elsewhere.parse().unwrap()), "{elsewhere}");
        }
    }
}
