//! The issuer: its key, its chain, and what it signs.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams,
    CertificateSigningRequestParams, DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PublicKeyData, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};

use super::{new_serial, pem, serial_bytes};
use crate::dev::clock::Moment;
use crate::dev::reply::Failure;

/// A certificate is good from a little before, for clocks that are behind.
const BACKDATED: Duration = Duration::from_secs(30);

/// A moment as rcgen takes it, in whole seconds, which is all that a certificate holds. Its type
/// is one of a crate that we do not have by name.
macro_rules! date {
    ($moment:expr) => {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs($moment.as_secs())
    };
}

pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate first, PEM.
    chain: Vec<String>,
    ends: Moment,
}

/// A key that waits for its certificate.
pub(super) struct Pending {
    key: KeyPair,
    request: Vec<u8>,
}

impl Authority {
    pub(super) fn root(name: &str, now: Moment, ends: Moment) -> Result<Self, Failure> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = authority_params(name);
        lifetime(&mut params, &new_serial()?, now, ends);
        let certificate = params.self_signed(&key).map_err(failed)?;
        let chain = vec![pem("CERTIFICATE", certificate.der())];
        Ok(Self { issuer: Issuer::new(params, key), chain, ends })
    }

    pub(super) fn chain(&self) -> impl Iterator<Item = &str> {
        self.chain.iter().map(String::as_str)
    }

    pub(super) fn chain_pem(&self, most: usize) -> String {
        self.chain().take(most).collect()
    }

    /// Signs an intermediate's request.
    pub(super) fn sign_authority(
        &self,
        request: &str,
        serial: &str,
        now: Moment,
        ends: Moment,
    ) -> Result<Vec<u8>, Failure> {
        let mut request = parse_request(request)?;
        request.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        request.params.key_usages = SIGNS.to_vec();
        lifetime(&mut request.params, serial, now, ends);
        let signed = request.signed_by(&self.issuer).map_err(failed)?;
        Ok(signed.der().to_vec())
    }

    /// Signs a leaf; refuses one that would outlive its issuer.
    pub(super) fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
        serial: &str,
        now: Moment,
        ends: Moment,
    ) -> Result<String, Failure> {
        if ends > self.ends {
            let error = "cannot satisfy request, as TTL would result in notAfter that is beyond \
                         the expiration of the CA certificate";
            return Err(Failure::bad(error));
        }
        lifetime(&mut params, serial, now, ends);
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(key, &self.issuer).map_err(failed)?;
        Ok(pem("CERTIFICATE", signed.der()))
    }

    pub(super) fn revocation_list<'a>(
        &self,
        number: u64,
        now: Moment,
        revoked: impl Iterator<Item = (&'a str, Moment)>,
    ) -> Result<Vec<u8>, Failure> {
        let revoked_certs = revoked.map(|(serial, at)| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial_bytes(serial)),
            revocation_time: date!(at),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date!(now),
            next_update: date!((now + Duration::from_hours(72))),
            crl_number: SerialNumber::from_slice(&number.to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).map_err(failed)?;
        Ok(list.der().to_vec())
    }
}

impl Pending {
    pub(super) fn generate(name: &str) -> Result<Self, Failure> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        let request = params.serialize_request(&key).map_err(failed)?.der().to_vec();
        Ok(Self { key, request })
    }

    pub(super) fn request(&self) -> &[u8] {
        &self.request
    }

    /// `chain` starts with the certificate for this key.
    pub(super) fn with_chain(self, chain: &str) -> Result<Authority, Failure> {
        let unreadable = |_| Failure::bad("certificate: not PEM");
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(unreadable)?;
        let own = chain.first().ok_or_else(|| Failure::bad("no certificate"))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(own)
            .map_err(|_| Failure::bad("certificate: not DER"))?;
        let ends = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
        let issuer = Issuer::from_ca_cert_der(own, self.key).map_err(failed)?;
        let chain = chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
        Ok(Authority { issuer, chain, ends: Duration::from_secs(ends) })
    }
}

pub(super) fn parse_request(request: &str) -> Result<CertificateSigningRequestParams, Failure> {
    let unreadable = || Failure::bad("certificate request could not be parsed");
    let der = CertificateSigningRequestDer::from_pem_slice(request.as_bytes());
    let der = der.map_err(|_| unreadable())?;
    CertificateSigningRequestParams::from_der(&der).map_err(|_| unreadable())
}

const SIGNS: [KeyUsagePurpose; 2] = [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = SIGNS.to_vec();
    params
}

pub(super) fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn lifetime(params: &mut CertificateParams, serial: &str, now: Moment, ends: Moment) {
    params.serial_number = Some(SerialNumber::from_slice(&serial_bytes(serial)));
    params.not_before = date!(now.saturating_sub(BACKDATED));
    params.not_after = date!(ends);
}

pub(super) fn failed(_: rcgen::Error) -> Failure {
    Failure::internal("the certificate cannot be made")
}
