//! What a destination is shown: the certificate that is cached at the moment, once.
//!
//! The private key is read from the cached form for each handshake, in secret memory, and is
//! gone with the handshake: a kept connection, or one that rustls remembers, has none.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};

use super::ConnectError;
use crate::certificate::Form;
use crate::memory::{in_secret_memory, scrub};
use crate::secret::Secret;

/// A certificate and its key, for one handshake.
pub(in super::super) struct Identity(Arc<CertifiedKey>);

impl Identity {
    /// # Errors
    /// [`ConnectError::CertificateUnusable`] for a key of a type that is not known here.
    pub(in super::super) fn of(certificate: &Secret) -> Result<Self, ConnectError> {
        let form = |form: Form| certificate.field(form.name()).map(|(pem, _)| pem);
        let read = || {
            let (chain, key) = (form(Form::FullChain)?, form(Form::Key)?);
            let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<_, _>>().ok()?;
            let key = PrivateKeyDer::from_pem_slice(&key).ok()?;
            Some(Self(Arc::new(CertifiedKey::new(chain, any_supported_type(&key).ok()?))))
        };
        let identity = in_secret_memory(read);
        // What a library computes with lies on the stack.
        scrub();
        identity.ok_or(ConnectError::CertificateUnusable)
    }

    pub(super) fn into_shown(self) -> Arc<Shown> {
        Arc::new(Shown { key: Mutex::new(Some(self.0)), unfit: AtomicBool::new(false) })
    }
}

/// Gives the key away when the server asks for a certificate.
pub(super) struct Shown {
    key: Mutex<Option<Arc<CertifiedKey>>>,
    /// It was asked for, and the server knows none of the key's algorithms.
    unfit: AtomicBool,
}

impl Shown {
    /// `settings`, with this in them. Nothing is resumed: the server would go by the certificate
    /// of another time.
    pub(super) fn settings(self: &Arc<Self>, settings: &ClientConfig) -> ClientConfig {
        let mut settings = settings.clone();
        settings.client_auth_cert_resolver = Arc::clone(self) as Arc<dyn ResolvesClientCert>;
        settings.resumption = Resumption::disabled();
        settings
    }

    /// Whether the handshake went on without it, although it was asked for.
    pub(super) fn is_unfit(&self) -> bool {
        self.unfit.load(Ordering::Relaxed)
    }
}

impl ResolvesClientCert for Shown {
    /// Whatever authorities the server names: it says itself what it thinks of another.
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let key = self.key.lock().unwrap_or_else(PoisonError::into_inner).take();
        let key = key.filter(|key| key.key.choose_scheme(schemes).is_some());
        self.unfit.store(key.is_none(), Ordering::Relaxed);
        key
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}
