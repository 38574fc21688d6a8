//! A signal to the application.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::NotTold;
use crate::config::{NotifySignal, ProcessSource};

/// Room for a number and a line end.
const LONGEST_PID_FILE: u64 = 32;

/// Finds the process anew, and signals it; blocks while it looks. It has to run under our own uid, unless we hold
/// `CAP_KILL`, and in a PID namespace that we see.
pub(super) fn signal(process: &ProcessSource, signal: NotifySignal) -> Result<(), NotTold> {
    let pid = match process {
        ProcessSource::PidFile(file) => from_file(file)?,
        ProcessSource::Named(name) => {
            oldest_named(name).ok_or(NotTold::NoProcess("none has that name"))?
        }
    };
    let own = i32::try_from(std::process::id()).ok();
    let pid = Pid::from_raw(pid).filter(|pid| Some(pid.as_raw_pid()) != own);
    let pid = pid.ok_or(NotTold::NoProcess("the file holds no process id of another"))?;
    kill_process(pid, number(signal)).map_err(|error| NotTold::Refused(error.into()))
}

fn number(signal: NotifySignal) -> Signal {
    match signal {
        NotifySignal::Hup => Signal::HUP,
        NotifySignal::Usr1 => Signal::USR1,
        NotifySignal::Usr2 => Signal::USR2,
        NotifySignal::Term => Signal::TERM,
        NotifySignal::Int => Signal::INT,
        NotifySignal::Quit => Signal::QUIT,
        NotifySignal::Winch => Signal::WINCH,
    }
}

/// The first line, which has to be a positive number: 0 and below would be process groups.
fn from_file(file: &Path) -> Result<i32, NotTold> {
    let text = read_start(file).map_err(NotTold::PidFile)?;
    let number = text.lines().next().and_then(|line| line.trim().parse().ok());
    number.filter(|pid: &i32| *pid > 0).ok_or(NotTold::NoProcess("the file holds no process id"))
}

/// The application can write there: nothing but a file is read, and no more than a number of it.
fn read_start(file: &Path) -> io::Result<String> {
    // A pipe without a writer would hold up an ordinary open.
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(file)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    file.take(LONGEST_PID_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// The one that started first: the parent, where workers share its name.
fn oldest_named(name: &str) -> Option<i32> {
    let folders = fs::read_dir("/proc").ok()?.flatten();
    let ours = geteuid();
    // Others of that name could not be signalled, and would stand in the way of ours.
    let reached = folders.filter(|folder| {
        let owner = folder.metadata().map(|metadata| metadata.uid());
        ours.is_root() || owner.is_ok_and(|owner| owner == ours.as_raw())
    });
    let pids = reached.filter_map(|folder| folder.file_name().to_str()?.parse::<i32>().ok());
    let named = pids.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (comm, started) = parse_stat(&stat)?;
        (comm == name).then_some((started, pid))
    });
    named.min().map(|(_, pid)| pid)
}

/// Name and start time of a `/proc/PID/stat`. The name stands in parentheses and may hold some.
fn parse_stat(stat: &str) -> Option<(&str, u64)> {
    let (before, rest) = stat.rsplit_once(')')?;
    let (_, comm) = before.split_once('(')?;
    // The state is field 3, the start time field 22.
    Some((comm, rest.split_ascii_whitespace().nth(19)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_with_a_hostile_name() {
        let stat = "42 (a) S) R 1 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1";
        assert_eq!(parse_stat(stat), Some(("a) S", 777)));
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_pid_file_names_one_process() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, pid) in [("42\n", Some(42)), (" 1 \nmore", Some(1)), ("0", None), ("-1", None)] {
            fs::write(file.path(), text).unwrap();
            assert_eq!(from_file(file.path()).ok(), pid, "{text:?}");
        }
        fs::write(file.path(), std::process::id().to_string()).unwrap();
        let ours = ProcessSource::PidFile(file.path().to_owned());
        assert!(matches!(signal(&ours, NotifySignal::Winch), Err(NotTold::NoProcess(_))));
    }
}
