//! An issuance as a keystore, for what reads neither PEM nor JSON: Java and browsers.
//!
//! Two containers: PKCS #12 ([`Profile`] says how it is encrypted) and JKS, the older one of
//! Java. Each is made for one answer under the password of one caller, by a thread of its own
//! ([`KeystoreThread`]) whose heap and stack are secret memory: the libraries that derive keys
//! and encrypt leave traces on both.

mod content;
mod derive;
mod jks;
mod oid;
mod password;
mod pkcs12;
mod seal;
#[cfg(test)]
mod tests;
mod thread;

use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};

pub use password::{KeystorePassword, PasswordRefused};
pub use thread::{KeystoreThread, Made};

use crate::memory::SecretBuf;
use crate::secret::Secret;
use content::Content;

/// A keystore that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeystoreForm {
    /// What is in it.
    pub holds: Holds,
    /// Its format.
    pub container: Container,
}

/// What is in a keystore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// The private key with the certificate and those above it but the root.
    Key,
    /// The topmost certificate that Vault knows of, as one to be trusted.
    Authority,
}

/// The format of a keystore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// RFC 7292.
    Pkcs12,
    /// Sun's own, of the first Java. Its protection is a SHA-1 of the password, and weak.
    Jks,
}

/// How a PKCS #12 is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// PBES2 (PBKDF2 with HMAC-SHA-256, AES-256 in CBC mode), and a MAC with HMAC-SHA-256: what
    /// OpenSSL 3 and the Java of today write.
    #[default]
    Modern,
    /// 3DES in CBC mode and a MAC with HMAC-SHA-1, both with keys by PKCS #12's own derivation:
    /// what Java before 8u301 reads.
    Legacy,
}

impl KeystoreForm {
    /// Every keystore.
    pub const ALL: [Self; 4] = [
        Self { holds: Holds::Key, container: Container::Pkcs12 },
        Self { holds: Holds::Authority, container: Container::Pkcs12 },
        Self { holds: Holds::Key, container: Container::Jks },
        Self { holds: Holds::Authority, container: Container::Jks },
    ];

    /// The last segment of its path.
    pub const fn name(self) -> &'static str {
        match (self.holds, self.container) {
            (Holds::Key, Container::Pkcs12) => "keystore.p12",
            (Holds::Authority, Container::Pkcs12) => "truststore.p12",
            (Holds::Key, Container::Jks) => "keystore.jks",
            (Holds::Authority, Container::Jks) => "truststore.jks",
        }
    }

    /// The keystore of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name)
    }

    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self.container {
            // As registered with IANA.
            Container::Pkcs12 => "application/pkcs12",
            Container::Jks => "application/x-java-keystore",
        }
    }
}

impl Profile {
    /// The profile that `?profile=` names.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "modern" => Some(Self::Modern),
            "legacy" => Some(Self::Legacy),
            _ => None,
        }
    }
}

/// What is to be made.
pub struct Order {
    /// The issuance.
    pub secret: Arc<Secret>,
    /// The name that it is declared by: the alias of the entry.
    pub alias: Box<str>,
    /// Which keystore.
    pub form: KeystoreForm,
    /// Of no consequence for a JKS.
    pub profile: Profile,
    /// The caller's; without it one is generated.
    pub password: Option<KeystorePassword>,
}

/// Why there is no keystore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unmade {
    /// As many as may wait are waiting.
    #[error("too many keystores are being made")]
    Busy,
    /// The issuance's private key is not PKCS #8, or a certificate cannot be read.
    #[error("the issuance does not go into a keystore")]
    Unfit,
    /// The system gave no randomness, or no thread.
    #[error("the system does not let a keystore be made")]
    System,
}

impl From<ring::error::Unspecified> for Unmade {
    fn from(_: ring::error::Unspecified) -> Self {
        Self::System
    }
}

/// Makes the keystore. To be called by the keystore thread alone.
fn make(order: &Order, password: &KeystorePassword) -> Result<SecretBuf, Unmade> {
    let content = Content::read(&order.secret, order.form.holds)?;
    match order.form.container {
        Container::Pkcs12 => pkcs12::write(&content, &order.alias, order.profile, password),
        Container::Jks => jks::write(&content, &order.alias, password),
    }
}

/// Fresh bytes, such as a salt.
fn random<const N: usize>() -> Result<[u8; N], Unmade> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes)?;
    Ok(bytes)
}
