//! TLS towards Vault: trust anchors, client certificate, server name.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::error::Failure;
use crate::config::VaultConfig;
use crate::crypto;

const CA_CERT: &str = "vault.ca_cert";
const CA_PATH: &str = "vault.ca_path";
const CLIENT_CERT: &str = "vault.client_cert";
const EMPTY: &str = "no certificate in it";

/// The client configuration that `config` asks for. Reads all the files anew.
pub(super) fn client_config(config: &VaultConfig) -> Result<ClientConfig, Failure> {
    let provider = crypto::provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| credential(&format!("TLS cannot be set up: {e}")))?;
    let is_https = config.address.scheme() == "https";
    let builder = if config.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else if let Some(name) = config.tls_server_name.as_ref().filter(|_| is_https) {
        let named = Named::new(name, trust_anchors(config)?, provider)?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(named))
    } else {
        builder.with_root_certificates(trust_anchors(config)?)
    };
    match (&config.client_cert, &config.client_key) {
        (Some(certificate), Some(key)) => {
            let (chain, key) = (certificates(CLIENT_CERT, certificate)?, private_key(key)?);
            let failed = |e| unusable(CLIENT_CERT, certificate, &e);
            builder.with_client_auth_cert(chain, key).map_err(failed)
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

/// The same, to see whether it can be had: what is wrong with one file hides no other.
pub(super) fn rehearse(config: &VaultConfig) -> Result<(), Failure> {
    let anchors = if config.skip_verify { None } else { trust_anchors(config).err() };
    let client = config.client_cert.as_ref().zip(config.client_key.as_ref());
    let certificate = client.and_then(|(file, _)| certificates(CLIENT_CERT, file).err());
    let key = client.and_then(|(_, file)| private_key(file).err());
    let wrong: Vec<_> =
        [anchors, certificate, key].into_iter().flatten().map(|it| it.to_string()).collect();
    if wrong.is_empty() {
        return client_config(config).map(drop);
    }
    Err(credential(&wrong.join("; ")))
}

fn trust_anchors(config: &VaultConfig) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &config.ca_cert {
        add(&mut roots, CA_CERT, file, certificates(CA_CERT, file)?)?;
    } else if let Some(folder) = &config.ca_path {
        let entries = std::fs::read_dir(folder).map_err(|e| unusable(CA_PATH, folder, &e))?;
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.is_file()) {
            // A folder of authorities may hold other files too.
            if let Ok(found) = certificates(CA_PATH, file) {
                add(&mut roots, CA_PATH, file, found)?;
            }
        }
        if roots.is_empty() {
            return Err(unusable(CA_PATH, folder, &EMPTY));
        }
    } else if config.address.scheme() == "https" {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            // As in the container image, where no certificate of any server could be judged.
            return Err(credential("no certificate authority here: set vault.ca_cert"));
        }
    }
    Ok(roots)
}

fn add(
    roots: &mut RootCertStore,
    key: &str,
    file: &Path,
    found: Vec<CertificateDer<'static>>,
) -> Result<(), Failure> {
    found
        .into_iter()
        .try_for_each(|certificate| roots.add(certificate).map_err(|e| unusable(key, file, &e)))
}

fn certificates(key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let broken = |e| unusable(key, file, &e);
    let found: Vec<_> = CertificateDer::pem_file_iter(file)
        .map_err(broken)?
        .collect::<Result<_, _>>()
        .map_err(broken)?;
    if found.is_empty() {
        return Err(unusable(key, file, &EMPTY));
    }
    Ok(found)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Failure> {
    PrivateKeyDer::from_pem_file(file).map_err(|e| unusable("vault.client_key", file, &e))
}

/// The file of a `key` of the configuration, which the environment may have named.
fn unusable(key: &str, file: &Path, why: &dyn fmt::Display) -> Failure {
    credential(&format!("{key}: {}: {why}", file.display()))
}

fn credential(message: &str) -> Failure {
    Failure::Credential(message.into())
}

/// `tls_server_name`: every certificate must be for that name, whatever the URL says; that of an
/// active node that a standby sends us to, too.
#[derive(Debug)]
struct Named {
    name: ServerName<'static>,
    inner: Arc<WebPkiServerVerifier>,
}

impl Named {
    fn new(
        name: &str,
        roots: RootCertStore,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Failure> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| credential("tls_server_name is not a host name"))?;
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|e| credential(&format!("TLS cannot be set up: {e}")))?;
        Ok(Self { name, inner })
    }
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// `skip_verify`: any certificate will do. The handshake's signatures are still checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
