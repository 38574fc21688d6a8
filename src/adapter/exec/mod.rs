//! A program that only reads its environment: started with the values, and looked after.
//!
//! The values are fetched ([`Supply`]), put into the program's environment or into files in
//! memory (`handover`), and the program runs as our child (`child`) until it ends; where that
//! is asked for, it is restarted or signalled when a value changes (`change`, `running`). In the
//! child they are as safe as the child is.

use std::ffi::OsString;
use std::fs::File;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::config::NotifySignal;
use crate::error::Error;
use crate::observe::event;

mod change;
mod child;
mod handover;
mod running;
mod supply;
mod wanted;

pub use supply::Supply;
pub use wanted::{By, Wanted};

use child::{Child, Forwarded, Reaper, killed_by};
use running::{End, Running};
use supply::{Fingerprint, Value};

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
        let mut start = tokio::select! {
            values = supply.values(&self.wanted) => Start::new(self, &values?)?,
            // There is no program yet that could decide.
            signal = signals.stop() => return Ok(ExitCode::from(killed_by(signal))),
        };
        loop {
            let Start { mut command, files, has } = start;
            let child = Child::start(&mut command, &signals)?;
            // Its plaintext is wiped; the files are kept to be written anew.
            drop(command);
            event::child_started(child.id());
            let running = Running::new(self, supply, child, files, has);
            start = match running.until_end(&mut reaper, &mut signals).await {
                End::Itself(code) => return Ok(ExitCode::from(code)),
                End::Restart(next) => *next,
            };
        }
    }
}

/// The program, ready to be started, and what it is given.
struct Start {
    command: Command,
    files: Vec<File>,
    has: Vec<Fingerprint>,
}

impl Start {
    fn new(exec: &Exec, values: &[Value<'_>]) -> Result<Self, Error> {
        let (command, files) = handover::prepare(&exec.command, values, &exec.withheld)?;
        Ok(Self { command, files, has: fingerprints(values) })
    }
}

fn fingerprints(values: &[Value<'_>]) -> Vec<Fingerprint> {
    values.iter().map(|value| value.fingerprint).collect()
}
