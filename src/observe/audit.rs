//! One line per read or refusal.
//!
//! No line is lost while the process lives: a full buffer makes the readers wait. A batch is on
//! its way to stderr a few milliseconds after its first line.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use prometheus_client::metrics::counter::Counter;

use super::line;
use super::log::Style;
use crate::memory::in_ordinary_memory;

/// Lines waiting for stderr take this much room at most.
const CAPACITY: usize = 1 << 20;

/// How long the first line of a batch waits for company: one system call for many lines.
const GATHER: Duration = Duration::from_millis(4);

/// How long a full non-blocking stderr is left alone before the next attempt.
const RETRY: Duration = Duration::from_millis(1);

/// What one line says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Access<'a> {
    /// `read`, `list`, `refresh`, or `none` when the request got nowhere; of an adapter, what it
    /// did.
    pub action: &'static str,
    /// The adapter, when it was not the local door.
    pub adapter: Option<&'a str>,
    /// The rule that permitted it, else the first that matched.
    pub caller: Option<&'a str>,
    /// By the kernel's word, when it was asked.
    pub uid: Option<u32>,
    /// The secret's name as it was asked for.
    pub name: Option<&'a str>,
    /// The field as it was asked for.
    pub field: Option<&'a str>,
    /// `ok`, `not_modified` or the code of a refusal.
    pub outcome: &'static str,
    /// `fresh` or `stale`.
    pub freshness: Option<&'static str>,
    /// Time since Vault confirmed the value.
    pub age: Option<Duration>,
    /// `tcp` or `unix`.
    pub transport: &'static str,
}

/// The way to the audit log. Cheap to clone; the last one to go writes what is left.
#[derive(Clone)]
pub struct Audit {
    shared: Arc<Shared>,
    _writer: Arc<Writer>,
}

impl Audit {
    /// Starts the thread that writes to stderr. `errors` counts writes that failed for good.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn to_stderr(style: Style, errors: Counter) -> io::Result<Self> {
        Self::to(style, errors, Box::new(LockedStderr))
    }

    /// The same to `sink`, which gets whole lines in each batch.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn to(style: Style, errors: Counter, sink: Box<dyn Write + Send>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            style,
            state: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
        });
        let thread = std::thread::Builder::new().name("audit".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.write_until_closed(sink, &errors)
        })?;
        let writer = Writer { shared: Arc::clone(&shared), thread: Some(thread) };
        Ok(Self { shared, _writer: Arc::new(writer) })
    }

    /// Adds a line. Waits while the buffer is full.
    pub fn record(&self, access: &Access<'_>) {
        let now = SystemTime::now();
        let mut state = self.shared.lock();
        while state.lines.len() >= CAPACITY {
            state.urgent = true;
            self.shared.filled.notify_one();
            state = wait(&self.shared.drained, state);
        }
        // The lines outlive the request, and hold no plaintext.
        in_ordinary_memory(|| line::write(&mut state.lines, self.shared.style, now, access));
        if state.writer == WriterState::Idle {
            state.writer = WriterState::Awake;
            drop(state);
            self.shared.filled.notify_one();
        }
    }

    /// Waits until every line recorded so far is written, at most for `patience`. False when
    /// the time was up.
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
}

struct Shared {
    style: Style,
    state: Mutex<State>,
    /// The writer waits here for lines.
    filled: Condvar,
    /// Readers and `flush` wait here for room.
    drained: Condvar,
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
    /// Somebody waits: do not gather.
    urgent: bool,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        while state.lines.is_empty() {
            self.drained.notify_all();
            if state.closed {
                return false;
            }
            state.writer = WriterState::Idle;
            state = wait(&self.filled, state);
        }
        state.writer = WriterState::Awake;
        let (mut state, _) = self
            .filled
            .wait_timeout_while(state, GATHER, |s| !s.urgent && !s.closed)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut state.lines, batch);
        state.urgent = false;
        state.writer = WriterState::Writing;
        self.drained.notify_all();
        true
    }
}

fn wait<'g>(on: &Condvar, state: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
    on.wait(state).unwrap_or_else(PoisonError::into_inner)
}

/// Ends the thread once the last [`Audit`] is gone.
struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Takes the lock that the log's lines take too, for a whole batch, so that neither cuts the
/// other in two.
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
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Writes at most `step` bytes at a time, and fails in a way that passes before each.
    struct Slow {
        seen: mpsc::Sender<Vec<u8>>,
        step: usize,
        refuse: bool,
    }

    impl Write for Slow {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.refuse = !self.refuse;
            if self.refuse {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let taken = buf.len().min(self.step);
            self.seen.send(buf[..taken].to_vec()).unwrap();
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow(step: usize) -> (Audit, Counter, mpsc::Receiver<Vec<u8>>) {
        let (seen, received) = mpsc::channel();
        let errors = Counter::default();
        let sink = Box::new(Slow { seen, step, refuse: false });
        (Audit::to(Style::Human, errors.clone(), sink).unwrap(), errors, received)
    }

    #[test]
    fn no_line_is_lost_even_when_the_buffer_fills_up() {
        const LINES: usize = 30_000;
        let (audit, errors, received) = slow(1 << 16);
        let name = "n".repeat(100);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..LINES / 2 {
                        audit.record(&Access { name: Some(&name), ..Access::default() });
                    }
                });
            }
        });
        assert!(audit.flush(Duration::from_secs(30)));
        let all: Vec<u8> = received.try_iter().flatten().collect();
        assert!(all.len() > 2 * CAPACITY);
        assert_eq!(all.split(|&c| c == b'\n').count() - 1, LINES);
        assert_eq!(errors.get(), 0);
    }

    #[test]
    fn the_last_handle_writes_what_is_left() {
        let (audit, _, received) = slow(7);
        audit.record(&Access { outcome: "ok", ..Access::default() });
        drop(audit);
        let all: Vec<u8> = received.iter().flatten().collect();
        assert!(String::from_utf8(all).unwrap().contains("outcome=ok"));
    }

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn failed_writes_are_counted() {
        let errors = Counter::default();
        let audit = Audit::to(Style::Json, errors.clone(), Box::new(Broken)).unwrap();
        audit.record(&Access::default());
        assert!(audit.flush(Duration::from_secs(30)));
        assert_eq!(errors.get(), 1);
    }
}
