//! What is ready to serve.
//!
//! moka gives capacity. Freshness is ours, on tokio's clock: moka runs its own clock, and drops
//! what expired only when somebody calls it. Single flight is ours too: a fetch belongs to the
//! cache and not to the first who asked for it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Declarations, SecretName};
use crate::lease::{Handle, spread};
use crate::server::Source;
use crate::vault::{Login, Upstream};

mod answer;
mod declared;
mod entry;
mod fetch;
mod flight;
mod held;
mod refresh;
mod reload;
mod rotation;
#[cfg(test)]
mod tests;
mod value;

pub use answer::{Freshness, ReadError, Served};
pub use reload::Another;
pub use rotation::{Rotation, Rotations};

use declared::{Common, Declared, SecretKey};
use entry::Entry;
use flight::Flights;

/// The start of a sidecar with many names is spread over as much for each, and this at most.
const BETWEEN_NAMES: Duration = Duration::from_millis(20);
const START: Duration = Duration::from_millis(500);

/// Values that died are wiped this soon after, even when nobody asks for them.
const SWEEP: Duration = Duration::from_secs(5);

/// The served secrets of the process. Cheap to clone.
#[derive(Clone)]
pub struct SecretCache {
    shared: Arc<Shared>,
}

struct Shared {
    declared: ArcSwap<BTreeMap<SecretName, Arc<Declared>>>,
    entries: moka::future::Cache<SecretKey, Arc<Entry>>,
    upstream: Upstream,
    flights: Flights,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Counts the fetches that ended.
    fetched: watch::Sender<u64>,
    common: Arc<Common>,
}

/// Entries that made room for others. moka lets go of them some time later.
type Evicted = Arc<Mutex<Vec<Weak<Entry>>>>;

impl SecretCache {
    /// An empty cache for `declarations`, holding at most about `capacity` bytes.
    pub fn new(declarations: &Declarations, capacity: u64, upstream: Upstream) -> Self {
        let weight = |key: &SecretKey, entry: &Arc<Entry>| {
            // With what an entry itself takes, so that many small ones count too.
            let bytes = key.name.as_str().len() + entry.len() + 2048;
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let evicted = Evicted::default();
        let noted = Arc::clone(&evicted);
        let entries = moka::future::Cache::builder()
            .max_capacity(capacity)
            .weigher(weight)
            .eviction_listener(move |_, entry: Arc<Entry>, cause| {
                if cause.was_evicted() {
                    let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                    noted.push(Arc::downgrade(&entry));
                }
            })
            .build();
        let declared = ArcSwap::from_pointee(reload::declare(declarations, &BTreeMap::new()));
        let (flights, tasks, stop, fetched) = Default::default();
        let common = Arc::new(Common::new());
        let shared = Shared { declared, entries, upstream, flights, tasks, stop, fetched, common };
        let cache = Self { shared: Arc::new(shared) };
        let sweeper = cache.clone();
        cache.shared.tasks.spawn(async move { sweeper.sweep(&evicted).await });
        cache
    }

    /// The answer for a declared name, fetched first when it is not there yet. Simultaneous
    /// callers share one fetch.
    ///
    /// Cancel safety: a fetch goes on, for whoever asks next. So it is with the other ways to
    /// bring one about.
    ///
    /// # Errors
    /// [`ReadError`]; for an undeclared name it is [`ReadError::Missing`].
    pub async fn get(&self, name: &SecretName, version: Option<u64>) -> Result<Served, ReadError> {
        if let Some(answer) = self.cached(name, version) {
            return answer;
        }
        let entry = self.entry(name, version).await?;
        if version.is_some() && entry.wants_fetch() {
            self.fetch_again(&entry).await?;
        }
        entry.answer()
    }

    /// The answer when it is there without a fetch; never waits.
    pub fn cached(
        &self,
        name: &SecretName,
        version: Option<u64>,
    ) -> Option<Result<Served, ReadError>> {
        let entry = self.present(name, version)?;
        (version.is_none() || !entry.wants_fetch()).then(|| entry.answer())
    }

    /// Like [`get`](Self::get), with at least `min_ttl` of life left: renewed or replaced first
    /// where that is needed and Vault gives so much.
    ///
    /// # Errors
    /// [`ReadError::MinTtlUnmet`], and those of `get`.
    pub async fn get_living(
        &self,
        name: &SecretName,
        min_ttl: Duration,
    ) -> Result<Served, ReadError> {
        self.get(name, None).await?;
        let entry = self.entry(name, None).await?;
        // A moment passes on the way: what was granted whole is never there whole.
        let possible = entry.could_live_for(min_ttl + Duration::from_secs(1));
        // A second time, because the first may have been under way for less.
        for _ in 0..2 {
            if entry.lives_for(min_ttl) || !possible || entry.waits() {
                break;
            }
            self.fetch_living(&entry, min_ttl).await?;
        }
        if entry.lives_for(min_ttl) { entry.answer() } else { Err(ReadError::MinTtlUnmet) }
    }

    /// Follows the changes of a name's version; `None` while it is not cached.
    pub fn changes(&self, name: &SecretName) -> Option<watch::Receiver<u64>> {
        Some(self.present(name, None)?.changes())
    }

    /// Reads the name again now.
    ///
    /// # Errors
    /// [`ReadError`], also when an older value is still good: the caller asked for a new one.
    pub async fn refresh(&self, name: &SecretName) -> Result<Served, ReadError> {
        let entry = match self.present(name, None) {
            Some(entry) => {
                self.fetch_again(&entry).await?;
                entry
            }
            None => self.entry(name, None).await?,
        };
        match entry.last_failure() {
            Some(error) => Err(error),
            None => entry.answer(),
        }
    }

    /// The names in `required` without an answer at the moment.
    pub fn pending(&self) -> Vec<SecretName> {
        let declared = self.shared.declared.load();
        let missing = |name: &SecretName| !matches!(self.cached(name, None), Some(Ok(_)));
        let required = declared.iter().filter(|(_, declared)| declared.what().is_required());
        required.filter(|(name, _)| missing(name)).map(|(name, _)| name.clone()).collect()
    }

    /// Starts to fetch every required name, and to keep it fresh: one at once, the others spread
    /// over a moment, so that many sidecars that start together do not ask for all at once.
    pub fn fetch_required(&self) {
        let mut over = Duration::ZERO;
        for (name, declared) in self.shared.declared.load().iter() {
            if declared.what().is_required() {
                let (cache, name, moment) = (self.clone(), name.clone(), spread(over));
                over = (over + BETWEEN_NAMES).min(START);
                self.shared.tasks.spawn(async move {
                    let fetch = async {
                        tokio::time::sleep(moment).await;
                        cache.get(&name, None).await
                    };
                    tokio::select! {
                        _ = fetch => {}
                        () = cache.shared.stop.cancelled() => {}
                    }
                });
            }
        }
    }

    /// Wipes everything. Answers in flight hold on to what they serve until they end.
    pub async fn close(&self) {
        for (_, entry) in &self.shared.entries {
            entry.wipe();
        }
        self.shared.entries.invalidate_all();
        self.shared.entries.run_pending_tasks().await;
    }

    /// Changes with the end of every fetch.
    pub fn fetches(&self) -> watch::Receiver<u64> {
        self.shared.fetched.subscribe()
    }

    /// Every declared name, with the time since Vault last confirmed its value.
    pub fn ages(&self) -> Vec<(SecretName, Option<Duration>)> {
        let declared = self.shared.declared.load();
        let age = |name: &SecretName| self.present(name, None)?.confirmed_ago();
        declared.keys().map(|name| (name.clone(), age(name))).collect()
    }

    /// Life left of a name's value; `None` without a value, or when it has no end.
    pub fn expires_in(&self, name: &SecretName) -> Option<Duration> {
        self.present(name, None)?.answer().ok()?.expires_in
    }

    /// Cached entries and their plaintext, in bytes.
    pub fn size(&self) -> (usize, usize) {
        self.shared.entries.iter().fold((0, 0), |(n, bytes), (_, e)| (n + 1, bytes + e.len()))
    }

    fn declared(&self, name: &SecretName) -> Option<Arc<Declared>> {
        self.shared.declared.load().get(name).cloned()
    }

    fn present(&self, name: &SecretName, version: Option<u64>) -> Option<Arc<Entry>> {
        let latest = || self.shared.declared.load().get(name)?.latest();
        if version.is_none()
            && let Some(entry) = latest()
        {
            return Some(entry);
        }
        let key = SecretKey { name: name.clone(), version };
        // moka's lookup is async for its own upkeep; it never waits for anything of ours.
        let lookup = pin!(self.shared.entries.get(&key));
        match lookup.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(found) => found.filter(|entry| !entry.is_retired()),
            Poll::Pending => None,
        }
    }

    fn login(&self) -> watch::Receiver<Login> {
        self.shared.upstream.login()
    }

    fn revoke(&self, leases: impl IntoIterator<Item = Handle>) {
        for handle in leases {
            let upstream = self.shared.upstream.clone();
            self.shared.tasks.spawn(async move {
                // Said already.
                let _ = upstream.revoke(handle).await;
            });
        }
    }

    fn announce(&self) {
        self.shared.fetched.send_modify(|fetches| *fetches += 1);
    }

    /// Weighs an entry again whose value changed its size.
    async fn reweigh(&self, entry: Arc<Entry>) {
        let same = |cached: Arc<Entry>| Arc::ptr_eq(&cached, &entry) && !entry.is_retired();
        if self.present(&entry.key.name, entry.key.version).is_some_and(same) {
            self.shared.entries.insert(entry.key.clone(), entry).await;
        }
    }

    async fn sweep(&self, evicted: &Evicted) {
        let mut evicted_before: Vec<Weak<Entry>> = Vec::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(SWEEP) => {}
                () = self.shared.stop.cancelled() => return,
            }
            for (_, entry) in &self.shared.entries {
                entry.wipe_if_dead();
            }
            for declared in self.shared.declared.load().values() {
                self.revoke(declared.take_overdue());
            }
            self.shared.entries.run_pending_tasks().await;
            // Not at once: who fetched an entry that found no room is about to answer with it.
            for entry in evicted_before.drain(..).filter_map(|entry| entry.upgrade()) {
                // Whoever was answered with them may use their leases to the end.
                entry.declared().remember(entry.retire());
            }
            evicted_before.append(&mut evicted.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Source for SecretCache {
    async fn get(&self, name: &SecretName, version: Option<u64>) -> Result<Served, ReadError> {
        self.get(name, version).await
    }

    async fn get_living(&self, name: &SecretName, min_ttl: Duration) -> Result<Served, ReadError> {
        self.get_living(name, min_ttl).await
    }

    fn changes(&self, name: &SecretName) -> Option<watch::Receiver<u64>> {
        self.changes(name)
    }

    fn rotations(&self) -> &Rotations {
        &self.shared.common.rotations
    }

    fn cached(&self, name: &SecretName) -> Option<Result<Served, ReadError>> {
        self.cached(name, None)
    }

    fn peek(&self, name: &SecretName) -> Option<Served> {
        self.present(name, None)?.answer().ok()
    }

    async fn refresh(&self, name: &SecretName) -> Result<Served, ReadError> {
        self.refresh(name).await
    }
}
