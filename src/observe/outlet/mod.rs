//! The way to standard error: one thread writes it, so that whoever does not read it holds up
//! nobody but those who have to wait for their audit line.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;

use crate::memory::in_ordinary_memory;

/// Lines that wait for their writer take about this much room.
pub(super) const CAPACITY: usize = 1 << 20;

/// How long the first line of a batch waits for company: one system call for many lines.
const GATHER: Duration = Duration::from_millis(4);

/// How long a full non-blocking stderr is left alone before the next attempt.
const RETRY: Duration = Duration::from_millis(1);

/// How long a line of the log is waited for.
const MOMENT: Duration = Duration::from_millis(50);

/// What is left is written within this time when the last handle goes, or not at all.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Lines on their way out. Cheap to clone.
#[derive(Clone)]
pub struct Outlet {
    shared: Arc<Shared>,
    _writer: Arc<Writer>,
}

impl Outlet {
    /// Starts the thread that writes to stderr. `errors` counts batches that could not be
    /// written.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn to_stderr(errors: Counter) -> io::Result<Self> {
        Self::to(Box::new(LockedStderr), errors)
    }

    /// The same to `sink`, which gets whole lines in each batch.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn to(sink: Box<dyn Write + Send>, errors: Counter) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        std::thread::Builder::new().name("stderr".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.write_until_closed(sink, &errors)
        })?;
        let writer = Arc::new(Writer(Arc::clone(&shared)));
        Ok(Self { shared, _writer: writer })
    }

    /// Adds a line, which is kept however full it is; `write` appends it.
    pub(super) fn keep(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.shared.lock();
        // The lines outlive the request, and hold no plaintext.
        in_ordinary_memory(|| write(&mut state.lines));
        self.shared.filled_by(state);
    }

    /// Adds a line unless there is no room: then it is left out, and counted. It is written before
    /// this returns, unless that takes long: then nobody waits until the writer is unstuck.
    pub(super) fn offer(&self, line: &[u8]) {
        let mut state = self.shared.lock();
        if state.lines.len() >= CAPACITY {
            state.left_out += 1;
            return;
        }
        in_ordinary_memory(|| {
            if std::mem::take(&mut state.left_out) > 0 {
                state.lines.extend_from_slice(b"(lines were left out here: nobody read them)\n");
            }
            state.lines.extend_from_slice(line);
        });
        state.urgent = true;
        let (batch, stuck) = (state.taken + 1, state.given_up_on > state.written);
        self.shared.filled_by(state);
        if !stuck {
            self.shared.wait_for(batch);
        }
    }

    /// Waits while there is no room. Cancel safe.
    pub(super) async fn room(&self) {
        while self.shared.full.load(Ordering::Acquire) {
            let mut room = std::pin::pin!(self.shared.room.notified());
            room.as_mut().enable();
            if self.shared.full.load(Ordering::Acquire) {
                room.await;
            }
        }
    }

    /// From now on nobody waits for room, and nobody who does any longer: the process stops.
    pub fn wait_for_nobody(&self) {
        self.shared.lock().hasty = true;
        self.shared.has_room();
    }

    /// Waits until every line so far is written, at most for `patience`. Blocks. False when the
    /// time was up.
    pub fn flush(&self, patience: Duration) -> bool {
        let mut state = self.shared.lock();
        state.urgent = true;
        self.shared.filled.notify_one();
        let (_state, timeout) = self
            .shared
            .drained
            .wait_timeout_while(state, patience, |state| {
                !state.lines.is_empty() || state.writer == WriterState::Writing
            })
            .unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }

    /// Whether both lead to the same thread.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// The writer waits here for lines.
    filled: Condvar,
    /// `flush`, and lines of the log, wait here.
    drained: Condvar,
    /// There is no room, and somebody should wait for it.
    full: AtomicBool,
    room: Notify,
}

#[derive(Default, PartialEq)]
enum WriterState {
    /// Awake, with no batch in hand.
    #[default]
    Awake,
    /// Waits for a first line and wants to be woken.
    Idle,
    /// Writes a batch.
    Writing,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    writer: WriterState,
    /// Lines that found no room.
    left_out: u64,
    /// Batches so far.
    taken: u64,
    written: u64,
    /// The last batch that took longer than anybody should wait.
    given_up_on: u64,
    /// Somebody waits: do not gather.
    urgent: bool,
    /// Nobody is to wait any more.
    hasty: bool,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After lines were added.
    fn filled_by(&self, mut state: MutexGuard<'_, State>) {
        if state.lines.len() >= CAPACITY && !state.hasty {
            state.urgent = true;
            self.full.store(true, Ordering::Release);
        }
        let asleep = state.writer == WriterState::Idle;
        if asleep {
            state.writer = WriterState::Awake;
        }
        let wake = asleep || state.urgent;
        drop(state);
        if wake {
            self.filled.notify_one();
        }
    }

    /// Waits a moment until this batch is written.
    fn wait_for(&self, batch: u64) {
        let missing = |state: &mut State| state.written < batch;
        let waited = self.drained.wait_timeout_while(self.lock(), MOMENT, missing);
        let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            state.given_up_on = state.given_up_on.max(batch);
        }
    }

    fn has_room(&self) {
        if self.full.swap(false, Ordering::AcqRel) {
            self.room.notify_waiters();
        }
    }

    fn write_until_closed(&self, mut sink: Box<dyn Write + Send>, errors: &Counter) {
        let mut batch = Vec::new();
        while self.next_batch(&mut batch) {
            if write_all(&mut *sink, &batch).is_err() {
                errors.inc();
            }
            batch.clear();
        }
    }

    /// Fills `batch` with what is waiting. False when closed and nothing is left.
    fn next_batch(&self, batch: &mut Vec<u8>) -> bool {
        let mut state = self.lock();
        state.writer = WriterState::Awake;
        state.written = state.taken;
        self.drained.notify_all();
        while state.lines.is_empty() {
            if state.closed {
                return false;
            }
            state.writer = WriterState::Idle;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writer = WriterState::Awake;
        let (mut state, _) = self
            .filled
            .wait_timeout_while(state, GATHER, |s| !s.urgent && !s.closed)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut state.lines, batch);
        state.urgent = false;
        state.taken += 1;
        state.writer = WriterState::Writing;
        drop(state);
        self.has_room();
        true
    }
}

/// Ends the thread once the last [`Outlet`] is gone. One that is stuck is left behind.
struct Writer(Arc<Shared>);

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        self.0.filled.notify_one();
        let left =
            |state: &mut State| !state.lines.is_empty() || state.writer == WriterState::Writing;
        let _ = self.0.drained.wait_timeout_while(state, LAST_WORDS, left);
    }
}

/// Takes the lock that other lines take too, for a whole batch, so that neither cuts the other
/// in two.
struct LockedStderr;

impl Write for LockedStderr {
    fn write(&mut self, batch: &[u8]) -> io::Result<usize> {
        write_all(&mut io::stderr().lock(), batch).map(|()| batch.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `Write::write_all` that also outlasts a sink which cannot take any more just now.
fn write_all(sink: &mut dyn Write, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match sink.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(RETRY),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
