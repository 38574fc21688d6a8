//! One cached name (or one version of it): its value, its last failure, and what they mean now.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::answer::{Freshness, ReadError, Served};
use super::declared::{Common, Declared, SecretKey};
use super::value::{Held, Value};
use crate::config::Declaration;
use crate::lease::{Backoff, Handle, now};
use crate::observe::event;

mod fetch;

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

    pub(super) fn declared(&self) -> &Declared {
        &self.declared
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

    /// Its declaration is not in force any more: it holds nothing from now on, also when a fetch
    /// under way ends later. Returns the leases that still live; what comes later gives its
    /// own back.
    pub(super) fn retire(&self) -> Vec<Handle> {
        self.retired.store(true, Ordering::SeqCst);
        let leases = self.leases(false);
        self.wipe();
        leases
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
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
