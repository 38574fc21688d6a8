//! The certificate in use: replaced while it runs, and gone at its end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::signing::Discreet;
use crate::cache::{ReadError, SecretCache, Served};
use crate::certificate::Form;
use crate::config::TlsSpec;
use crate::lease::Handle;
use crate::memory::{in_secret_memory, scrub};
use crate::observe::tls as event;
use crate::secret::{Etag, Secret};

/// How often the cache is looked at when it says nothing.
const LOOK: Duration = Duration::from_secs(5);

/// Before the cache is asked again for what it does not keep.
const AFTER_ASKING: Duration = Duration::from_secs(1);

/// What new handshakes show.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    held: ArcSwapOption<Held>,
}

/// One issuance.
pub(super) struct Held {
    key: Arc<CertifiedKey>,
    issuer: CertificateDer<'static>,
    etag: Etag,
    ends: Instant,
    ends_at: Option<SystemTime>,
}

/// An issuance that no handshake can show.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(super) enum Unusable {
    #[error("a part of it cannot be read")]
    Unreadable,
    #[error("its private key is of a type that TLS is not spoken with here")]
    KeyType,
    #[error("it has no end")]
    Endless,
}

impl Shelf {
    /// What is in use now; never past its end, by whichever clock that comes first.
    pub(super) fn held(&self) -> Option<Arc<Held>> {
        self.held.load_full().filter(|held| held.lives())
    }

    /// The authority that issued what is in use.
    pub(super) fn issuer(&self) -> Option<CertificateDer<'static>> {
        Some(self.held()?.issuer.clone())
    }

    /// Follows the certificate in `cache` until `stop`. `changed` hears of each new one.
    ///
    /// Cancel safety: what is in use stays in use to its end.
    pub(super) async fn keep(
        &self,
        spec: &TlsSpec,
        cache: &SecretCache,
        changed: &watch::Sender<u64>,
        stop: &CancellationToken,
    ) {
        let mut fetches = cache.fetches();
        loop {
            fetches.mark_unchanged();
            let mut pause = Duration::ZERO;
            let got = if let Some(got) = cache.cached(&spec.certificate, None) {
                got
            } else {
                pause = AFTER_ASKING;
                tokio::select! {
                    got = cache.get(&spec.certificate, None) => got,
                    () = stop.cancelled() => return,
                }
            };
            match got {
                Ok(served) => self.take(spec, &served, changed),
                // The others are failures to ask for another one.
                Err(ReadError::Expired) => self.held.store(None),
                Err(_) => {}
            }
            let changed = async {
                tokio::time::sleep(pause).await;
                let _ = tokio::time::timeout(LOOK, fetches.changed()).await;
            };
            tokio::select! {
                () = changed => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn take(&self, spec: &TlsSpec, served: &Served, changed: &watch::Sender<u64>) {
        let etag = served.secret.etag();
        if self.held.load().as_ref().is_some_and(|held| held.etag == *etag) {
            return;
        }
        match Held::of(served) {
            Ok(held) => {
                self.held.store(Some(Arc::new(held)));
                event::certificate_in_use(spec, served.version, serial(&served.secret));
                changed.send_modify(|changes| *changes += 1);
            }
            Err(why) => event::certificate_unusable(spec, served.version, &why),
        }
    }
}

impl Held {
    fn of(served: &Served) -> Result<Self, Unusable> {
        let left = served.expires_in.ok_or(Unusable::Endless)?;
        let key = in_secret_memory(|| certified_key(&served.secret));
        // What the parsers left on the stack.
        scrub();
        let (chain, _) = served.secret.field(Form::Chain.name()).ok_or(Unusable::Unreadable)?;
        let issuer = CertificateDer::from_pem_slice(&chain).map_err(|_| Unusable::Unreadable)?;
        Ok(Self {
            key: Arc::new(key?),
            issuer,
            etag: *served.secret.etag(),
            ends: Instant::now() + left,
            ends_at: served.secret.lease().and_then(|lease| lease.ends_at),
        })
    }

    fn lives(&self) -> bool {
        Instant::now() < self.ends && self.ends_at.is_none_or(|ends| SystemTime::now() < ends)
    }
}

impl ResolvesServerCert for Shelf {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.held()?.key))
    }
}

/// Without the key.
impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// The leaf, then its issuers; and the key, in a block of the arena.
fn certified_key(secret: &Secret) -> Result<CertifiedKey, Unusable> {
    let form = |form: Form| secret.field(form.name()).ok_or(Unusable::Unreadable);
    let (key, _) = form(Form::Key)?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| Unusable::Unreadable)?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key);
    let key = Arc::new(Discreet(key.map_err(|_| Unusable::KeyType)?));
    let (chain, _) = form(Form::FullChain)?;
    let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| Unusable::Unreadable)?;
    Ok(CertifiedKey::new(chain, key))
}

fn serial(secret: &Secret) -> Option<&str> {
    match &secret.lease()?.handle {
        Handle::Certificate { serial, .. } => Some(serial),
        Handle::Lease(_) => None,
    }
}
