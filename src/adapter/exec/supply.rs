//! What a program needs of the sidecar: a login, values that are kept fresh, and their orderly
//! end. No local door is opened.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::wanted::Wanted;
use crate::app::{cache_capacity, first_login, settle_memory};
use crate::cache::{ReadError, SecretCache};
use crate::config::{Config, SecretName};
use crate::error::Error;
use crate::lease::Handle;
use crate::memory::scrub;
use crate::observe::{Metrics, event};
use crate::secret::{Etag, EtagKey, Secret};
use crate::vault::{FetchThread, Upstream};

/// Logged in, with the values that were asked for.
pub struct Supply {
    upstream: Upstream,
    thread: FetchThread,
    cache: SecretCache,
    key: EtagKey,
    startup_deadline: Duration,
    shutdown_deadline: Duration,
}

/// What is there of a value. Of its secret's other fields it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fingerprint {
    /// No secret for the moment.
    Gone,
    /// One without the field.
    Lacking,
    /// This content.
    Of(Etag),
}

/// A value on its way to the program, shared with the cache.
pub(super) struct Value<'a> {
    pub(super) wanted: &'a Wanted,
    pub(super) bytes: Bytes,
    pub(super) fingerprint: Fingerprint,
}

impl Supply {
    /// Logs in. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When Vault refuses the login, or cannot be reached within the start-up deadline.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let declarations = config.declarations();
        let Config { vault, auth, limits, life, protection, .. } = config;
        let key = EtagKey::random().map_err(|_| Error::System {
            what: "the system gave no randomness",
            source: std::io::ErrorKind::Other.into(),
        })?;
        let auth = Arc::new(auth);
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        let (upstream, thread) = Upstream::start(vault.clone(), Arc::clone(&auth), metrics)
            .map_err(Error::VaultSettings)?;
        settle_memory(&protection)?;
        let cache = SecretCache::new(&declarations, cache_capacity(&limits), upstream.clone());
        let (startup_deadline, shutdown_deadline) = (life.startup_deadline, life.shutdown_deadline);
        let supply = Self { upstream, thread, cache, key, startup_deadline, shutdown_deadline };
        match first_login(&supply.upstream, &vault, &auth, startup_deadline).await {
            Ok(()) => Ok(supply),
            Err(error) => {
                supply.hand_back().await;
                Err(error)
            }
        }
    }

    /// The values now, waited for while Vault cannot be asked, at most for the start-up
    /// deadline.
    pub(super) async fn values<'w>(&self, wanted: &'w [Wanted]) -> Result<Vec<Value<'w>>, Error> {
        let mut values = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let Wanted { variable, name, field, by } = wanted;
            let path = field.as_deref().map(|field| format!("/{field}")).unwrap_or_default();
            let failed =
                |why: &str| Error::Client(format!("{} {variable}={name}{path}: {why}", by.flag()));
            let served = self.patiently(name).await.map_err(|error| failed(&error.to_string()))?;
            let bytes = content(wanted, &served.secret).ok_or_else(|| {
                let field = field.as_deref().unwrap_or_default();
                failed(&format!("the secret has no field {field:?}"))
            })?;
            let fingerprint = self.fingerprint(&bytes);
            values.push(Value { wanted, bytes, fingerprint });
        }
        Ok(values)
    }

    async fn patiently(&self, name: &SecretName) -> Result<crate::cache::Served, ReadError> {
        let end = Instant::now() + self.startup_deadline;
        loop {
            let error = match self.cache.get(name, None).await {
                Ok(served) => return Ok(served),
                Err(error) => error,
            };
            let wait = match &error {
                ReadError::Unavailable { retry_after } => {
                    retry_after.unwrap_or(Duration::from_secs(1))
                }
                ReadError::NotReady | ReadError::Expired => Duration::from_secs(1),
                _ => return Err(error),
            };
            if Instant::now() + wait >= end {
                return Err(error);
            }
            sleep(wait.max(Duration::from_millis(100))).await;
        }
    }

    /// Which values there are at the moment. Asks Vault for nothing.
    pub(super) fn fingerprints(&self, wanted: &[Wanted]) -> Vec<Fingerprint> {
        let now = |wanted: &Wanted| {
            let Some(Ok(served)) = self.cache.cached(&wanted.name, None) else {
                return Fingerprint::Gone;
            };
            let content = content(wanted, &served.secret);
            content.map_or(Fingerprint::Lacking, |bytes| self.fingerprint(&bytes))
        };
        wanted.iter().map(now).collect()
    }

    fn fingerprint(&self, bytes: &Bytes) -> Fingerprint {
        let tag = self.key.tag(bytes);
        // The hash leaves its last block on the stack.
        scrub();
        Fingerprint::Of(tag)
    }

    /// Changes with the end of every fetch.
    pub(super) fn fetches(&self) -> watch::Receiver<u64> {
        self.cache.fetches()
    }

    /// Stops the renewal, revokes leases and our token within the shutdown deadline, and wipes.
    pub async fn hand_back(self) {
        let leases = self.cache.stop_refreshing().await;
        let budget = self.shutdown_deadline;
        self.end(budget, leases).await;
    }

    /// Stops the renewal and wipes; what the program took with it lives on until its end.
    pub async fn leave_behind(self, wanted: &[Wanted]) {
        let leased = |wanted: &Wanted| {
            let served = self.cache.cached(&wanted.name, None);
            served.is_some_and(|served| served.is_ok_and(|served| served.expires_in.is_some()))
        };
        let leased = wanted.iter().any(leased);
        self.cache.stop_refreshing().await;
        // A token takes its leases with it.
        let budget = if leased { Duration::ZERO } else { self.shutdown_deadline };
        if leased {
            event::leases_left_behind();
        }
        self.end(budget, Vec::new()).await;
    }

    async fn end(self, budget: Duration, leases: Vec<Handle>) {
        self.upstream.stop(budget, leases, CancellationToken::new()).await;
        self.cache.close().await;
        let thread = self.thread;
        let _ = tokio::task::spawn_blocking(|| thread.join()).await;
    }
}

/// What of the secret is wanted; `None` when it has no such field.
fn content(wanted: &Wanted, secret: &Secret) -> Option<Bytes> {
    match &wanted.field {
        None => Some(secret.json()),
        Some(field) => secret.field(field).map(|(bytes, _)| bytes),
    }
}
