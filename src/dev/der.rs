//! Just enough DER to find a public key and a common name.

/// Walks the elements of one DER sequence.
struct Elements<'a> {
    rest: &'a [u8],
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BIT_STRING: u8 = 0x03;
/// The explicit version that starts a version 3 certificate.
const VERSION: u8 = 0xa0;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

impl<'a> Elements<'a> {
    fn of(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// The next element's tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.rest.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 {
                return None;
            }
            let (bytes, after) = rest.split_at_checked(count)?;
            length = bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
            rest = after;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some((tag, content))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
    }
}

/// The key inside a `SubjectPublicKeyInfo`, in the form ring takes it.
pub(super) fn public_key(spki: &[u8]) -> Option<&[u8]> {
    let mut spki = Elements::of(Elements::of(spki).expect(SEQUENCE)?);
    spki.expect(SEQUENCE)?;
    // The first octet counts unused bits, of which a key has none.
    spki.expect(BIT_STRING)?.split_first().map(|(_, key)| key)
}

/// The subject's common name in a certificate.
pub(super) fn common_name(certificate: &[u8]) -> Option<String> {
    let mut certificate = Elements::of(Elements::of(certificate).expect(SEQUENCE)?);
    let mut fields = Elements::of(certificate.expect(SEQUENCE)?);
    // Version (optional), serial, algorithm, issuer, validity, subject.
    let (first, _) = fields.next()?;
    let before_subject = if first == VERSION { 4 } else { 3 };
    for _ in 0..before_subject {
        fields.next()?;
    }
    let mut subject = Elements::of(fields.expect(SEQUENCE)?);
    while let Some((SET, attributes)) = subject.next() {
        let mut attribute = Elements::of(Elements::of(attributes).expect(SEQUENCE)?);
        if attribute.expect(OBJECT_IDENTIFIER)? == COMMON_NAME {
            let (_, name) = attribute.next()?;
            return String::from_utf8(name.to_vec()).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use rcgen::PublicKeyData as _;

    use super::*;

    #[test]
    fn finds_the_common_name_and_the_key() {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Example");
        params.distinguished_name.push(rcgen::DnType::CommonName, "app.example");
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(common_name(certificate.der()).as_deref(), Some("app.example"));
        assert_eq!(public_key(&key.subject_public_key_info()), Some(key.der_bytes()));
        assert_eq!(common_name(b"\x30\x84\xff\xff\xff\xff"), None);
    }
}
