//! `sidekey exec`: a program with the values in its environment.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use super::serve::{gather, listen_to_signals};
use crate::adapter::exec::{By, Exec, OnChange, Supply, Wanted};
use crate::cli::{ExecArgs, LogArgs};
use crate::config::{self, Config, Flags};
use crate::error::Error;
use crate::memory::{Hardening, scrubbed};
use crate::observe::event;

pub(super) fn run(args: ExecArgs, log: &LogArgs, hardening: &Hardening) -> Result<ExitCode, Error> {
    let wanted = wanted(&args)?;
    let withheld = config::secret_variables(args.source.config.as_deref());
    let sources = gather(args.source, Flags { without_door: true, ..Flags::default() });
    log.init();
    event::hardening(hardening);
    let loaded = config::load(sources)?;
    loaded.warnings.iter().for_each(|warning| event::configuration_warning(warning));
    let config = narrow(loaded.config, &wanted)?;
    event::not_sandboxed("the program would inherit it");
    let on_change = match (args.restart_on_change, args.signal_on_change) {
        (true, _) => OnChange::Restart,
        (false, Some(signal)) => OnChange::Signal(signal),
        (false, None) => OnChange::Nothing,
    };
    let (debounce, grace) = (args.debounce, args.grace);
    let exec = Exec { command: args.command, wanted, withheld, on_change, debounce, grace };
    let runtime = super::runtime(1)?;
    // Values pass this thread, which then waits for as long as the program runs.
    let outcome = runtime.block_on(scrubbed(async {
        // As process 1 of a container nothing ends us by itself, a wait for Vault included.
        let mut signals = listen_to_signals()?;
        let started = tokio::select! {
            supply = Supply::start(config) => supply?,
            _ = signals.next() => return Ok(Outcome::Ended(ExitCode::from(STOPPED))),
        };
        if args.once { once(&exec, started).await } else { watch(&exec, started).await }
    }));
    runtime.shutdown_background();
    match outcome? {
        Outcome::Ended(code) => Ok(code),
        Outcome::Replaced(mut command, files) => {
            let source = command.exec();
            drop(files);
            let program = command.get_program().to_string_lossy().into_owned();
            Err(Error::NotRun { program, source })
        }
    }
}

/// Ended by SIGTERM.
const STOPPED: u8 = 128 + 15;

enum Outcome {
    Ended(ExitCode),
    /// This process is to become the program.
    Replaced(Box<Command>, Vec<File>),
}

async fn watch(exec: &Exec, supply: Supply) -> Result<Outcome, Error> {
    let outcome = exec.supervise(&supply).await;
    supply.hand_back().await;
    outcome.map(Outcome::Ended)
}

async fn once(exec: &Exec, supply: Supply) -> Result<Outcome, Error> {
    match exec.prepare(&supply).await {
        Ok((command, files)) => {
            supply.leave_behind(&exec.wanted).await;
            Ok(Outcome::Replaced(Box::new(command), files))
        }
        Err(error) => {
            supply.hand_back().await;
            Err(error)
        }
    }
}

fn wanted(args: &ExecArgs) -> Result<Vec<Wanted>, Error> {
    let env = args.env.iter().map(|text| Wanted::parse(text, By::Environment));
    let files = args.file.iter().map(|text| Wanted::parse(text, By::File));
    let (mut wanted, mut wrong) = (Vec::new(), Vec::new());
    for parsed in env.chain(files) {
        match parsed {
            Ok(one) => wanted.push(one),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    all_or_none(&wrong)?;
    if wanted.is_empty() {
        return Err(Error::Usage("nothing to hand over: give --env or --file".into()));
    }
    if args.signal_on_change.is_some() && args.file.is_empty() {
        let why = "--signal-on-change needs --file: an environment cannot change while a program runs (--restart-on-change starts it anew)";
        return Err(Error::Usage(why.into()));
    }
    for (at, one) in wanted.iter().enumerate() {
        if wanted.iter().take(at).any(|other| other.variable == one.variable) {
            wrong.push(format!("{} is given twice", one.variable));
        }
    }
    all_or_none(&wrong)?;
    Ok(wanted)
}

/// What is wrong is said at once.
fn all_or_none(wrong: &[String]) -> Result<(), Error> {
    if wrong.is_empty() { Ok(()) } else { Err(Error::Usage(wrong.join("\n"))) }
}

/// Only what the program gets is fetched.
fn narrow(mut config: Config, wanted: &[Wanted]) -> Result<Config, Error> {
    let mut wrong = Vec::new();
    for wanted in wanted {
        if !config.secrets.contains_key(&wanted.name) {
            let Wanted { variable, name, by, .. } = wanted;
            let flag = by.flag();
            wrong.push(format!(
                "{flag} {variable}={name}: no secret of this name is declared\n  hint: --secret {name}=PATH, or [secrets.{name}] in the configuration"
            ));
        }
    }
    all_or_none(&wrong)?;
    config.certificates.clear();
    config.secrets.retain(|name, _| wanted.iter().any(|wanted| wanted.name == *name));
    Ok(config)
}
