//! What an entry asks of Vault, and what it makes of the answer.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Entry, LastFailure};
use crate::cache::answer::ReadError;
use crate::cache::value::{Held, Step, Value};
use crate::config::Declaration;
use crate::lease::{Backoff, Handle, now};
use crate::observe::event;
use crate::secret::Secret;
use crate::vault::{Confirmed, Failure, Refusal, Renewed, Retry, Upstream, VaultError};

impl Entry {
    /// The next step: more life for the lease where that can be had, else another read.
    pub(in crate::cache) async fn step(&self, upstream: &Upstream) {
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
    pub(in crate::cache) async fn fetch(&self, upstream: &Upstream) {
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
                Self::give_back(upstream, self.take(secret, asked)).await;
            }
            Err(error) => self.fail(&error, backoff),
        }
    }

    /// What came when nobody wanted it any more.
    async fn give_back(upstream: &Upstream, lease: Option<Held>) {
        if let Some(lease) = lease.filter(Held::is_to_be_revoked) {
            // Said already.
            let _ = upstream.revoke(lease.handle).await;
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

    /// Returns the lease when nobody wants it any more.
    fn take(&self, secret: Secret, asked: Instant) -> Option<Held> {
        if self.is_retired() {
            return self.held(&secret, asked);
        }
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
            return self.value.swap(None).and_then(|value| value.lease.clone());
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
        None
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
        // A certificate is good without the engine that issued it.
        if told.is_gone() && matches!(self.declared.what, Declaration::Secret(_)) {
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
}
