//! What is declared under a name, and what all entries of the cache share.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapWeak;

use super::entry::Entry;
use super::rotation::Rotations;
use crate::config::{Declaration, SecretName};
use crate::lease::Bucket;
use crate::secret::{Etag, Secret};

/// Looks at the latest version, of which one goes through moka.
const ASK_MOKA_EVERY: u32 = 64;

/// What is asked for: a name, and for KV v2 perhaps one version of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SecretKey {
    pub(super) name: SecretName,
    /// `?version=`; `None` is the latest.
    pub(super) version: Option<u64>,
}

/// A declaration, and what has to survive an eviction of its value.
pub(super) struct Declared {
    pub(super) what: Declaration,
    /// The entry of the latest version, as long as moka keeps it: found without asking moka.
    latest: ArcSwapWeak<Entry>,
    looks: AtomicU32,
    /// The values seen so far, for engines that do not number them.
    seen: Mutex<(u64, Option<Etag>)>,
    /// KV v2: the metadata can be read too, as far as we know.
    pub(super) metadata: AtomicBool,
    /// Each read of a leased path makes a new lease, and each issuance a new certificate: 20 at
    /// once, 200 an hour.
    pub(super) new_leases: Bucket,
}

impl Declared {
    pub(super) fn new(what: &Declaration) -> Self {
        Self {
            what: what.clone(),
            latest: ArcSwapWeak::new(Weak::new()),
            looks: AtomicU32::new(0),
            seen: Mutex::new((0, None)),
            metadata: AtomicBool::new(true),
            new_leases: Bucket::new(Duration::from_secs(18), 20),
        }
    }

    /// The entry that [`keep`](Self::keep) was told of. Now and then it is not named, so that
    /// moka is asked and learns that it is in use.
    pub(super) fn latest(&self) -> Option<Arc<Entry>> {
        if self.looks.fetch_add(1, Ordering::Relaxed).is_multiple_of(ASK_MOKA_EVERY) {
            return None;
        }
        self.latest.load().upgrade().filter(|entry| !entry.is_retired())
    }

    /// `entry` holds the latest version from now on.
    pub(super) fn keep(&self, entry: &Arc<Entry>) {
        self.latest.store(Arc::downgrade(entry));
    }

    /// The policy may be another one: metadata are tried again.
    pub(super) fn forget_policy(&self) {
        self.metadata.store(true, Ordering::Relaxed);
    }

    /// The version to show for `secret`: KV v2's own, else a count of different values; and
    /// whether it is another value than the last one seen.
    pub(super) fn version_of(&self, secret: &Secret) -> (u64, bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, last) = *seen;
        if last.as_ref() != Some(secret.etag()) {
            *seen = (count + 1, Some(*secret.etag()));
        }
        let rotated = last.is_some_and(|last| last != *secret.etag());
        (secret.kv_version().unwrap_or(seen.0), rotated)
    }
}

/// What all entries share.
pub(super) struct Common {
    pub(super) rotations: Rotations,
    /// Reads of versions by number: callers choose them, so they may not crowd out the rest.
    pub(super) versions: Bucket,
}

impl Common {
    pub(super) fn new() -> Self {
        Self { rotations: Rotations::new(), versions: Bucket::new(Duration::from_secs(1), 5) }
    }
}
