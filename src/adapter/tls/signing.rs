//! A private key that leaves nothing behind when it signs.

use std::sync::Arc;

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

use crate::memory::{in_secret_memory, scrub};

/// A key whose scratch memory is secret, and whose scratch stack is cleared at once: the threads
/// that sign serve connections, and on a busy one nothing else would clear it for a while.
#[derive(Debug)]
pub(super) struct Discreet(pub(super) Arc<dyn SigningKey>);

impl SigningKey for Discreet {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(DiscreetSigner(self.0.choose_scheme(offered)?)))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.0.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

#[derive(Debug)]
struct DiscreetSigner(Box<dyn Signer>);

impl Signer for DiscreetSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = in_secret_memory(|| self.0.sign(message));
        scrub();
        signature
    }

    fn scheme(&self) -> SignatureScheme {
        self.0.scheme()
    }
}
