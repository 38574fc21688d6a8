//! What all contenders share: a Vault, certificates of its PKI engine, and a folder.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use serde_json::json;
use tempfile::TempDir;

use super::load::{Address, Load, NAME, Target};
use super::process::{Process, free_port, write_private};
use super::support::vault::{Dev, TestVault as _};

/// What the destination of ambassadors asks for.
pub(crate) const AUTHORIZATION: &str = "Bearer a-token-that-the-destination-asks-for";

/// Who the database knows.
pub(crate) const USER: &str = "bench";
pub(crate) const PASSWORD: &str = "a-password-that-the-database-asks-for";

pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) vault: Dev,
    pub(crate) load: Load,
}

impl Stage {
    pub(crate) fn set_up() -> Self {
        let vault = Dev::start();
        vault.pki(json!({ "common_name": "root", "ttl": "48h", "key_type": "ec" }));
        let role = json!({ "allow_any_name": true, "key_type": "ec", "max_ttl": "24h" });
        vault.set_up("POST", "pki/roles/web", role);
        let token = AUTHORIZATION.strip_prefix("Bearer ");
        let api = json!({ "token": token, "username": USER, "password": PASSWORD });
        vault.put("api", api);
        let stage = Self { folder: tempfile::tempdir().unwrap(), vault, load: Load::new() };
        stage.issue();
        stage
    }

    /// The certificate that is shown by all but sidekey, which has its own of the same kind.
    fn issue(&self) {
        let names = json!({ "common_name": NAME, "ttl": "24h" });
        let answer = self.vault.set_up("POST", "pki/issue/web", names);
        let text = |key: &str| format!("{}\n", answer["data"][key].as_str().unwrap().trim());
        self.file("certificate.pem", &text("certificate"));
        self.file("key.pem", &text("private_key"));
        self.file("authority.pem", &text("issuing_ca"));
        self.file("both.pem", &(text("private_key") + &text("certificate")));
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        write_private(&self.path(name), content)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The plain application: hyper alone.
    pub(crate) fn application(&self) -> (Process, SocketAddr) {
        let at = free_port();
        let unix = format!("sidekey-bench-{}-{}", std::process::id(), at.port());
        let process = own(&["application", &at.to_string(), &unix]);
        self.load.wait_for(&Target::get(Address::Tcp(at), "/", None));
        (process, at)
    }

    /// The server with TLS.
    pub(crate) fn destination(&self) -> (Process, SocketAddr) {
        let at = free_port();
        let folder = self.folder.path().to_str().unwrap();
        let process = own(&["destination", &at.to_string(), folder]);
        self.load.wait_for(&with_token(Address::Tls(at, client())));
        (process, at)
    }
}

/// A request that brings what the destination asks for.
pub(crate) fn with_token(address: Address) -> Target {
    Target::get(address, "/", AUTHORIZATION.strip_prefix("Bearer "))
}

fn own(args: &[&str]) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    Process::start(command.args(args).stderr(Stdio::null()))
}

/// The cipher and the key exchange that all have in common, and no other.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![kx_group::X25519];
    Arc::new(provider)
}

/// TLS 1.3, nothing resumed, and nothing verified: it is not the client that is measured.
pub(crate) fn client() -> Arc<ClientConfig> {
    let provider = provider();
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
