//! What is declared under a name, and what all entries of the cache share.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapWeak};
use tokio::time::Instant;

use super::entry::Entry;
use super::held::Held;
use super::rotation::Rotations;
use crate::config::{Declaration, SecretName};
use crate::lease::{Bucket, Handle, now};
use crate::secret::{Etag, Secret};

/// Looks at the latest version, of which one goes through moka.
const ASK_MOKA_EVERY: u32 = 64;

/// Longer than anybody waits for a place in the bucket of new leases: what was made already is
/// counted, whatever the bucket says.
const FOR_EVER: Duration = Duration::from_hours(24 * 365);

/// What is asked for: a name, and for KV v2 perhaps one version of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SecretKey {
    pub(super) name: SecretName,
    /// `?version=`; `None` is the latest.
    pub(super) version: Option<u64>,
}

/// A declaration, and what has to survive an eviction of its value.
pub(super) struct Declared {
    what: ArcSwap<Declaration>,
    /// The entry of the latest version, as long as moka keeps it: found without asking moka.
    latest: ArcSwapWeak<Entry>,
    looks: AtomicU32,
    /// The values seen so far, for engines that do not number them.
    seen: Mutex<(u64, Option<Etag>)>,
    /// KV v2: the metadata can be read too, as far as we know.
    pub(super) metadata: AtomicBool,
    /// A read makes a new lease, as far as we know.
    leased: AtomicBool,
    /// Each read of a leased path makes a new lease, and each issuance a new certificate: 20 at
    /// once, 200 an hour.
    new_leases: Bucket,
    /// Leases of earlier values, which the application may still use, and since when they are
    /// no longer served.
    replaced: Mutex<Vec<(Held, Instant)>>,
}

impl Declared {
    pub(super) fn new(what: &Declaration) -> Self {
        Self {
            what: ArcSwap::from_pointee(what.clone()),
            latest: ArcSwapWeak::new(Weak::new()),
            looks: AtomicU32::new(0),
            seen: Mutex::new((0, None)),
            metadata: AtomicBool::new(true),
            leased: AtomicBool::new(false),
            new_leases: Bucket::new(Duration::from_secs(18), 20),
            replaced: Mutex::default(),
        }
    }

    /// What stands under the same name for something else: its value is another one of the same
    /// name, and what the application has of `before` is replaced.
    pub(super) fn in_place_of(before: &Self, what: &Declaration) -> Self {
        let seen = *before.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let replaced = mem::take(&mut *before.replaced());
        Self { seen: Mutex::new(seen), replaced: Mutex::new(replaced), ..Self::new(what) }
    }

    /// What is declared now.
    pub(super) fn what(&self) -> Arc<Declaration> {
        self.what.load_full()
    }

    /// The same, for as long as a look at it takes.
    pub(super) fn what_now(&self) -> arc_swap::Guard<Arc<Declaration>> {
        self.what.load()
    }

    /// The same thing is to be kept in another way.
    pub(super) fn retune(&self, what: &Declaration) {
        self.what.store(Arc::new(what.clone()));
        for (held, _) in self.replaced().iter_mut() {
            *held = held.retuned(what);
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

    /// Each read makes a new lease, as far as we know: there are no versions of it.
    pub(super) fn is_leased(&self) -> bool {
        self.leased.load(Ordering::Relaxed)
    }

    /// A read is about to be made. Says whether it was counted as one that makes a lease or a
    /// certificate.
    ///
    /// # Errors
    /// The time until it may be made.
    pub(super) fn may_make_one(&self) -> Result<bool, Duration> {
        if !self.is_leased() && !matches!(*self.what(), Declaration::Certificate(_)) {
            return Ok(false);
        }
        self.new_leases.take(Duration::ZERO).map(|_| true)
    }

    /// A read was answered.
    pub(super) fn note_answer(&self, secret: &Secret, counted: bool) {
        let leased = secret.lease().is_some();
        self.leased.store(leased, Ordering::Relaxed);
        if leased && !counted {
            let _ = self.new_leases.take(FOR_EVER);
        }
    }

    /// Keeps a lease that is no longer served, to be handed back.
    pub(super) fn remember(&self, lease: Option<Held>) {
        let mut all = self.replaced();
        all.retain(|(lease, _)| lease.lives());
        all.extend(lease.map(|lease| (lease, now())));
    }

    /// Those that live, are to be given back, and do not end with our own token.
    pub(super) fn replaced_leases(&self) -> Vec<Handle> {
        let is_wanted = |lease: &&Held| is_to_be_handed_back(lease) && lease.outlives_us();
        let replaced = self.replaced();
        replaced
            .iter()
            .map(|(lease, _)| lease)
            .filter(is_wanted)
            .map(|l| l.handle.clone())
            .collect()
    }

    /// Takes out all that live and are to be given back.
    pub(super) fn take_replaced(&self) -> Vec<Held> {
        let replaced = mem::take(&mut *self.replaced());
        replaced.into_iter().map(|(lease, _)| lease).filter(is_to_be_handed_back).collect()
    }

    /// Takes out the replaced certificates whose time to be revoked has come.
    pub(super) fn take_overdue(&self) -> Vec<Handle> {
        let what = self.what();
        let Declaration::Certificate(spec) = &*what else { return Vec::new() };
        let Some(grace) = spec.revoke_replaced_after else { return Vec::new() };
        let mut replaced = self.replaced();
        let overdue = replaced.extract_if(.., |(_, since)| *since + grace <= now());
        let overdue = overdue.map(|(lease, _)| lease).filter(is_to_be_handed_back);
        overdue.map(|lease| lease.handle).collect()
    }

    fn replaced(&self) -> MutexGuard<'_, Vec<(Held, Instant)>> {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn is_to_be_handed_back(lease: &Held) -> bool {
    lease.lives() && lease.is_to_be_revoked()
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
