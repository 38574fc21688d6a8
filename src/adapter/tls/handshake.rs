//! From an accepted connection to one with TLS.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::server::Acceptor;
use rustls::{CertificateError, Error};
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::Station;
use super::clients::Identity;
use super::proxy::{self, Ends, Said};
use crate::server::Stream;

/// A connection with TLS.
pub(super) struct Secured {
    pub(super) tls: TlsStream<Stream>,
    pub(super) ends: Ends,
    pub(super) identity: Arc<Identity>,
}

/// How a handshake ended that came to nothing.
pub(super) struct Failed {
    /// The word for metrics.
    pub(super) outcome: &'static str,
    /// Without anything that the client sent.
    pub(super) why: String,
}

impl Failed {
    fn because(outcome: &'static str, why: impl ToString) -> Self {
        Self { outcome, why: why.to_string() }
    }
}

/// PROXY header, where there has to be one, and TLS handshake, both in the time that they may
/// take. The settings are those in force when the client's first message is there.
///
/// Cancel safety: the connection is closed.
pub(super) async fn shake(
    station: &Station,
    stream: Stream,
    ends: Ends,
) -> Result<Secured, Failed> {
    let patience = station.spec.limits.handshake_timeout;
    let shaken = timeout(patience, shake_patiently(station, stream, ends)).await;
    shaken.unwrap_or_else(|_| Err(Failed::because("timeout", "not within the time for it")))
}

async fn shake_patiently(
    station: &Station,
    mut stream: Stream,
    mut ends: Ends,
) -> Result<Secured, Failed> {
    if is_balancer(station, ends.client.ip()) {
        match proxy::receive(&mut stream).await {
            Ok(Said::Forwarded(said)) => ends = said,
            Ok(Said::Itself) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Failed::because("closed", "closed before it began"));
            }
            Err(error) => return Err(Failed::because("proxy_header", error.kind())),
        }
    }
    let started = LazyConfigAcceptor::new(Acceptor::default(), stream).await;
    let started = started.map_err(|error| failed(station, &error))?;
    let accepted = started.into_stream(station.settings()).await;
    let tls = accepted.map_err(|error| failed(station, &error))?;
    let shown = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let identity = shown.map(Identity::of).unwrap_or_default();
    Ok(Secured { tls, ends, identity: Arc::new(identity) })
}

fn is_balancer(station: &Station, peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    station.spec.accept_proxy_from.iter().any(|network| network.contains(&peer))
}

fn failed(station: &Station, error: &io::Error) -> Failed {
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<Error>()) else {
        let outcome = match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => "closed",
            _ => "failed",
        };
        return Failed::because(outcome, error.kind());
    };
    let outcome = match error {
        Error::General(_) if station.shelf.held().is_none() => "no_certificate",
        // The alert is the same for a client that has to wait for our list of revoked ones.
        Error::General(_) => "not_ready",
        Error::NoCertificatesPresented => "client_certificate_missing",
        Error::InvalidCertificate(error) => client_certificate(error),
        Error::PeerIncompatible(_) => "incompatible",
        Error::AlertReceived(_) => "refused_by_client",
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => "not_tls",
        _ => "failed",
    };
    Failed::because(outcome, outcome_text(error))
}

fn client_certificate(error: &CertificateError) -> &'static str {
    use CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } => "client_certificate_expired",
        E::Revoked => "client_certificate_revoked",
        E::UnknownIssuer => "client_certificate_unknown_issuer",
        E::UnknownRevocationStatus
        | E::ExpiredRevocationList
        | E::ExpiredRevocationListContext { .. } => "client_certificate_revocation_unknown",
        _ => "client_certificate_refused",
    }
}

/// In few words: some of the library's hold what the client sent.
fn outcome_text(error: &Error) -> &'static str {
    match error {
        Error::General(_) => "nothing to show, or to judge the client by",
        Error::NoCertificatesPresented => "the client showed no certificate",
        Error::InvalidCertificate(_) => "the client's certificate was not found good",
        Error::PeerIncompatible(_) => "no version or cipher suite in common",
        Error::AlertReceived(_) => "the client ended it",
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => "not TLS",
        _ => "failed",
    }
}
