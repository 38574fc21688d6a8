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
    stopping: Arc<AtomicBool>,
}

impl Readiness {
    /// Ready once the required names of `cache` are loaded.
    pub fn new(cache: SecretCache) -> Self {
        Self { cache, stopping: Arc::default() }
    }

    /// Not ready any more, for good.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The stop has begun.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Required names without a value that may be served.
    pub fn pending(&self) -> Vec<String> {
        self.cache.pending().iter().map(ToString::to_string).collect()
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
