//! One issuance of Vault's PKI engine, in many forms.
//!
//! The private key is made here ([`PrivateKey`]) or by Vault; what Vault issued is looked at
//! before anybody gets it ([`inspect`]); then key, certificate and chain are written once into
//! one buffer ([`assemble`]), and every form is a range of it: all of them are of one issuance
//! and carry one entity tag. All of this runs on the fetch thread. Keystores alone are made when
//! somebody asks, of such an issuance, by a thread of their own ([`KeystoreThread`]).

mod assemble;
mod inspect;
mod keystore;
mod key;
#[cfg(test)]
pub(crate) mod tests;

pub use assemble::{Issued, assemble, public_key};
pub use inspect::{Inspected, Unfit, inspect};
pub use key::{PrivateKey, Unmade};
pub use keystore::{
    Container, Holds, KeystoreForm, KeystorePassword, KeystoreThread, Made, Order, PasswordRefused,
    Profile, Unmade as KeystoreUnmade,
};

/// A form that a certificate is served in, besides JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The certificate alone.
    Certificate,
    /// The private key, PKCS #8.
    Key,
    /// All certificates above it, the issuing one first.
    Chain,
    /// The certificate and what a TLS server sends with it: all above it but the root.
    FullChain,
    /// The topmost certificate that Vault knows of: what the other side trusts.
    Authority,
    /// The private key, then the full chain.
    Bundle,
}

impl Form {
    /// Every form.
    pub const ALL: [Self; 6] =
        [Self::Certificate, Self::Key, Self::Chain, Self::FullChain, Self::Authority, Self::Bundle];

    /// The last segment of its path; also its field of the assembled [`Secret`].
    ///
    /// [`Secret`]: crate::secret::Secret
    pub const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "cert.pem",
            Self::Key => "key.pem",
            Self::Chain => "chain.pem",
            Self::FullChain => "fullchain.pem",
            Self::Authority => "ca.pem",
            Self::Bundle => "bundle.pem",
        }
    }

    /// The form of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name)
    }

    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            // RFC 8555, section 9.1.
            Self::Certificate | Self::Chain | Self::FullChain | Self::Authority => {
                "application/pem-certificate-chain"
            }
            Self::Key | Self::Bundle => "application/x-pem-file",
        }
    }
}
