//! Whether what Vault issued is what was asked for. Whoever gets it relies on that.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::config::CertificateSpec;

/// Why a certificate is not served. Holds what the configuration asked for, nothing that was
/// received.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A part is no certificate, or no key.
    #[error("{0} cannot be read")]
    Unreadable(&'static str),
    /// Its end has passed, by the clock of this host.
    #[error("it expired already: is the clock of this host right?")]
    Expired,
    /// It is for another key.
    #[error("it does not belong to the private key")]
    WrongKey,
    /// It lacks a name that was asked for.
    #[error("the role left out a name that was asked for: {0}")]
    NameMissing(Box<str>),
    /// No chain leads from it to the authority that Vault named.
    #[error("its chain does not hold: {0}")]
    BrokenChain(&'static str),
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspected {
    /// Its end.
    pub ends_at: SystemTime,
    /// Life left.
    pub left: Duration,
    /// False when a signature is of an algorithm that we do not know.
    pub chain_checked: bool,
}

/// Looks at `leaf` with the certificates above it, the issuing one first. `public_key` is the
/// `SubjectPublicKeyInfo` of the private key, unless that is of a type that we do not know.
///
/// # Errors
/// [`Unfit`].
pub fn inspect(
    spec: &CertificateSpec,
    leaf: &CertificateDer<'_>,
    chain: &[CertificateDer<'_>],
    public_key: Option<&[u8]>,
    now: SystemTime,
) -> Result<Inspected, Unfit> {
    let (_, parsed) =
        X509Certificate::from_der(leaf).map_err(|_| Unfit::Unreadable("the certificate"))?;
    let after_epoch = |seconds: i64| {
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    };
    let ends_at = after_epoch(parsed.validity().not_after.timestamp());
    let begins_at = after_epoch(parsed.validity().not_before.timestamp());
    // By Vault's clock it is not before its own beginning, wherever ours is.
    let at = now.max(begins_at);
    let left = ends_at.duration_since(at).ok().filter(|left| !left.is_zero());
    let left = left.ok_or(Unfit::Expired)?;
    if public_key.is_some_and(|key| key != parsed.public_key().raw) {
        return Err(Unfit::WrongKey);
    }
    names(spec, &parsed)?;
    // A clock that is a little behind is no reason to refuse what others take.
    let chain_checked = verify(leaf, chain, at)?;
    Ok(Inspected { ends_at, left, chain_checked })
}

fn names(spec: &CertificateSpec, parsed: &X509Certificate<'_>) -> Result<(), Unfit> {
    let unreadable = |_| Unfit::Unreadable("its list of names");
    let names = parsed.subject_alternative_name().map_err(unreadable)?;
    let names: &[_] = names.as_ref().map_or(&[], |names| &names.value.general_names);
    let has = |wanted: &dyn Fn(&GeneralName<'_>) -> bool| names.iter().any(wanted);
    let has_dns = |name: &str| {
        has(&|found| matches!(found, GeneralName::DNSName(dns) if dns.eq_ignore_ascii_case(name)))
    };
    let missing = |name: &dyn std::fmt::Display| Err(Unfit::NameMissing(name.to_string().into()));
    let mut subjects = parsed.subject().iter_common_name();
    let is_subject = subjects.any(|name| name.as_str().is_ok_and(|it| it == spec.common_name));
    if !is_subject && !has_dns(&spec.common_name) {
        return missing(&spec.common_name);
    }
    if let Some(name) = spec.alt_names.iter().find(|name| !has_dns(name)) {
        return missing(name);
    }
    let has_ip = |ip: &IpAddr| {
        has(&|found| matches!(found, GeneralName::IPAddress(bytes) if is_ip(bytes, *ip)))
    };
    if let Some(ip) = spec.ip_sans.iter().find(|ip| !has_ip(ip)) {
        return missing(ip);
    }
    let has_uri =
        |uri: &str| has(&|found| matches!(found, GeneralName::URI(found) if *found == uri));
    match spec.uri_sans.iter().find(|uri| !has_uri(uri)) {
        Some(uri) => missing(uri),
        None => Ok(()),
    }
}

fn is_ip(bytes: &[u8], ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => bytes == ip.octets(),
        IpAddr::V6(ip) => bytes == ip.octets(),
    }
}

/// What the certificate is for is the role's affair.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// Whether `leaf` leads to the topmost of `chain`; `false` when that cannot be told.
fn verify(
    leaf: &CertificateDer<'_>,
    chain: &[CertificateDer<'_>],
    at: SystemTime,
) -> Result<bool, Unfit> {
    let top = chain.last().ok_or(Unfit::Unreadable("the issuing certificate"))?;
    let top = webpki::anchor_from_trusted_cert(top)
        .map_err(|_| Unfit::Unreadable("the issuing certificate"))?;
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let leaf = EndEntityCert::try_from(leaf).map_err(|error| broken(&error))?;
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    let time = UnixTime::since_unix_epoch(since);
    match leaf.verify_for_usage(algorithms, &[top], chain, time, AnyUsage, None, None) {
        Ok(_) => Ok(true),
        Err(
            webpki::Error::UnsupportedSignatureAlgorithmContext(_)
            | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_),
        ) => Ok(false),
        Err(error) => Err(broken(&error)),
    }
}

/// In words of our own: webpki's hold what the certificate says.
fn broken(error: &webpki::Error) -> Unfit {
    use webpki::Error as E;
    Unfit::BrokenChain(match error {
        E::CertExpired { .. } => "a certificate above it expired",
        E::CertNotValidYet { .. } => "a certificate above it is not valid yet",
        E::CaUsedAsEndEntity => "it is an authority's certificate",
        E::InvalidSignatureForPublicKey => "a signature is wrong",
        E::NameConstraintViolation => "an authority may not sign for such names",
        E::PathLenConstraintViolated => "it is longer than an authority permits",
        E::UnknownIssuer => "it leads to no certificate that Vault named",
        E::UnsupportedCriticalExtension => "it has a critical extension that is not known here",
        _ => "it is malformed",
    })
}
