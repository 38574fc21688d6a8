//! The password of a keystore.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Unmade, random};
use crate::memory::{SecretBuf, SecretWriter};

/// In bytes.
const LONGEST: usize = 128;
/// Of a generated one: 192 bits of randomness.
const GENERATED: usize = 24;

/// Visible ASCII characters and inner spaces: what a header carries unchanged, and what every
/// reader of keystores turns into the same bytes.
#[derive(Debug)]
pub struct KeystorePassword(SecretBuf);

/// Empty, longer than 128 characters, or not of visible ASCII characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a keystore's password is 1 to 128 visible ASCII characters or inner spaces")]
pub struct PasswordRefused;

impl KeystorePassword {
    /// The password that a caller gave; wiping `given` remains with its owner.
    ///
    /// # Errors
    /// [`PasswordRefused`].
    pub fn parse(given: &[u8]) -> Result<Self, PasswordRefused> {
        let visible = given.iter().all(|c| (b' '..=b'~').contains(c));
        let fits = visible && (1..=LONGEST).contains(&given.len()) && given == given.trim_ascii();
        fits.then(|| Self(SecretBuf::copy_from(given))).ok_or(PasswordRefused)
    }

    /// A fresh one of 32 characters.
    pub(super) fn generate() -> Result<Self, Unmade> {
        let bytes = random::<GENERATED>()?;
        let mut text = SecretBuf::zeroed(GENERATED / 3 * 4);
        URL_SAFE_NO_PAD.encode_slice(bytes, text.expose_mut()).map_err(|_| Unmade::System)?;
        Ok(Self(text))
    }

    /// Its characters.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// Two bytes for each character, the higher one first, and `end` after them.
    pub(super) fn in_two_bytes(&self, end: &[u8]) -> SecretBuf {
        let mut wide = SecretWriter::with_capacity(self.0.len() * 2 + end.len());
        self.0.expose().iter().for_each(|c| wide.push(&[0, *c]));
        wide.push(end);
        wide.finish()
    }
}
