//! The header that is made of a secret, and how to know it again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;

use crate::config::HeaderForm;
use crate::memory::{SecretBuf, SecretWriter};
use crate::secret::Secret;

/// What is shorter is found in any text.
const SHORTEST_NEEDLE: usize = 4;

/// Made for one request, and wiped with the last copy of its header.
pub(super) struct Credential {
    pub(super) header: Option<HeaderValue>,
    /// What of it must not come back.
    needles: Vec<Bytes>,
}

impl Credential {
    /// `None` when the secret has no such field, or a value that no header can hold.
    pub(super) fn make(form: &HeaderForm, secret: &Secret) -> Option<Self> {
        let field = |name: &str| secret.field(name).map(|(value, _)| trimmed(&value));
        let (text, mut needles) = match form {
            HeaderForm::Field { prefix, field: name } => {
                let value = field(name).filter(|value| !value.is_empty())?;
                let mut text = SecretWriter::with_capacity(prefix.len() + value.len());
                text.push(prefix.as_bytes());
                text.push(&value);
                (text, vec![value])
            }
            HeaderForm::Basic { user_field, password_field } => {
                let (user, password) = (field(user_field)?, field(password_field)?);
                // It would end where the password starts.
                if user.contains(&b':') {
                    return None;
                }
                let (text, encoded) = basic(&user, &password)?;
                (text, vec![password, encoded])
            }
        };
        needles.retain(|needle| needle.len() >= SHORTEST_NEEDLE);
        let mut header = HeaderValue::from_maybe_shared(text.finish().into_bytes()).ok()?;
        header.set_sensitive(true);
        Some(Self { header: Some(header), needles })
    }

    /// Where nothing is put in.
    pub(super) fn none() -> Self {
        Self { header: None, needles: Vec::new() }
    }

    /// Whether `text` has it in it. Names of headers are lower case by the time they are seen, and
    /// what was a token is found out of it easily enough.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        let has = |needle: &Bytes| {
            text.windows(needle.len()).any(|part| part.eq_ignore_ascii_case(needle))
        };
        self.needles.iter().any(has)
    }
}

/// The header's text, and what is encoded in it.
fn basic(user: &[u8], password: &[u8]) -> Option<(SecretWriter, Bytes)> {
    let mut pair = SecretWriter::with_capacity(user.len() + password.len() + 1);
    pair.push(user);
    pair.push(b":");
    pair.push(password);
    let mut encoded = SecretBuf::zeroed(base64::encoded_len(pair.len(), true)?);
    STANDARD.encode_slice(pair.expose(), encoded.expose_mut()).ok()?;
    let mut text = SecretWriter::with_capacity(encoded.len() + 6);
    text.push(b"Basic ");
    text.push(encoded.expose());
    Some((text, encoded.into_bytes()))
}

/// Without the line end that a value written by an editor has.
fn trimmed(value: &Bytes) -> Bytes {
    value.slice_ref(value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::test_secret;

    fn bearer() -> HeaderForm {
        HeaderForm::Field { prefix: "Bearer ".into(), field: "token".into() }
    }

    fn basic() -> HeaderForm {
        HeaderForm::Basic { user_field: "username".into(), password_field: "password".into() }
    }

    #[test]
    fn forms() {
        let secret =
            test_secret(&[("token", "canary-t0\n"), ("username", "u"), ("password", "p:w")]);
        let made = Credential::make(&bearer(), &secret).unwrap();
        assert_eq!(made.header.as_ref().unwrap().as_bytes(), b"Bearer canary-t0");
        assert!(made.header.unwrap().is_sensitive());
        let made = Credential::make(&basic(), &secret).unwrap();
        assert_eq!(made.header.as_ref().unwrap().as_bytes(), b"Basic dTpwOnc=");
        let form = HeaderForm::Field { prefix: "".into(), field: "absent".into() };
        assert!(Credential::make(&form, &secret).is_none());
    }

    #[test]
    fn what_no_header_can_hold() {
        for value in ["a\r\nX-Injected: 1", "a\0b", "", " \n"] {
            let secret = test_secret(&[("token", value)]);
            assert!(Credential::make(&bearer(), &secret).is_none(), "{value:?}");
        }
        let secret = test_secret(&[("username", "a:b"), ("password", "p")]);
        assert!(Credential::make(&basic(), &secret).is_none());
    }

    #[test]
    fn it_is_known_again() {
        let secret =
            test_secret(&[("token", "canary-t0"), ("username", "u"), ("password", "pass")]);
        let made = Credential::make(&bearer(), &secret).unwrap();
        assert!(made.is_in(b"you sent Bearer canary-t0!"));
        assert!(made.is_in(b"CANARY-t0"), "in whatever case");
        assert!(!made.is_in(b"canary-t1") && !made.is_in(b""));
        let made = Credential::make(&basic(), &secret).unwrap();
        assert!(made.is_in(b"Basic dTpwYXNz") && made.is_in(b"x=pass"));
    }
}
