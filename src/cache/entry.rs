//! One cached name (or one version of it): its value, its last failure, and what they mean now.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

use super::answer::{Freshness, ReadError, Served};
use crate::config::{SecretName, SecretSpec};
use crate::lease::{Backoff, refresh_after, replace_after};
use crate::observe::event;
use crate::secret::{Etag, Secret};
use crate::vault::{Failure, Upstream, VaultError};

/// What is asked for: a name, and for KV v2 perhaps one version of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SecretKey {
    pub(super) name: SecretName,
    /// `?version=`; `None` is the latest.
    pub(super) version: Option<u64>,
}

/// A declaration, and what has to survive an eviction of its value.
pub(super) struct Declared {
    pub(super) spec: SecretSpec,
    /// The values seen so far, for engines that do not number them.
    seen: Mutex<(u64, Option<Etag>)>,
}

impl Declared {
    pub(super) fn new(spec: &SecretSpec) -> Self {
        Self { spec: spec.clone(), seen: Mutex::new((0, None)) }
    }

    /// The version to show for `secret`: KV v2's own, else a count of different values.
    fn version_of(&self, secret: &Secret) -> u64 {
        if let Some(version) = secret.kv_version() {
            return version;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.1.as_ref() != Some(secret.etag()) {
            *seen = (seen.0 + 1, Some(*secret.etag()));
        }
        seen.0
    }
}

pub(super) struct Entry {
    pub(super) key: SecretKey,
    declared: Arc<Declared>,
    value: ArcSwapOption<Value>,
    failure: ArcSwapOption<LastFailure>,
    /// Held during a fetch, so that there is one at a time.
    fetching: tokio::sync::Mutex<Backoff>,
}

struct Value {
    secret: Arc<Secret>,
    version: u64,
    /// When Vault last confirmed it.
    confirmed: Instant,
    /// When the lease ends.
    dies: Option<Instant>,
}

struct LastFailure {
    error: ReadError,
    not_logged_in: bool,
    at: Instant,
    retry_at: Instant,
}

impl Entry {
    pub(super) fn new(key: SecretKey, declared: Arc<Declared>) -> Self {
        let longest = declared.spec.refresh.clamp(Duration::from_secs(1), Duration::from_mins(1));
        Self {
            key,
            declared,
            value: ArcSwapOption::empty(),
            failure: ArcSwapOption::empty(),
            fetching: tokio::sync::Mutex::new(Backoff::new(Duration::from_secs(1), longest)),
        }
    }

    pub(super) fn is_of(&self, declared: &Arc<Declared>) -> bool {
        Arc::ptr_eq(&self.declared, declared)
    }

    /// What a caller gets now. Never a value past its end, not even in its last instant.
    pub(super) fn answer(&self) -> Result<Served, ReadError> {
        let now = Instant::now();
        match self.value.load().as_ref() {
            Some(value) => value
                .serve(&self.declared.spec, now)
                .ok_or_else(|| self.last_failure().unwrap_or(ReadError::Expired)),
            None => Err(self.last_failure().unwrap_or(ReadError::NotReady)),
        }
    }

    /// Why the last fetch failed, when it did, with the time that is left until the next one.
    pub(super) fn last_failure(&self) -> Option<ReadError> {
        let failure = self.failure.load();
        let failure = failure.as_ref()?;
        let left = failure.retry_at.saturating_duration_since(Instant::now());
        Some(match &failure.error {
            ReadError::Unavailable { .. } => ReadError::Unavailable { retry_after: Some(left) },
            error => error.clone(),
        })
    }

    /// Whether an answer needs a fetch first: there is nothing fresh, and no attempt failed
    /// just now.
    pub(super) fn wants_fetch(&self) -> bool {
        let fresh = self.answer().is_ok_and(|served| served.freshness == Freshness::Fresh);
        !self.waits() && !fresh
    }

    /// An attempt failed, and the next one is not due yet.
    pub(super) fn waits(&self) -> bool {
        self.failure.load().as_ref().is_some_and(|failure| failure.retry_at > Instant::now())
    }

    pub(super) fn confirmed_ago(&self) -> Option<Duration> {
        self.value.load().as_ref().map(|value| value.confirmed.elapsed())
    }

    /// The last attempt failed because there was no login.
    pub(super) fn waits_for_login(&self) -> bool {
        self.failure.load().as_ref().is_some_and(|failure| failure.not_logged_in)
    }

    /// When the background refresh is due.
    pub(super) fn due_in(&self) -> Duration {
        let now = Instant::now();
        let value = self.value.load();
        let dies = value.as_ref().map(|value| value.end(&self.declared.spec));
        let until_dead = dies.map_or(Duration::MAX, |dies| dies.saturating_duration_since(now));
        match (self.failure.load().as_ref(), value.as_ref()) {
            (Some(failure), _) => {
                let wait = failure.retry_at.saturating_duration_since(now);
                if until_dead.is_zero() { wait } else { wait.min(until_dead) }
            }
            (None, Some(value)) => match value.dies {
                Some(dies) => replace_after(dies.saturating_duration_since(now)),
                None => refresh_after(self.declared.spec.refresh),
            },
            (None, None) => self.declared.spec.refresh,
        }
    }

    /// Asks Vault, unless another task did so while this one waited its turn.
    pub(super) async fn fetch(&self, upstream: &Upstream) {
        let asked_at = Instant::now();
        let mut backoff = self.fetching.lock().await;
        let answered = self.value.load().as_ref().is_some_and(|value| value.confirmed > asked_at);
        let failed = self.failure.load().as_ref().is_some_and(|failure| failure.at > asked_at);
        if answered || failed {
            return;
        }
        let sent = Instant::now();
        match upstream.read(&self.declared.spec.path, self.key.version).await {
            Ok(secret) => {
                backoff.reset();
                self.take(secret, sent);
            }
            Err(error) => self.fail(&error, &mut backoff),
        }
    }

    /// A lease runs from the moment it was asked for: Vault's clock started no later.
    fn take(&self, secret: Secret, sent: Instant) {
        let version = self.declared.version_of(&secret);
        let dies = secret.lease().filter(|lease| !lease.duration.is_zero());
        let dies = dies.map(|lease| sent + lease.duration);
        let old = self.value.load();
        let unchanged = old.as_ref().filter(|old| {
            old.version == version && old.secret.etag() == secret.etag() && dies.is_none()
        });
        let changed = unchanged.is_none();
        let secret = unchanged.map_or_else(|| Arc::new(secret), |old| Arc::clone(&old.secret));
        let confirmed = Instant::now();
        self.value.store(Some(Arc::new(Value { secret, version, confirmed, dies })));
        let recovered = self.failure.swap(None).is_some();
        event::secret_fetched(&self.key.name, version, changed, recovered);
    }

    fn fail(&self, error: &VaultError, backoff: &mut Backoff) {
        let retry_in = backoff.after_failure(error.retry_after);
        // Also once the value was wiped: a failure before the first value says "not ready".
        let seen_before = self.value.load().is_some()
            || self.failure.load().as_ref().is_some_and(|last| last.error != ReadError::NotReady);
        let told = ReadError::from_vault(error, seen_before);
        event::fetch_failed(&self.key.name, error, retry_in);
        if told.is_gone() {
            self.wipe();
        }
        self.wipe_if_dead();
        let now = Instant::now();
        self.failure.store(Some(Arc::new(LastFailure {
            error: told,
            not_logged_in: error.failure == Failure::NotLoggedIn,
            at: now,
            retry_at: now + retry_in,
        })));
    }

    /// Lets go of the value: it is wiped with its last reader.
    pub(super) fn wipe(&self) {
        self.value.store(None);
    }

    pub(super) fn wipe_if_dead(&self) {
        let dead = |value: &Arc<Value>| value.end(&self.declared.spec) <= Instant::now();
        if self.value.load().as_ref().is_some_and(dead) {
            if self.failure.load().is_none() {
                let (error, now) = (ReadError::Expired, Instant::now());
                let failure = LastFailure { error, not_logged_in: false, at: now, retry_at: now };
                self.failure.store(Some(Arc::new(failure)));
            }
            self.wipe();
            event::expired(&self.key.name);
        }
    }

    /// Bytes of plaintext held.
    pub(super) fn len(&self) -> usize {
        self.value.load().as_ref().map_or(0, |value| value.secret.len())
    }
}

impl Value {
    /// From when on it must not be served.
    fn end(&self, spec: &SecretSpec) -> Instant {
        self.dies.unwrap_or(self.confirmed + spec.refresh + spec.max_stale)
    }

    fn serve(&self, spec: &SecretSpec, now: Instant) -> Option<Served> {
        if now >= self.end(spec) {
            return None;
        }
        let age = now.saturating_duration_since(self.confirmed);
        let fresh = self.dies.is_some() || age <= spec.refresh;
        Some(Served {
            secret: Arc::clone(&self.secret),
            version: self.version,
            freshness: if fresh { Freshness::Fresh } else { Freshness::Stale },
            age,
            expires_in: self.dies.map(|dies| dies.saturating_duration_since(now)),
        })
    }
}
