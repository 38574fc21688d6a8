//! A program that only reads its environment: started with the values, and looked after.
//!
//! The values are fetched ([`Supply`]), put into the program's environment or into files in
//! memory (`handover`), and the program runs as our child (`child`) until it ends; where that
//! is asked for, it is restarted or signalled when a value changes. In the child they are as
//! safe as the child is.

use std::ffi::OsString;
use std::fs::File;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::NotifySignal;
use crate::error::Error;
use crate::observe::event;

mod child;
mod handover;
mod supply;
mod wanted;

pub use supply::Supply;
pub use wanted::{By, Wanted};

use child::{Child, Forwarded, Reaper, is_stop, killed_by};
use supply::Fingerprint;

/// For values that were there a moment ago.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What is run, and what happens when a value of its changes.
#[derive(Debug)]
pub struct Exec {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// What it gets.
    pub wanted: Vec<Wanted>,
    /// Variables of ours that it does not get.
    pub withheld: Vec<String>,
    /// What a change leads to.
    pub on_change: OnChange,
    /// A change counts when nothing else changed for this long.
    pub debounce: Duration,
    /// From `SIGTERM` to `SIGKILL` at a restart.
    pub grace: Duration,
}

/// What a changed value leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnChange {
    /// Nothing: the program keeps what it was started with.
    Nothing,
    /// The program is ended and started again with the new values.
    Restart,
    /// Files in memory are written anew, then the program gets this signal.
    Signal(NotifySignal),
}

impl Exec {
    /// The program with the values, ready to take our place. The files have to live until it
    /// has done so.
    ///
    /// # Errors
    /// Values that are not there, or that no environment can hold.
    pub async fn prepare(&self, supply: &Supply) -> Result<(Command, Vec<File>), Error> {
        let values = supply.values(&self.wanted).await?;
        handover::prepare(&self.command, &values, &self.withheld)
    }

    /// Runs the program to its end, which is ours: its exit status, or 128 and the number of the
    /// signal that killed it.
    ///
    /// # Errors
    /// Values that are not there, or a program that cannot be started.
    pub async fn supervise(&self, supply: &Supply) -> Result<ExitCode, Error> {
        let mut reaper = Reaper::listen()?;
        let mut signals = Forwarded::listen()?;
        loop {
            let values = tokio::select! {
                values = supply.values(&self.wanted) => values?,
                // There is no program yet that could decide.
                signal = signals.stop() => return Ok(ExitCode::from(killed_by(signal))),
            };
            let has = values.iter().map(|value| value.fingerprint).collect();
            let (mut command, files) = handover::prepare(&self.command, &values, &self.withheld)?;
            let child = Child::start(&mut command, &signals)?;
            // Their plaintext is wiped; the files are kept to be written anew.
            drop((command, values));
            event::child_started(child.id());
            let mut running = Running { exec: self, supply, child, files, has };
            match running.until_end(&mut reaper, &mut signals).await {
                End::Itself(code) => return Ok(ExitCode::from(code)),
                End::Restart => {}
            }
        }
    }
}

/// The child, and what it was given.
struct Running<'a> {
    exec: &'a Exec,
    supply: &'a Supply,
    child: Child,
    files: Vec<File>,
    has: Vec<Fingerprint>,
}

/// How a child came to its end.
enum End {
    Itself(u8),
    Restart,
}

impl Running<'_> {
    async fn until_end(&mut self, reaper: &mut Reaper, signals: &mut Forwarded) -> End {
        let (exec, supply, child) = (self.exec, self.supply, self.child);
        let (mut restarting, mut ending) = (false, false);
        let mut kill_at = None;
        loop {
            let deadline = kill_at.unwrap_or_else(Instant::now);
            let is_watched = exec.on_change != OnChange::Nothing && !restarting && !ending;
            tokio::select! {
                biased;
                code = reaper.end_of(child) => {
                    event::child_ended(child.id(), code);
                    return if restarting && !ending { End::Restart } else { End::Itself(code) };
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
                    child.kill_all();
                    kill_at = None;
                }
                () = changed(exec, supply, &self.has), if is_watched => {
                    if let OnChange::Signal(signal) = exec.on_change {
                        self.renew(signal).await;
                    } else {
                        event::child_restarts(child.id());
                        child.signal(Signal::TERM);
                        restarting = true;
                        kill_at = Some(Instant::now() + exec.grace);
                    }
                }
            }
        }
    }

    /// Writes the files anew and says so.
    async fn renew(&mut self, signal: NotifySignal) {
        // What cannot be had at once is a change again later.
        let values = tokio::time::timeout(AT_ONCE, self.supply.values(&self.exec.wanted)).await;
        let Ok(Ok(values)) = values else { return };
        handover::rewrite(&mut self.files, &values);
        self.has = values.iter().map(|value| value.fingerprint).collect();
        event::child_signalled(self.child.id(), signal);
        self.child.notify(signal);
    }
}

/// Ends when what there is differs from what the program has, and stays the same for the
/// debounce time.
///
/// Cancel safety: nothing is noted, so a change is found again.
async fn changed(exec: &Exec, supply: &Supply, has: &[Fingerprint]) {
    let mut fetches = supply.fetches();
    let mut seen = supply.fingerprints(&exec.wanted);
    loop {
        // What is gone for the moment is no change yet.
        if seen != has && seen.iter().all(Option::is_some) {
            sleep(exec.debounce).await;
            let now = supply.fingerprints(&exec.wanted);
            if now == seen {
                return;
            }
            seen = now;
        } else {
            if fetches.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            seen = supply.fingerprints(&exec.wanted);
        }
    }
}
