//! Connections that were not admitted so far: they make room for others.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

/// The connections from which no request was admitted yet, the oldest first. When all places are
/// taken the oldest is ended, so that silence and refused credentials keep nobody out.
#[derive(Clone, Default)]
pub(super) struct Strangers(Arc<Mutex<Line>>);

#[derive(Default)]
struct Line {
    next: u64,
    /// Without a handle until its task is started.
    waiting: BTreeMap<u64, Option<AbortHandle>>,
}

/// A connection's place among them, left when it is admitted or ends.
pub(super) struct Place {
    strangers: Strangers,
    number: u64,
    left: AtomicBool,
}

impl Strangers {
    /// A place at the end of the line.
    pub(super) fn enter(&self) -> Place {
        let mut line = self.lock();
        let number = line.next;
        line.next += 1;
        line.waiting.insert(number, None);
        Place { strangers: self.clone(), number, left: AtomicBool::new(false) }
    }

    /// The task of the connection with this number was started; it may have left already.
    pub(super) fn started(&self, number: u64, task: AbortHandle) {
        if let Some(handle) = self.lock().waiting.get_mut(&number) {
            *handle = Some(task);
        }
    }

    /// Ends the oldest. False when there is none.
    pub(super) fn end_oldest(&self) -> bool {
        let mut line = self.lock();
        let oldest = line.waiting.iter().find(|(_, task)| task.is_some());
        let Some(number) = oldest.map(|(number, _)| *number) else { return false };
        if let Some(Some(task)) = line.waiting.remove(&number) {
            task.abort();
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether no request was admitted so far.
    pub(super) fn is_held(&self) -> bool {
        !self.left.load(Ordering::Relaxed)
    }

    /// A request was admitted: from now on the connection stays.
    pub(super) fn leave(&self) {
        if !self.left.load(Ordering::Relaxed) && !self.left.swap(true, Ordering::Relaxed) {
            self.strangers.lock().waiting.remove(&self.number);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}
