//! Keeping one entry fresh in the background, for as long as it is cached.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::SecretCache;
use super::entry::Entry;
use crate::lease::{after_late_login, now, until};
use crate::vault::{Login, Upstream};

pub(super) struct Refresher {
    pub(super) entry: Weak<Entry>,
    pub(super) upstream: Upstream,
    pub(super) login: watch::Receiver<Login>,
}

impl Refresher {
    /// Ends when the entry is evicted.
    pub(super) async fn run(mut self, cache: &SecretCache) {
        loop {
            // Before the look at what is due: a login right after it counts.
            self.login.mark_unchanged();
            let Some(entry) = self.entry() else { return };
            entry.wipe_if_dead();
            let wait = entry.due_in();
            if wait.is_zero() {
                self.step(cache, &entry).await;
                continue;
            }
            // Not held while waiting: eviction drops it.
            drop(entry);
            self.wait(wait).await;
        }
    }

    async fn step(&self, cache: &SecretCache, entry: &Arc<Entry>) {
        let before = entry.len();
        entry.step(&self.upstream).await;
        cache.announce();
        if entry.len() != before {
            cache.reweigh(Arc::clone(entry)).await;
        }
    }

    /// Until then, or until something happened that may change what is due.
    async fn wait(&mut self, wait: Duration) {
        let Some(entry) = self.entry() else { return };
        let (rung, waits_for_login) = (entry.bell(), entry.waits_for_login());
        drop(entry);
        let logged_in = tokio::select! {
            () = until(now() + wait, now) => false,
            () = rung.notified() => false,
            // Also when none was missing: what was made under the token before it is due soon.
            () = logged_in(&mut self.login) => waits_for_login,
        };
        if logged_in {
            let left = self.entry().and_then(|entry| entry.left());
            tokio::time::sleep(after_late_login(left)).await;
            self.entry().inspect(|entry| entry.hurry());
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
