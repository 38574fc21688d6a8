//! A judge of certificates whose list of revoked ones has an end.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use tokio::time::Instant;

use crate::lease::now;

/// By the clock that goes on while the host is suspended: finds no certificate good once its list was not read again in time: who was revoked since
/// then is not known. What the list says of its own next issue is left aside: it was had from
/// its issuer, over a connection that proves it, as the newest one.
#[derive(Debug)]
pub(super) struct Timely {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) good_until: Option<Instant>,
}

impl ClientCertVerifier for Timely {
    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        time: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.good_until.is_some_and(|end| now() >= end) {
            return Err(CertificateError::UnknownRevocationStatus.into());
        }
        self.verifier.verify_client_cert(end_entity, intermediates, time)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
