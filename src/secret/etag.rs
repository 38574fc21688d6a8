//! Entity tags that say "same content" and nothing about the content.

use std::fmt;

use ring::hmac;
use ring::rand::SystemRandom;

use super::Kind;

/// The key of this process's tags: random, so that a tag cannot be checked against guesses of
/// the content by anybody who does not hold the key.
pub struct EtagKey(hmac::Key);

impl EtagKey {
    /// A fresh random key.
    ///
    /// # Errors
    /// When the kernel gives no randomness.
    pub fn random() -> Result<Self, ring::error::Unspecified> {
        hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map(Self)
    }

    /// The tag of `content`.
    pub fn tag(&self, content: &[u8]) -> Etag {
        Etag::of(&hmac::sign(&self.0, content))
    }

    /// The tag of a field's `content`, which differs with its `kind`.
    pub(super) fn field_tag(&self, kind: Kind, content: &[u8]) -> Etag {
        let mut hash = hmac::Context::with_key(&self.0);
        hash.update(&[kind as u8]);
        hash.update(content);
        Etag::of(&hash.sign())
    }
}

impl Etag {
    fn of(digest: &hmac::Tag) -> Self {
        let mut tag = [0; 16];
        tag.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        Self(tag)
    }
}

impl fmt::Debug for EtagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EtagKey")
    }
}

/// 128 bits of a keyed hash; displays as hex digits, without the quotes of the header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Etag([u8; 16]);

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_content_has_an_equal_tag_under_one_key_only() {
        let (one, other) = (EtagKey::random().unwrap(), EtagKey::random().unwrap());
        assert_eq!(one.tag(b"content"), one.tag(b"content"));
        assert_ne!(one.tag(b"content"), one.tag(b"other content"));
        assert_ne!(one.tag(b"content"), other.tag(b"content"));
        assert_eq!(one.tag(b"content").to_string().len(), 32);
    }
}
