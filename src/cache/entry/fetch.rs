//! What an entry asks of Vault, and what it makes of the answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::{Entry, LastFailure};
use crate::cache::answer::ReadError;
use crate::cache::held::Held;
use crate::cache::value::{Step, Value};
use crate::config::Declaration;
use crate::lease::{Backoff, Handle, now};
use crate::observe::event;
use crate::secret::Secret;
use crate::vault::{Confirmed, Failure, Refusal, Renewed, Retry, Upstream, VaultError};

/// A Vault whose answers are older than the value for as long has gone back in time itself.
const LONGEST_BEHIND: Duration = Duration::from_mins(1);

impl Entry {
    /// The next step: more life for the lease where that can be had, else another read.
    pub(in crate::cache) async fn step(&self, upstream: &Upstream) {
        self.hurried.store(false, Ordering::SeqCst);
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
        let mut backoff = self.turn().await;
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
        let what = self.declared.what();
        let (Some(value), Some(held), Declaration::Secret(spec)) = (value, held, &*what) else {
            return Ok(Confirmed::Other);
        };
        let said = upstream.confirm(&spec.path, held).await?;
        if said == Confirmed::Same && !self.is_retired() {
            event::secret_fetched(&self.key.name, value.version, false, false);
            self.value.store(Some(Arc::new(value.confirm(&what))));
        }
        Ok(said)
    }

    fn was_fetched_since(&self, asked_at: Instant) -> bool {
        let answered = self.value.load().as_ref().is_some_and(|value| value.confirmed > asked_at);
        answered || self.failure.load().as_ref().is_some_and(|failure| failure.at > asked_at)
    }

    async fn renew(&self, upstream: &Upstream, lease_id: &str) {
        let wanted_at = now();
        let mut backoff = self.turn().await;
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
            let extended = old.extended(lease.renewed(renewed, asked));
            self.value.store(Some(Arc::new(extended)));
        }
    }

    /// Asks Vault, unless another task did so while this one waited its turn.
    pub(in crate::cache) async fn fetch(&self, upstream: &Upstream) {
        let asked_at = now();
        let mut backoff = self.turn().await;
        if self.was_fetched_since(asked_at) {
            return;
        }
        self.read(upstream, &mut backoff).await;
    }

    async fn read(&self, upstream: &Upstream, backoff: &mut Backoff) {
        let counted = match self.may_read() {
            Ok(counted) => counted,
            Err(error) => return self.fail(&error, backoff),
        };
        let (asked, what) = (now(), self.declared.what());
        let answer = match &*what {
            Declaration::Secret(spec) => upstream.read(&spec.path, self.key.version).await,
            Declaration::Certificate(spec) => upstream.issue(spec).await,
        };
        if let Ok(secret) = &answer {
            self.declared.note_answer(secret, counted);
        }
        match answer {
            // An engine that has no versions answers with what it has, whatever was asked for.
            Ok(secret) if self.key.version.is_some() && secret.kv_version() != self.key.version => {
                let lease = self.held(&secret, asked);
                if self.is_retired() {
                    Self::give_back(upstream, lease).await;
                } else {
                    self.declared.remember(lease);
                }
                self.fail(&VaultError::new(Failure::NoSuchVersion, &self.path()), backoff);
            }
            Ok(secret) if self.is_ahead_of(&secret) => {
                self.fail(&VaultError::new(Failure::Behind, &self.path()), backoff);
            }
            Ok(secret) => {
                backoff.reset();
                Self::give_back(upstream, self.take(secret, asked)).await;
            }
            Err(error) => self.fail(&error, backoff),
        }
    }

    /// Whether the read was counted as one that makes a lease or a certificate; why it is not to
    /// be made.
    fn may_read(&self) -> Result<bool, VaultError> {
        if self.key.version.is_some() {
            if self.declared.is_leased() {
                return Err(VaultError::new(Failure::NoSuchVersion, &self.path()));
            }
            self.common.versions.take(Duration::ZERO).map_err(|wait| self.held_back(wait))?;
        }
        self.declared.may_make_one().map_err(|wait| self.held_back(wait))
    }

    /// A standby that lags behind answers with what was before. Not believed for long: Vault
    /// itself may have been put back.
    fn is_ahead_of(&self, secret: &Secret) -> bool {
        let since = self.failure.load().as_ref().and_then(|failure| failure.behind);
        let value = self.value.load();
        let held = value.as_ref().and_then(|value| value.kv());
        self.key.version.is_none()
            && held.zip(secret.kv()).is_some_and(|(held, new)| new.is_older_than(&held))
            && since.is_none_or(|since| now() - since < LONGEST_BEHIND)
    }

    /// What came when nobody wanted it any more.
    async fn give_back(upstream: &Upstream, lease: Option<Held>) {
        if let Some(lease) = lease.filter(Held::is_to_be_revoked) {
            // Said already.
            let _ = upstream.revoke(lease.handle).await;
        }
    }

    fn held(&self, secret: &Secret, asked: Instant) -> Option<Held> {
        secret.lease().map(|lease| Held::new(lease, asked, self.declared.what().refresh()))
    }

    /// For messages.
    fn path(&self) -> String {
        match &*self.declared.what() {
            Declaration::Secret(spec) => spec.path.to_string(),
            Declaration::Certificate(spec) => spec.mount.to_string(),
        }
    }

    fn held_back(&self, wait: Duration) -> VaultError {
        let error = VaultError::new(Failure::Ceiling, &self.path());
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
        self.declared.remember(old.as_ref().and_then(|old| old.lease.clone()));
        // What is no part of the tag, the time until Vault rotates it, is another one all the same.
        let kept = unchanged.filter(|_| secret.rotates_in().is_none());
        let secret = kept.map_or_else(|| Arc::new(secret), |old| Arc::clone(&old.secret));
        let what = self.declared.what();
        self.value.store(Some(Arc::new(Value::new(secret, version, lease, &what))));
        if self.is_retired() {
            return self.value.swap(None).and_then(|value| value.lease.clone());
        }
        let recovered = self.failure.swap(None).is_some();
        match &*what {
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
        if error.failure == Failure::NotLoggedIn {
            event::fetch_waits_for_login(&self.key.name, retry_in);
        } else {
            event::fetch_failed(&self.key.name, self.declared.what().kind(), error, retry_in);
        }
        self.note(error, retry_in);
    }

    fn note(&self, error: &VaultError, retry_in: Duration) {
        // Also once the value was wiped: a failure before the first value says "not ready".
        let seen_before = self.value.load().is_some()
            || self.failure.load().as_ref().is_some_and(|last| last.error != ReadError::NotReady);
        let told = ReadError::from_vault(error, seen_before);
        // A certificate is good without the engine that issued it.
        if told.is_gone() && matches!(*self.declared.what(), Declaration::Secret(_)) {
            self.wipe();
        }
        self.wipe_if_dead();
        let before = self.failure.load();
        let before = before.as_ref().map(|last| (last.denied, last.behind)).unwrap_or_default();
        let denied = before.0.or_else(|| (told == ReadError::Denied).then(now));
        // Without a break: an outage tells nothing of what Vault has.
        let behind = (error.failure == Failure::Behind).then(|| before.1.unwrap_or_else(now));
        let retry_at = Instant::now() + retry_in;
        self.failure.store(Some(Arc::new(LastFailure {
            error: told,
            not_logged_in: error.failure == Failure::NotLoggedIn,
            denied,
            behind,
            at: now(),
            retry_at,
        })));
    }
}
