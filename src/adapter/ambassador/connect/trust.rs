//! Whom to believe that it is the destination.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::crypto;

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

/// Settings that judge by `ca_cert`, else by the system's trust anchors, and show nothing in return.
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
    let builder = ClientConfig::builder_with_provider(crypto::provider())
        .with_safe_default_protocol_versions()
        .map_err(TrustError::Settings)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
