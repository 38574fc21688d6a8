//! The issuer's keys, kept fresh by one task. Requests read what it holds, and may ask it to look
//! again: one look at a time, and not often, however many ask.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::jwt::KeySet;
use crate::adapter::ambassador::connect::TrustError;
use crate::config::{JwtSpec, SecretName};
use crate::lease::{Backoff, jittered, now};
use crate::observe::tls as event;

mod fetch;
#[cfg(test)]
pub(super) mod issuer;
#[cfg(test)]
mod tests;

use fetch::Issuer;

/// An unknown key has the issuer asked once in this time: more forged names of keys make no more
/// requests, and a new key is not known for longer than this while they go on.
const BETWEEN_LOOKS: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_mins(1);

/// How long and how often.
#[derive(Debug, Clone, Copy)]
struct Timing {
    refresh: Duration,
    max_stale: Duration,
    timeout: Duration,
    between_looks: Duration,
}

/// The keys of one issuer.
pub(super) struct Keys {
    shared: Arc<Shared>,
    keeper: Mutex<Option<Keeper>>,
}

struct Shared {
    state: watch::Sender<State>,
    asked: Notify,
    timing: Timing,
}

#[derive(Default, Clone)]
struct State {
    keys: Option<Arc<KeySet>>,
    /// When the issuer last gave them.
    given: Option<Instant>,
    /// Looks so far, and the end of the last one.
    looks: u64,
    looked: Option<Instant>,
}

/// What was known at one moment.
pub(super) struct Seen {
    /// `None` when there are none, or only ones that are too old.
    pub(super) keys: Option<Arc<KeySet>>,
    looks: u64,
}

struct Keeper {
    name: SecretName,
    issuer: Issuer,
    shared: Arc<Shared>,
}

impl Keys {
    pub(super) fn new(name: &SecretName, spec: &JwtSpec) -> Result<Self, TrustError> {
        let &JwtSpec { refresh, max_stale, timeout, .. } = spec;
        let timing = Timing { refresh, max_stale, timeout, between_looks: BETWEEN_LOOKS };
        Self::with(name, spec, timing)
    }

    fn with(name: &SecretName, spec: &JwtSpec, timing: Timing) -> Result<Self, TrustError> {
        let state = watch::Sender::new(State::default());
        let shared = Arc::new(Shared { state, asked: Notify::new(), timing });
        let issuer = Issuer::new(spec)?;
        let keeper = Keeper { name: name.clone(), issuer, shared: Arc::clone(&shared) };
        Ok(Self { shared, keeper: Mutex::new(Some(keeper)) })
    }

    /// Starts to look, until `cancel`. The second time nothing is started.
    pub(super) fn start(&self, tracker: &TaskTracker, cancel: CancellationToken) {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            tracker.spawn(async move {
                tokio::select! {
                    () = cancel.cancelled() => {}
                    () = keeper.keep() => {}
                }
            });
        }
    }

    /// What is known now.
    pub(super) fn seen(&self) -> Seen {
        self.shared.seen(now())
    }

    /// As if the last look was long ago.
    #[cfg(test)]
    pub(super) fn forget_last_look(&self) {
        self.shared.state.send_modify(|state| state.looked = None);
    }

    /// What the issuer says after `seen`; `None` when it was asked a moment ago, or does not
    /// answer in time.
    pub(super) async fn newer_than(&self, seen: &Seen) -> Option<Seen> {
        let mut states = self.shared.state.subscribe();
        let is_newer = |state: &State| state.looks > seen.looks;
        if !is_newer(&states.borrow()) {
            if !self.shared.may_look(now()) {
                return None;
            }
            self.shared.asked.notify_one();
        }
        // Metadata and keys; then whoever looks gives up as well.
        let patience = self.shared.timing.timeout * 2;
        let came = timeout(patience, states.wait_for(is_newer)).await;
        matches!(came, Ok(Ok(_))).then(|| self.shared.seen(now()))
    }
}

impl Shared {
    fn seen(&self, now: Instant) -> Seen {
        let state = self.state.borrow();
        let good_for = self.timing.refresh + self.timing.max_stale;
        let good =
            state.given.is_some_and(|given| now.saturating_duration_since(given) <= good_for);
        Seen { keys: state.keys.clone().filter(|_| good), looks: state.looks }
    }

    fn may_look(&self, now: Instant) -> bool {
        let looked = self.state.borrow().looked;
        looked
            .is_none_or(|looked| now.saturating_duration_since(looked) >= self.timing.between_looks)
    }
}

impl Keeper {
    async fn keep(self) {
        let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        let mut failing = false;
        loop {
            let wait = match self.look().await {
                Ok(keys) => {
                    if failing || self.shared.state.borrow().keys.is_none() {
                        event::keys_read(&self.name, keys.len());
                    }
                    failing = false;
                    backoff.reset();
                    self.note(Some(keys));
                    // So that many sidecars do not ask at once.
                    jittered(self.shared.timing.refresh, 0.1)
                }
                Err(error) => {
                    let wait = backoff.after_failure(None).min(self.shared.timing.refresh);
                    if !failing {
                        event::keys_not_read(&self.name, &error, wait);
                    }
                    failing = true;
                    self.note(None);
                    wait
                }
            };
            self.rest(Instant::now() + wait).await;
        }
    }

    async fn look(&self) -> Result<KeySet, fetch::FetchError> {
        let patience = self.shared.timing.timeout;
        self.issuer.keys(patience).await
    }

    fn note(&self, keys: Option<KeySet>) {
        let now = now();
        self.shared.state.send_modify(|state| {
            if let Some(keys) = keys {
                state.keys = Some(Arc::new(keys));
                state.given = Some(now);
            }
            state.looks += 1;
            state.looked = Some(now);
        });
    }

    /// Until `end`, or until somebody asks and enough time has passed since the last look.
    async fn rest(&self, end: Instant) {
        loop {
            tokio::select! {
                () = sleep_until(end) => return,
                () = self.shared.asked.notified() => {}
            }
            if self.shared.may_look(now()) {
                return;
            }
        }
    }
}
