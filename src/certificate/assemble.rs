//! From what Vault issued to the one buffer that is served.

use std::borrow::Cow;
use std::ops::Range;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::{Form, Unfit};
use crate::lease::Lease;
use crate::memory::{SecretBuf, SecretWriter};
use crate::secret::{EtagKey, Secret};

/// Vault's answer to `issue` and `sign`; the latter has no private key.
#[derive(Deserialize)]
pub struct Issued<'a> {
    #[serde(borrow)]
    certificate: Cow<'a, str>,
    #[serde(borrow)]
    issuing_ca: Cow<'a, str>,
    #[serde(borrow, default)]
    ca_chain: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default)]
    private_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    serial_number: Cow<'a, str>,
    expiration: u64,
}

impl Issued<'_> {
    /// As Vault writes it; it goes into logs and requests.
    ///
    /// # Errors
    /// [`Unfit`] for what is no serial number.
    pub fn serial_number(&self) -> Result<&str, Unfit> {
        let allowed = |c: u8| c.is_ascii_hexdigit() || matches!(c, b':' | b'-');
        let serial = self.serial_number.trim();
        let fits = (1..=128).contains(&serial.len()) && serial.bytes().all(allowed);
        fits.then_some(serial).ok_or(Unfit::Unreadable("the serial number"))
    }

    /// The private key that Vault made, PEM.
    ///
    /// # Errors
    /// [`Unfit`] when there is none.
    pub fn private_key(&self) -> Result<SecretBuf, Unfit> {
        let pem = self.private_key.as_deref().map(str::trim).filter(|pem| !pem.is_empty());
        let pem = pem.ok_or(Unfit::Unreadable("the private key"))?;
        let mut copy = SecretWriter::with_capacity(pem.len() + 1);
        push_line(pem, &mut copy);
        Ok(copy.finish())
    }

    /// The certificate.
    ///
    /// # Errors
    /// [`Unfit`] when it is none.
    pub fn leaf(&self) -> Result<CertificateDer<'static>, Unfit> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes())
            .map_err(|_| Unfit::Unreadable("the certificate"))
    }

    /// The certificates above it, the issuing one first; at least one.
    ///
    /// # Errors
    /// [`Unfit`] when one of them is none.
    pub fn chain(&self) -> Result<Vec<CertificateDer<'static>>, Unfit> {
        let unreadable = |_| Unfit::Unreadable("a certificate of the chain");
        let parse = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(unreadable);
        self.chain_pem().map(parse).collect()
    }

    fn chain_pem(&self) -> impl Iterator<Item = &str> {
        let listed = self.ca_chain.as_deref().unwrap_or_default();
        // A role may leave out what others trust anyway.
        let alone = listed.is_empty().then_some(&self.issuing_ca);
        listed.iter().chain(alone).map(|pem| pem.trim())
    }
}

/// The public key (`SubjectPublicKeyInfo`) of a private key, when its type is known here.
///
/// # Errors
/// [`Unfit`] for what is no private key.
pub fn public_key(private_key: &SecretBuf) -> Result<Option<Vec<u8>>, Unfit> {
    let key = PrivateKeyDer::from_pem_slice(private_key.expose())
        .map_err(|_| Unfit::Unreadable("the private key"))?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key).ok();
    Ok(key.and_then(|key| Some(key.public_key()?.to_vec())))
}

/// The JSON form.
#[derive(Serialize)]
struct Document<'a> {
    certificate: &'a str,
    private_key: &'a str,
    issuing_ca: &'a str,
    ca_chain: Vec<&'a str>,
    serial_number: &'a str,
    expiration: u64,
}

/// Writes everything once: the JSON form, then key, certificate and chain side by side, so that
/// every other form is a range of them.
///
/// # Errors
/// [`Unfit`] for what cannot be read.
pub fn assemble(
    issued: &Issued<'_>,
    private_key: &SecretBuf,
    lease: Lease,
    etags: &EtagKey,
) -> Result<Secret, Unfit> {
    let key = std::str::from_utf8(private_key.expose())
        .map_err(|_| Unfit::Unreadable("the private key"))?
        .trim();
    let document = Document {
        certificate: issued.certificate.trim(),
        private_key: key,
        issuing_ca: issued.issuing_ca.trim(),
        ca_chain: issued.chain_pem().collect(),
        serial_number: issued.serial_number()?,
        expiration: issued.expiration,
    };
    let pem = key.len() + document.certificate.len() + 2;
    let chain: usize = issued.chain_pem().map(|pem| pem.len() + 1).sum();
    let mut buffer = SecretWriter::with_capacity((pem + chain) * 5 / 2 + 512);
    // A SecretWriter takes everything.
    let _ = serde_json::to_writer(&mut buffer, &document);
    let json = 0..buffer.len();
    let parts = Parts::write(&document, &issued.chain()?, &mut buffer);
    let forms = Form::ALL.map(|form| (form.name(), parts.range(form)));
    Ok(Secret::assembled(buffer.finish(), json, forms, etags, lease))
}

/// Where key, certificate and chain stand, side by side.
struct Parts {
    start: usize,
    leaf: usize,
    chain: usize,
    /// The topmost certificate.
    top: usize,
    /// Where a TLS server stops.
    sent: usize,
    end: usize,
}

impl Parts {
    fn write(
        document: &Document<'_>,
        chain: &[CertificateDer<'_>],
        buffer: &mut SecretWriter,
    ) -> Self {
        let start = buffer.len();
        push_line(document.private_key, buffer);
        let leaf = buffer.len();
        push_line(document.certificate, buffer);
        let mut parts = Self { start, leaf, chain: buffer.len(), top: 0, sent: 0, end: 0 };
        let mut last_is_root = false;
        for (pem, der) in document.ca_chain.iter().zip(chain) {
            parts.top = buffer.len();
            push_line(pem, buffer);
            last_is_root = is_self_issued(der);
        }
        parts.end = buffer.len();
        parts.sent = if last_is_root { parts.top } else { parts.end };
        parts
    }

    fn range(&self, form: Form) -> Range<usize> {
        match form {
            Form::Key => self.start..self.leaf,
            Form::Certificate => self.leaf..self.chain,
            Form::Chain => self.chain..self.end,
            Form::FullChain => self.leaf..self.sent,
            Form::Authority => self.top..self.end,
            Form::Bundle => self.start..self.sent,
        }
    }
}

fn push_line(text: &str, buffer: &mut SecretWriter) {
    buffer.push(text.as_bytes());
    buffer.push(b"\n");
}

fn is_self_issued(der: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, it)| it.subject() == it.issuer())
}
