//! One cached name (or one version of it): its value, its last failure, and what they mean now.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::answer::{Freshness, ReadError, Served};
use super::rotation::Rotations;
use super::value::{Held, Step, Value};
use crate::config::{Declaration, SecretName};
use crate::lease::{Backoff, Bucket, Handle, now};
use crate::observe::event;
use crate::secret::{Etag, Secret};
use crate::vault::{Confirmed, Failure, Refusal, Renewed, Retry, Upstream, VaultError};

/// What is asked for: a name, and for KV v2 perhaps one version of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SecretKey {
    pub(super) name: SecretName,
    /// `?version=`; `None` is the latest.
    pub(super) version: Option<u64>,
}

/// A declaration, and what has to survive an eviction of its value.
pub(super) struct Declared {
    pub(super) what: Declaration,
    /// The values seen so far, for engines that do not number them.
    seen: Mutex<(u64, Option<Etag>)>,
    /// KV v2: the metadata can be read too, as far as we know.
    metadata: AtomicBool,
    /// Each read of a leased path makes a new lease, and each issuance a new certificate: 20 at
    /// once, 200 an hour.
    new_leases: Bucket,
}

impl Declared {
    pub(super) fn new(what: &Declaration) -> Self {
        Self {
            what: what.clone(),
            seen: Mutex::new((0, None)),
            metadata: AtomicBool::new(true),
            new_leases: Bucket::new(Duration::from_secs(18), 20),
        }
    }

    /// The policy may be another one: metadata are tried again.
    pub(super) fn forget_policy(&self) {
        self.metadata.store(true, Ordering::Relaxed);
    }

    /// The version to show for `secret`: KV v2's own, else a count of different values; and
    /// whether it is another value than the last one seen.
    fn version_of(&self, secret: &Secret) -> (u64, bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, last) = *seen;
        if last.as_ref() != Some(secret.etag()) {
            *seen = (count + 1, Some(*secret.etag()));
        }
        let rotated = last.is_some_and(|last| last != *secret.etag());
        (secret.kv_version().unwrap_or(seen.0), rotated)
    }
}

/// What all entries share.
pub(super) struct Common {
    pub(super) rotations: Rotations,
    /// Reads of versions by number: callers choose them, so they may not crowd out the rest.
    versions: Bucket,
}

impl Common {
    pub(super) fn new() -> Self {
        Self { rotations: Rotations::new(), versions: Bucket::new(Duration::from_secs(1), 5) }
    }
}

pub(super) struct Entry {
    pub(super) key: SecretKey,
    declared: Arc<Declared>,
    common: Arc<Common>,
    value: ArcSwapOption<Value>,
    failure: ArcSwapOption<LastFailure>,
    /// Held during a fetch, so that there is one at a time.
    fetching: tokio::sync::Mutex<Backoff>,
    /// Changes with the value's version.
    changes: watch::Sender<u64>,
    /// Rung when the value was found dead, so that the refresher does not sleep on.
    died: Arc<Notify>,
    retired: AtomicBool,
    /// Leases of earlier values, which the application may still use, and since when they are
    /// no longer served.
    replaced: Mutex<Vec<(Held, Instant)>>,
}

struct LastFailure {
    error: ReadError,
    not_logged_in: bool,
    /// Since when Vault denies the read, without a success in between.
    denied: Option<Instant>,
    at: Instant,
    retry_at: Instant,
}

impl Entry {
    pub(super) fn new(key: SecretKey, declared: Arc<Declared>, common: Arc<Common>) -> Self {
        let (shortest, longest) = (Duration::from_secs(1), Duration::from_mins(1));
        let longest = match &declared.what {
            Declaration::Secret(spec) => spec.refresh.clamp(shortest, longest),
            Declaration::Certificate(_) => longest,
        };
        Self {
            key,
            declared,
            common,
            value: ArcSwapOption::empty(),
            failure: ArcSwapOption::empty(),
            fetching: tokio::sync::Mutex::new(Backoff::new(Duration::from_secs(1), longest)),
            changes: watch::Sender::new(0),
            died: Arc::default(),
            retired: AtomicBool::new(false),
            replaced: Mutex::default(),
        }
    }

    pub(super) fn is_of(&self, declared: &Arc<Declared>) -> bool {
        Arc::ptr_eq(&self.declared, declared)
    }

    /// What a caller gets now. Never a value past its end, not even in its last instant.
    pub(super) fn answer(&self) -> Result<Served, ReadError> {
        match self.value.load().as_ref() {
            Some(value) => value.serve(&self.declared.what, self.end(value)).ok_or_else(|| {
                self.died.notify_one();
                self.last_failure().unwrap_or(ReadError::Expired)
            }),
            None => Err(self.last_failure().unwrap_or(ReadError::NotReady)),
        }
    }

    /// From when on `value` must not be served.
    fn end(&self, value: &Value) -> Instant {
        let denied = self.failure.load().as_ref().and_then(|failure| failure.denied);
        value.end_when_denied(&self.declared.what, denied)
    }

    /// Follows the changes of the value's version.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The leases and certificates, this value's and those of earlier ones, that still live and
    /// are to be given back. `by_themselves` leaves out those that end with our own token.
    pub(super) fn leases(&self, by_themselves: bool) -> Vec<Handle> {
        let value = self.value.load();
        let current = value.as_ref().and_then(|value| value.lease.as_ref());
        let replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |lease: &&Held| {
            lease.lives() && lease.is_to_be_revoked() && (!by_themselves || lease.outlives_us())
        };
        let earlier = replaced.iter().map(|(lease, _)| lease);
        current.into_iter().chain(earlier).filter(wanted).map(|l| l.handle.clone()).collect()
    }

    /// Takes out the replaced certificates whose time to be revoked has come.
    pub(super) fn take_overdue(&self) -> Vec<Handle> {
        let Declaration::Certificate(spec) = &self.declared.what else { return Vec::new() };
        let Some(grace) = spec.revoke_replaced_after else { return Vec::new() };
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        let overdue = replaced.extract_if(.., |(_, since)| *since + grace <= now());
        overdue.filter(|(lease, _)| lease.lives()).map(|(lease, _)| lease.handle).collect()
    }

    /// Whether the value lives at least `least` longer; what has no end does.
    pub(super) fn lives_for(&self, least: Duration) -> bool {
        self.answer().is_ok_and(|served| served.expires_in.is_none_or(|left| left >= least))
    }

    /// Whether another lease could be that long: this one was, when it was new.
    pub(super) fn could_live_for(&self, least: Duration) -> bool {
        let value = self.value.load();
        let held = value.as_ref().and_then(|value| value.lease.as_ref());
        held.is_none_or(|held| held.granted >= least)
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

    /// How much longer the value may be served, when there is one.
    pub(super) fn left(&self) -> Option<Duration> {
        let value = self.value.load();
        let end = self.end(value.as_ref()?);
        Some(end.saturating_duration_since(now())).filter(|left| !left.is_zero())
    }

    pub(super) fn confirmed_ago(&self) -> Option<Duration> {
        self.value.load().as_ref().map(|value| now().saturating_duration_since(value.confirmed))
    }

    /// The last attempt failed because there was no login.
    pub(super) fn waits_for_login(&self) -> bool {
        self.failure.load().as_ref().is_some_and(|failure| failure.not_logged_in)
    }

    /// The next step is due now.
    pub(super) fn hurry(&self) {
        self.died.notify_one();
    }

    /// Rings when the value was found dead before its next step was due.
    pub(super) fn died(&self) -> Arc<Notify> {
        Arc::clone(&self.died)
    }

    /// When the next step is due.
    pub(super) fn due_in(&self) -> Duration {
        let value = self.value.load();
        let what = &self.declared.what;
        let until_dead = value
            .as_ref()
            .map_or(Duration::MAX, |value| self.end(value).saturating_duration_since(now()));
        match (self.failure.load().as_ref(), value.as_ref()) {
            (Some(failure), _) => {
                let wait = failure.retry_at.saturating_duration_since(Instant::now());
                if until_dead.is_zero() { wait } else { wait.min(until_dead) }
            }
            (None, Some(value)) => value.due_in(what).min(until_dead),
            (None, None) => match what {
                Declaration::Secret(spec) => spec.refresh,
                Declaration::Certificate(_) => Duration::from_secs(1),
            },
        }
    }

    /// The next step: more life for the lease where that can be had, else another read.
    pub(super) async fn step(&self, upstream: &Upstream) {
        self.wipe_if_dead();
        let step = self.value.load().as_ref().map(|value| value.step());
        match step {
            Some(Step::Renew(lease_id)) => self.renew(upstream, &lease_id).await,
            _ => self.look_again(upstream).await,
        }
    }

    /// Like [`fetch`](Self::fetch), but what Vault's metadata confirm is not read.
    async fn look_again(&self, upstream: &Upstream) {
        let asked_at = now();
        let mut backoff = self.fetching.lock().await;
        if self.was_fetched_since(asked_at) {
            return;
        }
        match self.confirm(upstream).await {
            Ok(Confirmed::Same) => backoff.reset(),
            Ok(Confirmed::Other) => self.read(upstream, &mut backoff).await,
            Ok(Confirmed::Unknown) => {
                self.read(upstream, &mut backoff).await;
                if self.failure.load().is_none() {
                    self.declared.metadata.store(false, Ordering::Relaxed);
                }
            }
            Err(error) => self.fail(&error, &mut backoff),
        }
    }

    /// After a failure of any kind the whole is read, so that nothing can be wrong with the
    /// metadata alone for long.
    async fn confirm(&self, upstream: &Upstream) -> Result<Confirmed, VaultError> {
        let value = self.value.load_full().filter(|_| self.failure.load().is_none());
        let value = value.filter(|_| self.declared.metadata.load(Ordering::Relaxed));
        let held = value.as_ref().and_then(|value| value.recognizable());
        let (Some(value), Some(held), Declaration::Secret(spec)) =
            (value, held, &self.declared.what)
        else {
            return Ok(Confirmed::Other);
        };
        let said = upstream.confirm(&spec.path, held).await?;
        if said == Confirmed::Same && !self.is_retired() {
            event::secret_fetched(&self.key.name, value.version, false, false);
            self.value.store(Some(Arc::new(value.confirm())));
        }
        Ok(said)
    }

    fn was_fetched_since(&self, asked_at: Instant) -> bool {
        let answered = self.value.load().as_ref().is_some_and(|value| value.confirmed > asked_at);
        answered || self.failure.load().as_ref().is_some_and(|failure| failure.at > asked_at)
    }

    async fn renew(&self, upstream: &Upstream, lease_id: &str) {
        let wanted_at = now();
        let mut backoff = self.fetching.lock().await;
        let renewed_meanwhile =
            self.value.load().as_ref().is_some_and(|value| value.confirmed > wanted_at);
        if renewed_meanwhile || self.waits() {
            return;
        }
        let asked = now();
        match upstream.renew(lease_id).await {
            Ok(renewed) if !renewed.duration.is_zero() => {
                backoff.reset();
                event::lease_renewed(&self.key.name, renewed.duration);
                self.extend(lease_id, renewed, asked);
                self.failure.store(None);
            }
            Err(error) if error.retry() == Retry::Backoff => {
                let retry_in = backoff.after_failure_with(error.retry_after, self.left());
                event::lease_renewal_failed(&self.key.name, &error, retry_in);
                self.note(&error, retry_in);
            }
            // Gone, or not to be extended: another one, while this one may still live.
            outcome => {
                if let Err(error) = outcome {
                    event::lease_renewal_failed(&self.key.name, &error, Duration::ZERO);
                    if matches!(error.failure, Failure::Refused(_, Refusal::Lease)) {
                        // Revoked behind our back: not to be served any more.
                        self.wipe();
                    }
                }
                self.read(upstream, &mut backoff).await;
            }
        }
    }

    fn extend(&self, lease_id: &str, renewed: Renewed, asked: Instant) {
        let old = self.value.load();
        let Some((old, lease)) = old.as_ref().and_then(|v| Some((v, v.lease.as_ref()?))) else {
            return;
        };
        if matches!(&lease.handle, Handle::Lease(id) if **id == *lease_id) {
            self.value.store(Some(Arc::new(Value {
                secret: Arc::clone(&old.secret),
                version: old.version,
                confirmed: now(),
                unread: 0,
                lease: Some(lease.renewed(renewed, asked)),
            })));
        }
    }

    /// Asks Vault, unless another task did so while this one waited its turn.
    pub(super) async fn fetch(&self, upstream: &Upstream) {
        let asked_at = now();
        let mut backoff = self.fetching.lock().await;
        if self.was_fetched_since(asked_at) {
            return;
        }
        self.read(upstream, &mut backoff).await;
    }

    async fn read(&self, upstream: &Upstream, backoff: &mut Backoff) {
        if self.key.version.is_some()
            && let Err(wait) = self.common.versions.take(Duration::ZERO)
        {
            self.fail(&self.held_back(wait), backoff);
            return;
        }
        let is_leased = self.value.load().as_ref().is_some_and(|value| value.lease.is_some());
        let makes_one = is_leased || matches!(self.declared.what, Declaration::Certificate(_));
        if makes_one && let Err(wait) = self.declared.new_leases.take(Duration::ZERO) {
            self.fail(&self.held_back(wait), backoff);
            return;
        }
        let asked = now();
        let answer = match &self.declared.what {
            Declaration::Secret(spec) => upstream.read(&spec.path, self.key.version).await,
            Declaration::Certificate(spec) => upstream.issue(spec).await,
        };
        match answer {
            // An engine that has no versions answers with what it has, whatever was asked for.
            Ok(secret) if self.key.version.is_some() && secret.kv_version() != self.key.version => {
                self.remember(self.held(&secret, asked));
                self.fail(&VaultError::new(Failure::NoSuchVersion, self.path()), backoff);
            }
            Ok(secret) => {
                backoff.reset();
                self.take(secret, asked);
            }
            Err(error) => self.fail(&error, backoff),
        }
    }

    fn held(&self, secret: &Secret, asked: Instant) -> Option<Held> {
        secret.lease().map(|lease| Held::new(lease, asked, self.declared.what.refresh()))
    }

    /// Keeps a lease that is not in use, to be handed back.
    fn remember(&self, lease: Option<Held>) {
        let mut all = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(lease, _)| lease.lives());
        all.extend(lease.map(|lease| (lease, now())));
    }

    /// For messages.
    fn path(&self) -> &str {
        match &self.declared.what {
            Declaration::Secret(spec) => spec.path.as_str(),
            Declaration::Certificate(spec) => spec.mount.as_str(),
        }
    }

    fn held_back(&self, wait: Duration) -> VaultError {
        let error = VaultError::new(Failure::Ceiling, self.path());
        VaultError { retry_after: Some(wait), ..error }
    }

    fn take(&self, secret: Secret, asked: Instant) {
        // A version asked for by number is no news of the name.
        let (version, rotated) = match self.key.version {
            None => self.declared.version_of(&secret),
            Some(version) => (version, false),
        };
        let etag = *secret.etag();
        let lease = self.held(&secret, asked);
        let old = self.value.load();
        let unchanged =
            old.as_ref().filter(|old| old.version == version && old.secret.etag() == secret.etag());
        let changed = unchanged.is_none();
        self.remember(old.as_ref().and_then(|old| old.lease.clone()));
        let secret = unchanged.map_or_else(|| Arc::new(secret), |old| Arc::clone(&old.secret));
        self.value.store(Some(Arc::new(Value {
            secret,
            version,
            confirmed: now(),
            unread: 0,
            lease,
        })));
        if self.is_retired() {
            self.wipe();
            return;
        }
        let recovered = self.failure.swap(None).is_some();
        match &self.declared.what {
            Declaration::Secret(_) => {
                event::secret_fetched(&self.key.name, version, changed, recovered);
            }
            Declaration::Certificate(_) => self.note_issued(version),
        }
        if changed {
            self.changes.send_replace(version);
        }
        if rotated {
            self.common.rotations.record(&self.key.name, version, etag);
        }
    }

    fn note_issued(&self, version: u64) {
        let value = self.value.load();
        let held = value.as_ref().and_then(|value| value.lease.as_ref());
        let serial = match held.map(|held| &held.handle) {
            Some(Handle::Certificate { serial, .. }) => Some(&**serial),
            _ => None,
        };
        let life = held.map(|held| held.granted);
        event::certificate_issued(&self.key.name, version, serial, life);
    }

    fn fail(&self, error: &VaultError, backoff: &mut Backoff) {
        let retry_in = backoff.after_failure_with(error.retry_after, self.left());
        event::fetch_failed(&self.key.name, self.declared.what.kind(), error, retry_in);
        self.note(error, retry_in);
    }

    fn note(&self, error: &VaultError, retry_in: Duration) {
        // Also once the value was wiped: a failure before the first value says "not ready".
        let seen_before = self.value.load().is_some()
            || self.failure.load().as_ref().is_some_and(|last| last.error != ReadError::NotReady);
        let told = ReadError::from_vault(error, seen_before);
        if told.is_gone() {
            self.wipe();
        }
        self.wipe_if_dead();
        let before = self.failure.load().as_ref().and_then(|last| last.denied);
        let denied = before.or_else(|| (told == ReadError::Denied).then(now));
        let retry_at = Instant::now() + retry_in;
        self.failure.store(Some(Arc::new(LastFailure {
            error: told,
            not_logged_in: error.failure == Failure::NotLoggedIn,
            denied,
            at: now(),
            retry_at,
        })));
    }

    /// Its declaration is not in force any more: it holds nothing from now on, also when a fetch
    /// under way ends later.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.wipe();
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Lets go of the value: it is wiped with its last reader.
    pub(super) fn wipe(&self) {
        self.value.store(None);
    }

    pub(super) fn wipe_if_dead(&self) {
        let dead = |value: &Arc<Value>| self.end(value) <= now();
        if self.value.load().as_ref().is_some_and(dead) {
            if self.failure.load().is_none() {
                let (error, at) = (ReadError::Expired, now());
                let retry_at = Instant::now();
                let (not_logged_in, denied) = (false, None);
                let failure = LastFailure { error, not_logged_in, denied, at, retry_at };
                self.failure.store(Some(Arc::new(failure)));
            }
            self.wipe();
            self.died.notify_one();
            event::expired(&self.key.name, self.declared.what.kind());
        }
    }

    /// Bytes of plaintext held.
    pub(super) fn len(&self) -> usize {
        self.value.load().as_ref().map_or(0, |value| value.secret.len())
    }
}
