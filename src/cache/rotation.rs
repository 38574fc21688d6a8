//! What changed, in order: for event streams that can be resumed.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::config::SecretName;
use crate::secret::Etag;

/// An asker that was away for more rotations than this hears of every name instead.
const REMEMBERED: usize = 1024;

/// A name has another value than before.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// Counts from 1, over all names.
    pub id: u64,
    /// Which name.
    pub name: SecretName,
    /// The `Sidekey-Version` of the new value.
    pub version: u64,
    /// Its entity tag.
    pub etag: Etag,
}

/// The rotations of this process.
#[derive(Debug)]
pub struct Rotations {
    last: Mutex<VecDeque<Rotation>>,
    newest: watch::Sender<u64>,
}

impl Default for Rotations {
    fn default() -> Self {
        Self::new()
    }
}

impl Rotations {
    /// None so far.
    pub fn new() -> Self {
        Self { last: Mutex::default(), newest: watch::Sender::new(0) }
    }

    pub(super) fn record(&self, name: &SecretName, version: u64, etag: Etag) {
        let mut last = self.lock();
        let id = last.back().map_or(1, |newest| newest.id + 1);
        if last.len() == REMEMBERED {
            last.pop_front();
        }
        last.push_back(Rotation { id, name: name.clone(), version, etag });
        self.newest.send_replace(id);
    }

    /// The id of the newest rotation, 0 before the first; changes with each.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// The rotations after `id`; `None` when some of them are forgotten, or `id` is none of ours.
    pub fn after(&self, id: u64) -> Option<Vec<Rotation>> {
        let last = self.lock();
        let newest = last.back().map_or(0, |rotation| rotation.id);
        let forgotten = last.front().map_or(0, |rotation| rotation.id - 1);
        (forgotten..=newest)
            .contains(&id)
            .then(|| last.iter().filter(|rotation| rotation.id > id).cloned().collect())
    }

    /// Those that are not forgotten.
    pub fn remembered(&self) -> Vec<Rotation> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Rotation>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::EtagKey;

    #[test]
    fn a_resumed_stream_misses_nothing_or_is_told() {
        let rotations = Rotations::new();
        assert_eq!(rotations.after(0).unwrap().len(), 0);
        let etag = EtagKey::random().unwrap().tag(b"");
        let name = SecretName::parse("a").unwrap();
        for version in 1..=REMEMBERED as u64 + 5 {
            rotations.record(&name, version, etag);
        }
        let newest = REMEMBERED as u64 + 5;
        assert_eq!(*rotations.newest().borrow(), newest);
        assert_eq!(rotations.after(newest).unwrap().len(), 0);
        let missed = rotations.after(newest - 2).unwrap();
        assert_eq!(missed.iter().map(|r| r.version).collect::<Vec<_>>(), [newest - 1, newest]);
        assert_eq!(rotations.after(5).unwrap().len(), REMEMBERED);
        assert!(rotations.after(4).is_none());
        assert!(rotations.after(newest + 1).is_none());
    }
}
