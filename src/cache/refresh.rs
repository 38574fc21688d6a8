//! Keeping one entry fresh in the background, for as long as it is cached.

use std::sync::{Arc, Weak};

use tokio::sync::watch;

use super::SecretCache;
use super::entry::Entry;
use crate::lease::after_late_login;
use crate::vault::{Login, Upstream};

pub(super) struct Refresher {
    pub(super) entry: Weak<Entry>,
    pub(super) upstream: Upstream,
    pub(super) login: watch::Receiver<Login>,
}

impl Refresher {
    /// Ends when the entry is evicted.
    pub(super) async fn run(mut self, cache: &SecretCache) {
        while let Some(entry) = self.entry() {
            let waits_for_login = entry.waits_for_login();
            let (wait, died) = (entry.due_in(), entry.died());
            // Not held while waiting: eviction drops it.
            drop(entry);
            self.login.mark_unchanged();
            let logged_in = tokio::select! {
                () = tokio::time::sleep(wait) => false,
                () = died.notified() => false,
                () = logged_in(&mut self.login), if waits_for_login => true,
            };
            if logged_in {
                let left = self.entry().and_then(|entry| entry.left());
                tokio::time::sleep(after_late_login(left)).await;
            }
            let Some(entry) = self.entry() else { return };
            entry.wipe_if_dead();
            // The value's end is no reason to ask before Vault wants to be asked again.
            if entry.waits() && !logged_in {
                continue;
            }
            let before = entry.len();
            entry.step(&self.upstream).await;
            cache.announce();
            if entry.len() != before {
                cache.reweigh(Arc::clone(&entry)).await;
            }
        }
    }

    fn entry(&self) -> Option<Arc<Entry>> {
        self.entry.upgrade().filter(|entry| !entry.is_retired())
    }
}

/// The next login. One that is held already does not count: with it the fetch failed.
async fn logged_in(login: &mut watch::Receiver<Login>) {
    loop {
        if login.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if matches!(*login.borrow_and_update(), Login::In) {
            return;
        }
    }
}
