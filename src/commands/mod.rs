//! What each subcommand does.

mod check;
#[cfg(feature = "dev")]
mod dev;
mod exec;
mod get;
mod health;
mod sidecar;
mod serve;

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::cli::{Cli, Command};
use crate::error::Error;
use crate::memory::{Hardening, scrub};

/// Runs the command to its end. The status is that of the program that `exec` ran, else success.
///
/// # Errors
/// What ends the process; [`Error::exit_code`] says with which status.
pub fn run(cli: Cli, hardening: &Hardening) -> Result<ExitCode, Error> {
    match cli.command {
        Command::Exec(args) => return exec::run(args, &cli.log, hardening),
        Command::Serve(args) => serve::run(args, &cli.log, hardening),
        #[cfg(feature = "dev")]
        Command::Dev(args) => dev::run(&args, &cli.log),
        Command::Get(args) => get::run(&args),
        Command::Check(args) => check::run(args, &cli.log, hardening),
        Command::Health(args) => health::run(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "sidekey", &mut script);
            print(&script)
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Writes to stdout; a reader that went away is no error. Not through the buffer of the standard
/// library, which would keep a copy of a value for as long as the process runs.
fn print(text: &[u8]) -> Result<(), Error> {
    let stdout = std::io::stdout().lock();
    let written = stdout.as_fd().try_clone_to_owned();
    match written.and_then(|stdout| std::fs::File::from(stdout).write_all(text)) {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::System { what: "cannot write to stdout", source })
        }
        _ => Ok(()),
    }
}

/// Writes a line of progress to stderr, where it disturbs no pipe.
fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Threads that serve, unless the configuration says how many: the processors are the
/// application's as well, which asks no more than a few threads can answer.
fn workers() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (processors / 2).clamp(1, 4)
}

/// A runtime whose threads leave nothing behind when they sleep.
fn runtime(workers: usize) -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("serve")
        .on_thread_park(scrub)
        .enable_all()
        .build()
        .map_err(|source| Error::System { what: "cannot start the runtime", source })
}
