//! The program while it runs.

use std::fs::File;

use rustix::process::Signal;
use tokio::time::{Duration, Instant, sleep_until};

use super::change::{self, Known, Next};
use super::child::{Child, Forwarded, Reaper, is_stop, killed_by};
use super::supply::{Fingerprint, Supply, Value};
use super::{Exec, OnChange, Start, fingerprints, handover};
use crate::error::Error;
use crate::observe::event;

/// For a group that was killed to be gone.
const AFTER_KILL: Duration = Duration::from_secs(1);

/// The child, and what it was given.
pub(super) struct Running<'a> {
    exec: &'a Exec,
    supply: &'a Supply,
    child: Child,
    files: Vec<File>,
    known: Known,
}

/// How a child came to its end.
pub(super) enum End {
    Itself(u8),
    /// It is to be started again, like this.
    Restart(Box<Start>),
}

impl<'a> Running<'a> {
    pub(super) fn new(
        exec: &'a Exec,
        supply: &'a Supply,
        child: Child,
        files: Vec<File>,
        has: Vec<Fingerprint>,
    ) -> Self {
        Self { exec, supply, child, files, known: Known::new(has) }
    }

    pub(super) async fn until_end(mut self, reaper: &mut Reaper, signals: &mut Forwarded) -> End {
        let (exec, supply, child) = (self.exec, self.supply, self.child);
        let complain = |error: &Error| event::child_keeps_values(child.id(), error);
        let (mut restart, mut ending) = (None, false);
        let mut kill_at = None;
        loop {
            let deadline = kill_at.unwrap_or_else(Instant::now);
            let is_watched = exec.on_change != OnChange::Nothing && restart.is_none() && !ending;
            tokio::select! {
                biased;
                code = reaper.end_of(child) => {
                    event::child_ended(child.id(), code);
                    return match restart {
                        Some(next) if !ending => self.restart(next, deadline, reaper, signals).await,
                        _ => End::Itself(code),
                    };
                }
                signal = signals.next() => {
                    // Whoever asks it to end means us too, and leaves it its time.
                    if is_stop(signal) {
                        (ending, kill_at) = (true, None);
                    }
                    if !signals.is_known_to_child(signal) {
                        child.signal(signal);
                    }
                }
                () = sleep_until(deadline), if kill_at.is_some() => {
                    event::child_killed(child.id(), exec.grace);
                    child.signal_all(Signal::KILL);
                    kill_at = None;
                }
                next = change::next(exec, supply, &mut self.known, complain), if is_watched => {
                    match next {
                        Next::Files(values) => self.renew(&values),
                        Next::Start(next) => {
                            event::child_restarts(child.id());
                            child.signal_all(Signal::TERM);
                            restart = Some(next);
                            kill_at = Some(Instant::now() + exec.grace);
                        }
                    }
                }
            }
        }
    }

    /// What is left of the program's group ends before the next one begins: by itself until
    /// `deadline`, as the program could.
    async fn restart(
        self,
        next: Box<Start>,
        deadline: Instant,
        reaper: &mut Reaper,
        signals: &mut Forwarded,
    ) -> End {
        let (child, mut killed) = (self.child, false);
        let mut deadline = deadline;
        loop {
            tokio::select! {
                biased;
                () = reaper.end_of_group(child) => return End::Restart(next),
                signal = signals.stop() => {
                    child.signal_all(Signal::KILL);
                    return End::Itself(killed_by(signal));
                }
                () = sleep_until(deadline) => {
                    // Of another user, or in the hands of the kernel: not waited for any longer.
                    if killed {
                        return End::Restart(next);
                    }
                    event::child_killed(child.id(), self.exec.grace);
                    child.signal_all(Signal::KILL);
                    (killed, deadline) = (true, Instant::now() + AFTER_KILL);
                }
            }
        }
    }

    /// Writes the files anew and says so.
    fn renew(&mut self, values: &[Value<'_>]) {
        let OnChange::Signal(signal) = self.exec.on_change else { return };
        handover::rewrite(&mut self.files, values);
        self.known.has = fingerprints(values);
        event::child_signalled(self.child.id(), signal);
        self.child.notify(signal);
    }
}
