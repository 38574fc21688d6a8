//! What a client's certificate says, once it was found good.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::config::SpiffeId;

/// Names of a client, from its certificate. Empty for a client without one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Identity {
    /// It showed a certificate, which was found good.
    pub(in super::super) is_authenticated: bool,
    /// The whole subject, as `CN=app, O=example`.
    pub(in super::super) subject: String,
    /// Common names of the subject; usually one or none.
    pub(in super::super) common_names: Vec<String>,
    /// DNS names.
    pub(in super::super) dns: Vec<String>,
    /// URIs, SPIFFE ids among them.
    pub(in super::super) uris: Vec<String>,
    /// The SPIFFE id: the one URI, when it is one. A certificate with several URIs has none
    /// (X.509-SVID, 2).
    pub(in super::super) spiffe: Option<SpiffeId>,
    /// Mail addresses.
    pub(in super::super) emails: Vec<String>,
    /// SHA-256 of the certificate, hexadecimal.
    pub(in super::super) fingerprint: String,
}

impl Identity {
    /// Of a certificate; without names when it cannot be read, which a good one can.
    pub(in super::super) fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut identity = Self {
            is_authenticated: true,
            fingerprint: hex(digest(&SHA256, certificate).as_ref()),
            ..Self::default()
        };
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return identity };
        identity.subject = parsed.subject().to_string();
        let names = parsed.subject().iter_common_name();
        identity.common_names =
            names.filter_map(|name| name.as_str().ok()).map(str::to_owned).collect();
        let Ok(Some(names)) = parsed.subject_alternative_name() else { return identity };
        for name in &names.value.general_names {
            match name {
                GeneralName::DNSName(name) => identity.dns.push((*name).to_owned()),
                GeneralName::URI(uri) => identity.uris.push((*uri).to_owned()),
                GeneralName::RFC822Name(mail) => identity.emails.push((*mail).to_owned()),
                _ => {}
            }
        }
        let invalid = |name: &GeneralName<'_>| matches!(name, GeneralName::Invalid(..));
        if let ([uri], false) = (&*identity.uris, names.value.general_names.iter().any(invalid)) {
            identity.spiffe = SpiffeId::parse(uri);
        }
        identity
    }

    /// As Envoy writes it into `X-Forwarded-Client-Cert`; `None` for a client without a
    /// certificate.
    pub(in super::super) fn forwarded(&self) -> Option<String> {
        if !self.is_authenticated {
            return None;
        }
        let mut text = format!("Hash={}", self.fingerprint);
        let uris = self.uris.iter().map(|uri| ("URI", uri));
        let dns = self.dns.iter().map(|name| ("DNS", name));
        for (key, value) in std::iter::once(("Subject", &self.subject)).chain(uris).chain(dns) {
            // Writing to a String cannot fail.
            let _ = write!(text, ";{key}={}", quoted(value));
        }
        Some(text)
    }
}

/// What a header can hold, in quotes: with what would end it escaped, and the rest left out.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            ' '..='~' => text.push(c),
            _ => text.push('?'),
        }
    }
    text.push('"');
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let mut params = rcgen::CertificateParams::new(["a.example".into()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "app\";URI=\"spiffe://evil");
        let uri = "spiffe://example/app".try_into().unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI(uri));
        let mail = "app@example".try_into().unwrap();
        params.subject_alt_names.push(rcgen::SanType::Rfc822Name(mail));
        let key = rcgen::KeyPair::generate().unwrap();
        Identity::of(params.self_signed(&key).unwrap().der())
    }

    #[test]
    fn all_names_are_found() {
        let identity = identity();
        assert_eq!(identity.dns, ["a.example"]);
        assert_eq!(identity.uris, ["spiffe://example/app"]);
        assert_eq!(identity.emails, ["app@example"]);
        assert_eq!(identity.common_names, ["app\";URI=\"spiffe://evil"]);
        assert_eq!(identity.fingerprint.len(), 64);
    }

    #[test]
    fn a_subject_does_not_break_out_of_its_quotes() {
        let text = identity().forwarded().unwrap();
        let (_, after) = text.split_once(";Subject=\"").unwrap();
        let expected =
            "CN=app\\\";URI=\\\"spiffe://evil\";URI=\"spiffe://example/app\";DNS=\"a.example\"";
        assert_eq!(after, expected);
    }

    #[test]
    fn a_header_holds_it_whatever_it_is() {
        assert_eq!(quoted("a\r\nb\u{e9}"), "\"a??b?\"");
        assert_eq!(Identity::default().forwarded(), None);
    }
}
