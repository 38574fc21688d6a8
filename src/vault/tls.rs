//! TLS towards Vault: trust anchors, client certificate, server name.

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
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|e| credential(&format!("{}: {e}", key.display())))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| credential(&format!("{}: {e}", certificate.display())))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn trust_anchors(config: &VaultConfig) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &config.ca_cert {
        add(&mut roots, file, certificates(file)?)?;
    } else if let Some(folder) = &config.ca_path {
        let entries = std::fs::read_dir(folder)
            .map_err(|e| credential(&format!("{}: {e}", folder.display())))?;
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.is_file()) {
            // A folder of authorities may hold other files too.
            if let Ok(found) = certificates(file) {
                add(&mut roots, file, found)?;
            }
        }
        if roots.is_empty() {
            return Err(credential(&format!("{}: no certificate in it", folder.display())));
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
    file: &Path,
    found: Vec<CertificateDer<'static>>,
) -> Result<(), Failure> {
    found.into_iter().try_for_each(|certificate| {
        roots.add(certificate).map_err(|e| credential(&format!("{}: {e}", file.display())))
    })
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let broken = |e| credential(&format!("{}: {e}", file.display()));
    let found: Vec<_> = CertificateDer::pem_file_iter(file)
        .map_err(broken)?
        .collect::<Result<_, _>>()
        .map_err(broken)?;
    if found.is_empty() {
        return Err(credential(&format!("{}: no certificate in it", file.display())));
    }
    Ok(found)
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
