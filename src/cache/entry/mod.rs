//! One cached name (or one version of it): its value, its last failure, and what they mean now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::answer::{Freshness, ReadError, Served};
use super::declared::{Common, Declared, SecretKey, is_to_be_handed_back};
use super::held::Held;
use super::value::Value;
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
    /// Rung when something happened that may change what is due, so that the refresher does not
    /// sleep on.
    bell: Arc<Notify>,
    /// The next step is due, whatever the value says.
    hurried: AtomicBool,
    retired: AtomicBool,
}

#[derive(Clone)]
struct LastFailure {
    error: ReadError,
    not_logged_in: bool,
    /// Since when Vault denies the read, without a success in between.
    denied: Option<Instant>,
    /// Since when Vault's answers are older than the value.
    behind: Option<Instant>,
    at: Instant,
    retry_at: Instant,
}

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_mins(1);

impl Entry {
    pub(super) fn new(key: SecretKey, declared: Arc<Declared>, common: Arc<Common>) -> Self {
        Self {
            key,
            declared,
            common,
            value: ArcSwapOption::empty(),
            failure: ArcSwapOption::empty(),
            fetching: tokio::sync::Mutex::new(Backoff::new(FIRST_RETRY, LONGEST_RETRY)),
            changes: watch::Sender::new(0),
            bell: Arc::default(),
            hurried: AtomicBool::new(false),
            retired: AtomicBool::new(false),
        }
    }

    /// Waits for its turn to ask Vault.
    async fn turn(&self) -> tokio::sync::MutexGuard<'_, Backoff> {
        let mut backoff = self.fetching.lock().await;
        // Each time anew, because a reload may have changed it.
        backoff.set_cap(match &*self.declared.what() {
            Declaration::Secret(spec) => spec.refresh.clamp(FIRST_RETRY, LONGEST_RETRY),
            Declaration::Certificate(_) => LONGEST_RETRY,
        });
        backoff
    }

    pub(super) fn is_of(&self, declared: &Arc<Declared>) -> bool {
        Arc::ptr_eq(&self.declared, declared)
    }

    pub(super) fn declared(&self) -> &Declared {
        &self.declared
    }

    /// What a caller gets now. Never a value past its end, not even in its last instant.
    pub(super) fn answer(&self) -> Result<Served, ReadError> {
        let value = self.value.load();
        let Some(value) = value.as_ref() else {
            return Err(self.last_failure().unwrap_or(ReadError::NotReady));
        };
        let what = self.declared.what_now();
        value.serve(&what, value.end_when_denied(&what, self.denied())).ok_or_else(|| {
            self.bell.notify_one();
            self.last_failure().unwrap_or(ReadError::Expired)
        })
    }

    /// From when on `value` must not be served.
    fn end(&self, value: &Value) -> Instant {
        value.end_when_denied(&self.declared.what_now(), self.denied())
    }

    /// Since when Vault denies the read.
    fn denied(&self) -> Option<Instant> {
        self.failure.load().as_ref()?.denied
    }

    /// Follows the changes of the value's version.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The lease or certificate of the value, when it still lives, is to be given back, and does
    /// not end with our own token.
    pub(super) fn lease(&self) -> Option<Handle> {
        let value = self.value.load();
        let lease = value.as_ref().and_then(|value| value.lease.as_ref());
        let lease = lease.filter(|lease| is_to_be_handed_back(lease) && lease.outlives_us());
        lease.map(|lease| lease.handle.clone())
    }

    /// Whether the value lives at least `least` longer; what has no end does.
    pub(super) fn lives_for(&self, least: Duration) -> bool {
        self.answer().is_ok_and(|served| served.expires_in.is_none_or(|left| left >= least))
    }

    /// Whether this lease or another one could be that long.
    pub(super) fn could_live_for(&self, least: Duration) -> bool {
        let value = self.value.load();
        let held = value.as_ref().and_then(|value| value.lease.as_ref());
        held.is_none_or(|held| held.could_live_for(least))
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

    /// The next step is due now, also when an attempt failed a moment ago.
    pub(super) fn hurry(&self) {
        self.failure.rcu(|failure| {
            let failure = failure.as_deref()?;
            Some(Arc::new(LastFailure { retry_at: Instant::now(), ..failure.clone() }))
        });
        self.hurried.store(true, Ordering::SeqCst);
        self.bell.notify_one();
    }

    /// Rings when something happened that may change what is due.
    pub(super) fn bell(&self) -> Arc<Notify> {
        Arc::clone(&self.bell)
    }

    /// When the next step is due. Does not change but by what happens: who looks again then finds
    /// that it is.
    pub(super) fn due_in(&self) -> Duration {
        let value = self.value.load();
        let until_dead = value
            .as_ref()
            .map_or(Duration::MAX, |value| self.end(value).saturating_duration_since(now()));
        let wait = match (self.failure.load().as_ref(), value.as_ref()) {
            _ if self.hurried.load(Ordering::SeqCst) => return Duration::ZERO,
            (Some(failure), _) => failure.retry_at.saturating_duration_since(Instant::now()),
            (None, Some(value)) => value.due_in(),
            (None, None) => return Duration::ZERO,
        };
        if until_dead.is_zero() { wait } else { wait.min(until_dead) }
    }

    /// Its declaration is to be kept in another way.
    pub(super) fn retune(&self) {
        let what = self.declared.what();
        self.value.rcu(|value| value.as_ref().map(|value| Arc::new(value.retuned(&what))));
        self.bell.notify_one();
    }

    /// Vault is another one from now on. Returns the lease or certificate that it cannot end.
    pub(super) fn leave_behind(&self) -> Option<Handle> {
        let lease = self.lease();
        self.value.rcu(|value| value.as_ref().map(|value| Arc::new(value.left_behind())));
        lease
    }

    /// Its declaration is not in force any more: it holds nothing from now on, also when a fetch
    /// under way ends later. Returns its lease; what comes later is given back at once.
    pub(super) fn retire(&self) -> Option<Held> {
        self.retired.store(true, Ordering::SeqCst);
        self.value.swap(None).and_then(|value| value.lease.clone())
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
                let (not_logged_in, denied, behind) = (false, None, None);
                let failure = LastFailure { error, not_logged_in, denied, behind, at, retry_at };
                self.failure.store(Some(Arc::new(failure)));
            }
            self.wipe();
            self.bell.notify_one();
            event::expired(&self.key.name, self.declared.what().kind());
        }
    }

    /// Bytes of plaintext held.
    pub(super) fn len(&self) -> usize {
        self.value.load().as_ref().map_or(0, |value| value.secret.len())
    }
}
