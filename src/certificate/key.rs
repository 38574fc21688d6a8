//! A private key made in the sidecar. Only its public part and a signing request leave it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _, SanType};
use zeroize::Zeroize as _;

use crate::config::{CertificateSpec, KeyType};
use crate::memory::{SecretBuf, SecretWriter};

/// A private key, and the signing request that was made with it.
///
/// Its making leaves traces in buffers and on the stack of the libraries that do it, so it
/// happens on the fetch thread alone, whose heap and stack are secret memory.
pub struct PrivateKey {
    pem: SecretBuf,
    request_pem: String,
    public_key: Vec<u8>,
}

/// A key or a signing request that could not be made: no randomness, or a name that does not
/// go into a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot make a key and a signing request")]
pub struct Unmade;

impl PrivateKey {
    /// A fresh key, with a request for what `spec` asks for.
    ///
    /// # Errors
    /// [`Unmade`].
    pub fn generate(key_type: KeyType, spec: &CertificateSpec) -> Result<Self, Unmade> {
        let algorithm = match key_type {
            KeyType::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyType::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyType::Ed25519 => &rcgen::PKCS_ED25519,
        };
        let pair = KeyPair::generate_for(algorithm).map_err(|_| Unmade)?;
        let request = params(spec)?.serialize_request(&pair).map_err(|_| Unmade)?;
        let mut request_pem = SecretWriter::with_capacity(2048);
        write_pem("CERTIFICATE REQUEST", request.der(), &mut request_pem);
        Ok(Self {
            pem: private_pem(key_type, pair.serialized_der()),
            request_pem: String::from_utf8_lossy(request_pem.expose()).into_owned(),
            public_key: pair.subject_public_key_info(),
        })
    }

    /// PKCS #8, PEM.
    pub fn pem(&self) -> &SecretBuf {
        &self.pem
    }

    /// The signing request, PEM. Not a secret.
    pub fn request_pem(&self) -> &str {
        &self.request_pem
    }

    /// `SubjectPublicKeyInfo`, DER. Not a secret.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

fn params(spec: &CertificateSpec) -> Result<CertificateParams, Unmade> {
    let text = |text: &str| Ia5String::try_from(text).map_err(|_| Unmade);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, spec.common_name.as_str());
    for name in spec.host_names() {
        params.subject_alt_names.push(SanType::DnsName(text(name)?));
    }
    params.subject_alt_names.extend(spec.ip_sans.iter().copied().map(SanType::IpAddress));
    for uri in &spec.uri_sans {
        params.subject_alt_names.push(SanType::URI(text(uri)?));
    }
    Ok(params)
}

pub(super) fn private_pem(key_type: KeyType, pkcs8: &[u8]) -> SecretBuf {
    const LABEL: &str = "PRIVATE KEY";
    let mut pem = SecretWriter::with_capacity(pkcs8.len() * 2 + 64);
    match (key_type, ed25519_seed(pkcs8)) {
        (KeyType::Ed25519, Some(seed)) => {
            let mut plain = SecretWriter::with_capacity(48);
            plain.push(&ED25519_VERSION_1);
            plain.push(seed);
            write_pem(LABEL, plain.expose(), &mut pem);
        }
        _ => write_pem(LABEL, pkcs8, &mut pem),
    }
    pem.finish()
}

/// What stands before the seed in PKCS #8 version 1 and 2 (RFC 8410). Version 2, which ring
/// writes, has the public key too, and OpenSSL does not read that.
const ED25519_VERSION_1: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const ED25519_VERSION_2: [u8; 16] =
    [0x30, 0x51, 2, 1, 1, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

fn ed25519_seed(pkcs8: &[u8]) -> Option<&[u8]> {
    pkcs8.strip_prefix(&ED25519_VERSION_2)?.get(..32)
}

/// Lines of 64 characters, encoded one by one: no further copy of `der` is made.
fn write_pem(label: &str, der: &[u8], pem: &mut SecretWriter) {
    pem.push(format!("-----BEGIN {label}-----\n").as_bytes());
    let mut line = [0; 64];
    for part in der.chunks(48) {
        if let Ok(length) = STANDARD.encode_slice(part, &mut line) {
            pem.push(line.get(..length).unwrap_or_default());
            pem.push(b"\n");
        }
    }
    line.zeroize();
    pem.push(format!("-----END {label}-----\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::PrivateKeyDer;
    use rustls_pki_types::pem::PemObject as _;

    use super::super::tests::spec;
    use super::*;

    #[test]
    fn each_type_makes_a_key_that_belongs_to_its_request() {
        for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519] {
            let key = PrivateKey::generate(key_type, &spec()).unwrap();
            let der = PrivateKeyDer::from_pem_slice(key.pem().expose()).unwrap();
            let read = rustls::crypto::ring::sign::any_supported_type(&der).unwrap();
            assert_eq!(&*read.public_key().unwrap(), key.public_key(), "{key_type:?}");
            assert!(key.request_pem().starts_with("-----BEGIN CERTIFICATE REQUEST-----\n"));
        }
    }

    #[test]
    fn openssl_reads_each_type() {
        for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519] {
            let key = PrivateKey::generate(key_type, &spec()).unwrap();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), key.pem().expose()).unwrap();
            let mut openssl = std::process::Command::new("openssl");
            let read = openssl.args(["pkey", "-noout", "-check", "-in"]).arg(file.path()).output();
            let read = read.expect("openssl, as .ci/run names it");
            assert!(read.status.success(), "{key_type:?}: {read:?}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let key = PrivateKey::generate(KeyType::P256, &spec()).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey");
    }
}
