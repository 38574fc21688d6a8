//! Whether the application may start: every required secret is there, and we are not leaving.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::cache::SecretCache;
use crate::server;

/// What `/readyz` answers from. Clones share one state.
#[derive(Clone)]
pub struct Readiness {
    cache: SecretCache,
    others: Arc<[Awaited]>,
    stopping: Arc<AtomicBool>,
}

/// What readiness waits for besides secrets.
pub struct Awaited {
    /// What is shown as pending.
    pub name: String,
    /// Whether it is there.
    pub is_there: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Readiness {
    /// Ready once the required names of `cache` are loaded, and all of `others` are there.
    pub fn new(cache: SecretCache, others: Vec<Awaited>) -> Self {
        Self { cache, others: others.into(), stopping: Arc::default() }
    }

    /// Not ready any more, for good.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The stop has begun.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Required names without a value that may be served, and what else is not there.
    pub fn pending(&self) -> Vec<String> {
        let secrets = self.cache.pending().into_iter().map(|name| name.to_string());
        let others = self.others.iter().filter(|other| !(other.is_there)());
        secrets.chain(others.map(|other| other.name.clone())).collect()
    }

    /// Changes whenever something may have become ready.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.cache.fetches()
    }
}

impl server::Readiness for Readiness {
    fn pending(&self) -> Vec<String> {
        self.pending()
    }

    fn stopping(&self) -> bool {
        self.is_stopping()
    }
}
