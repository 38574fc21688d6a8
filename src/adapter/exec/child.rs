//! The program as our child: signals go through, and nobody stays a zombie.

use std::io::{self, IsTerminal as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group,
    set_child_subreaper, test_kill_process_group, wait,
};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep};

use crate::config::NotifySignal;
use crate::error::Error;
use crate::memory::real_time_signals;

/// Every signal that has a name and can be caught, but for those that a fault of our own raises
/// (a broken pipe among them) and those that tell of children. Real-time signals come on top.
const FORWARDED: [Signal; 20] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::TERM,
    Signal::STKFLT,
    Signal::CONT,
    Signal::TSTP,
    Signal::TTIN,
    Signal::TTOU,
    Signal::URG,
    Signal::XCPU,
    Signal::XFSZ,
    Signal::VTALARM,
    Signal::PROF,
    Signal::WINCH,
    Signal::IO,
    Signal::POWER,
];

/// A terminal gives these to the program itself, which shares our process group then.
const FROM_TERMINAL: [Signal; 7] = [
    Signal::INT,
    Signal::QUIT,
    Signal::TSTP,
    Signal::TTIN,
    Signal::TTOU,
    Signal::CONT,
    Signal::WINCH,
];

/// How often it is looked whether a group is gone whose last process is not ours to wait for.
const LOOK: Duration = Duration::from_millis(50);

/// The running program.
#[derive(Clone, Copy)]
pub(super) struct Child {
    pid: Pid,
    own_group: bool,
}

impl Child {
    /// In a process group of its own, unless a terminal controls ours.
    pub(super) fn start(command: &mut Command, signals: &Forwarded) -> Result<Self, Error> {
        let own_group = !signals.terminal;
        if own_group {
            command.process_group(0);
        }
        // The reaper waits for it, as for all others.
        let child = command.spawn().map_err(|source| {
            let program = command.get_program().to_string_lossy().into_owned();
            Error::NotRun { program, source }
        })?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(Error::System {
            what: "a child without a number",
            source: io::ErrorKind::NotFound.into(),
        })?;
        Ok(Self { pid, own_group })
    }

    /// Its process number.
    pub(super) fn id(self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// A program that is gone already is no error.
    pub(super) fn signal(self, signal: Signal) {
        let _ = kill_process(self.pid, signal);
    }

    pub(super) fn notify(self, signal: NotifySignal) {
        if let Some(signal) = Signal::from_named_raw(signal.number()) {
            self.signal(signal);
        }
    }

    /// For all that it started too, where they are a group of their own.
    pub(super) fn signal_all(self, signal: Signal) {
        let _ = if self.own_group {
            kill_process_group(self.pid, signal)
        } else {
            kill_process(self.pid, signal)
        };
    }
}

/// Signals on their way to the program.
pub(super) struct Forwarded {
    received: mpsc::UnboundedReceiver<Signal>,
    /// Our standard input is a terminal.
    terminal: bool,
}

impl Forwarded {
    /// From now on these signals do not end or stop us by themselves. Must be called inside a
    /// tokio runtime.
    pub(super) fn listen() -> Result<Self, Error> {
        let terminal = io::stdin().is_terminal();
        let (sender, received) = mpsc::unbounded_channel();
        let tasks = tokio_util::task::TaskTracker::new();
        for forwarded in FORWARDED.into_iter().chain(real_time_signals()) {
            if terminal && !is_stop(forwarded) && FROM_TERMINAL.contains(&forwarded) {
                continue;
            }
            let mut stream = listen_to(SignalKind::from_raw(forwarded.as_raw()))?;
            let sender = sender.clone();
            tasks.spawn(async move {
                while stream.recv().await.is_some() {
                    if sender.send(forwarded).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { received, terminal })
    }

    /// The terminal sent it to the program too.
    pub(super) fn is_known_to_child(&self, signal: Signal) -> bool {
        self.terminal && FROM_TERMINAL.contains(&signal)
    }

    /// The next signal that asks for an end.
    ///
    /// Cancel safety: none is lost but those that ask for nothing.
    pub(super) async fn stop(&mut self) -> Signal {
        loop {
            let signal = self.next().await;
            if is_stop(signal) {
                return signal;
            }
        }
    }

    /// The next signal for the program. Equal ones that came before we looked are one, as the
    /// kernel itself has it but for real-time signals.
    ///
    /// Cancel safety: none is lost.
    pub(super) async fn next(&mut self) -> Signal {
        match self.received.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}

/// Asks for an end: the program's, and so ours.
pub(super) fn is_stop(signal: Signal) -> bool {
    [Signal::TERM, Signal::INT, Signal::QUIT].contains(&signal)
}

/// Waits for every child, its own and those that lost their parents.
pub(super) struct Reaper {
    ended: Stream,
}

impl Reaper {
    /// To be called before the first child is started, inside a tokio runtime.
    pub(super) fn listen() -> Result<Self, Error> {
        // As process 1 of a container orphans come to us anyway; elsewhere we ask for them.
        let _ = set_child_subreaper(Some(getpid()));
        Ok(Self { ended: listen_to(SignalKind::child())? })
    }

    /// Takes the end of everybody, until `child` is among them: its exit status, or 128 and the
    /// signal's number.
    ///
    /// Cancel safety: the end of `child` is never taken without being returned.
    pub(super) async fn end_of(&mut self, child: Child) -> u8 {
        loop {
            while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
                if pid == child.pid
                    && let Some(code) = exit_code(status)
                {
                    return code;
                }
            }
            self.ended.recv().await;
        }
    }

    /// Ends when nothing is left of the group of `child`, where it has one of its own and has
    /// ended itself.
    ///
    /// Cancel safety: none of the others' ends matters.
    pub(super) async fn end_of_group(&mut self, child: Child) {
        if !child.own_group {
            return;
        }
        loop {
            while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
            if test_kill_process_group(child.pid) == Err(rustix::io::Errno::SRCH) {
                return;
            }
            tokio::select! {
                _ = self.ended.recv() => {}
                () = sleep(LOOK) => {}
            }
        }
    }
}

fn exit_code(status: WaitStatus) -> Option<u8> {
    let code = status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal))?;
    Some(u8::try_from(code).unwrap_or(u8::MAX))
}

/// The exit status of whom `signal` ended.
pub(super) fn killed_by(signal: Signal) -> u8 {
    u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX)
}

fn listen_to(kind: SignalKind) -> Result<Stream, Error> {
    signal(kind).map_err(|source| Error::System { what: "cannot handle signals", source })
}
