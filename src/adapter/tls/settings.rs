//! How TLS is spoken with the outside.

use std::sync::Arc;

use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use crate::config::{TlsMode, TlsSpec, TlsVersion};
use crate::crypto;

pub(super) const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

const FROM_TLS12: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
const FROM_TLS13: [&SupportedProtocolVersion; 1] = [&TLS13];

/// Settings with the certificate of `shelf`; `clients` judges theirs.
///
/// No session is resumed: each connection shows the certificate of now, has that of its client
/// judged by the list of now, and there is no ticket key that would open recorded traffic.
///
/// # Errors
/// Settings that the library refuses.
pub(super) fn server_config(
    spec: &TlsSpec,
    shelf: Arc<dyn ResolvesServerCert>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let versions: &[_] = match spec.min_version {
        TlsVersion::Tls12 => &FROM_TLS12,
        TlsVersion::Tls13 => &FROM_TLS13,
    };
    let builder =
        ServerConfig::builder_with_provider(crypto::provider()).with_protocol_versions(versions)?;
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(shelf);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = match &spec.mode {
        TlsMode::Http(_) => vec![H2.to_vec(), HTTP1.to_vec()],
        TlsMode::Tcp { alpn, .. } => alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
    };
    Ok(Arc::new(config))
}
