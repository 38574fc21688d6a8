//! Fetches: each in a task of the cache's own, shared by all who ask for the same.

use std::sync::Arc;
use std::time::Duration;

use super::answer::ReadError;
use super::declared::{SecretKey, is_to_be_handed_back};
use super::entry::Entry;
use super::flight::Flight;
use super::{SecretCache, refresh};
use crate::config::SecretName;

impl SecretCache {
    /// The entry, fetched first when it is not cached.
    pub(super) async fn entry(
        &self,
        name: &SecretName,
        version: Option<u64>,
    ) -> Result<Arc<Entry>, ReadError> {
        if let Some(entry) = self.present(name, version) {
            return Ok(entry);
        }
        let key = SecretKey { name: name.clone(), version };
        let (cache, flight) = (self.clone(), Flight::First(key.clone()));
        let fetch = async move { cache.first_fetch(&key).await };
        self.shared.flights.join(&self.shared.tasks, flight, fetch).await
    }

    async fn first_fetch(&self, key: &SecretKey) -> Result<Arc<Entry>, ReadError> {
        loop {
            // Another flight may have landed a moment ago.
            if let Some(entry) = self.present(&key.name, key.version) {
                return Ok(entry);
            }
            let declared = self.declared(&key.name).ok_or(ReadError::Missing)?;
            let entry =
                Arc::new(Entry::new(key.clone(), declared, Arc::clone(&self.shared.common)));
            entry.fetch(&self.shared.upstream).await;
            self.shared.entries.insert(key.clone(), Arc::clone(&entry)).await;
            // Not before the entry can be found: who hears of it looks it up.
            self.announce();
            if self.declared(&key.name).is_some_and(|now| entry.is_of(&now)) {
                if key.version.is_none() {
                    entry.declared().keep(&entry);
                    self.keep_fresh(&entry);
                }
                return Ok(entry);
            }
            // Declared anew, or not at all any more, while it was fetched.
            let lease = entry.retire().filter(is_to_be_handed_back);
            self.revoke(lease.map(|lease| lease.handle));
            self.shared.entries.invalidate(key).await;
        }
    }

    /// Asks Vault again.
    pub(super) async fn fetch_again(&self, entry: &Arc<Entry>) -> Result<Arc<Entry>, ReadError> {
        let (cache, wanted) = (self.clone(), Arc::clone(entry));
        let fetch = async move {
            wanted.fetch(&cache.shared.upstream).await;
            cache.announce();
            Ok(wanted)
        };
        let flight = Flight::Again(entry.key.clone());
        self.shared.flights.join(&self.shared.tasks, flight, fetch).await
    }

    /// Has the entry live at least `min_ttl` longer, if that can be had.
    pub(super) async fn fetch_living(
        &self,
        entry: &Arc<Entry>,
        min_ttl: Duration,
    ) -> Result<Arc<Entry>, ReadError> {
        let (cache, wanted) = (self.clone(), Arc::clone(entry));
        let fetch = async move {
            wanted.step(&cache.shared.upstream).await;
            if !wanted.lives_for(min_ttl) && !wanted.waits() {
                wanted.fetch(&cache.shared.upstream).await;
            }
            cache.announce();
            Ok(wanted)
        };
        let flight = Flight::Living(entry.key.clone());
        self.shared.flights.join(&self.shared.tasks, flight, fetch).await
    }

    fn keep_fresh(&self, entry: &Arc<Entry>) {
        let keeper = refresh::Refresher {
            entry: Arc::downgrade(entry),
            upstream: self.shared.upstream.clone(),
            login: self.login(),
        };
        let (cache, stop) = (self.clone(), self.shared.stop.clone());
        self.shared.tasks.spawn(async move {
            tokio::select! {
                () = keeper.run(&cache) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}
