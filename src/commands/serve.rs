//! `sidekey serve`: the sidecar.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::watch;

use crate::app::{App, Bound, Reloader};
use crate::cli::{LogArgs, ServeArgs, SourceArgs};
use crate::config::{self, Environment, Flags, Loaded, Protection, Sources};
use crate::container::{Inspection, Seen, Verdict};
use crate::error::Error;
use crate::lifecycle::sandbox::{self, Reach};
use crate::lifecycle::{Shutdown, Signal, Signals};
use crate::memory::{Hardening, take_token};
use crate::observe::event;

pub(super) fn run(args: ServeArgs, log: &LogArgs, hardening: &Hardening) -> Result<(), Error> {
    let sources = sources(args);
    let style = log.init();
    event::hardening(hardening);
    let loaded = config::load(sources.clone())?;
    loaded.warnings.iter().for_each(|warning| event::configuration_warning(warning));
    let inspection = look_around(&loaded.config.protection, hardening, &sources.environment)?;
    let reach = loaded.config.protection.sandbox.then(|| {
        let reach = Reach::of(&loaded.config, &loaded.files, &sources.environment);
        // No thread runs yet, and those to come inherit it.
        (sandbox::restrict_reach(&reach), reach)
    });
    let required = loaded.config.protection.require_sandbox;
    let threads = loaded.config.life.threads;
    let runtime = super::runtime(threads.unwrap_or_else(super::workers))?;
    let outcome = runtime.block_on(async {
        let signals = listen_to_signals()?;
        let bound = App::build(loaded.config, style).await?;
        bound.metrics().set_hardening(&inspection);
        if let Some((files_and_ports, reach)) = &reach {
            let system_calls = sandbox::restrict_calls(reach);
            event::sandbox(files_and_ports, &system_calls);
            bound.note_sandbox(files_and_ports.is_ok(), system_calls.is_ok());
            if required {
                insist(files_and_ports, &system_calls)?;
            }
        }
        let confined = reach.as_ref().map(|(_, reach)| reach);
        let reload = Reload { sources: &sources, confined };
        run_until_stopped(bound, signals, Some(reload)).await
    });
    // What is still in flight is dropped, and with it wiped.
    runtime.shutdown_background();
    outcome
}

/// Both layers of the sandbox are in force as a whole.
fn insist(
    files_and_ports: &sandbox::Outcome,
    system_calls: &sandbox::Outcome,
) -> Result<(), Error> {
    if files_and_ports.is_ok() && system_calls.is_ok() {
        return Ok(());
    }
    let word = |outcome: &sandbox::Outcome| {
        outcome.as_ref().map_or_else(String::clone, |()| "in force".into())
    };
    let (files_and_ports, system_calls) = (word(files_and_ports), word(system_calls));
    Err(Error::NoSandbox { files_and_ports, system_calls })
}

/// Inspects the container, before the sandbox takes it out of sight.
fn look_around(
    protection: &Protection,
    hardening: &Hardening,
    environment: &Environment,
) -> Result<Inspection, Error> {
    let seen = Seen::read(hardening.inherited_no_new_privileges, environment.is_kubernetes());
    let inspection = Inspection::of(&seen);
    event::container(&inspection);
    if let (Some(container), Some(how)) = (seen.in_container(), seen.host_network()) {
        if !protection.unsafe_host_network {
            return Err(Error::HostNetwork { how, container });
        }
        event::configuration_warning("loopback is the host's: caller rules alone protect");
    }
    if protection.require_hardening && inspection.count(Verdict::Flaw) > 0 {
        return Err(Error::NotHardened(inspection.flaws()));
    }
    Ok(inspection)
}

/// Everything that `config::load` asks for.
pub(super) fn sources(args: ServeArgs) -> Sources {
    let door = Flags {
        listen: args.listen,
        health_listen: args.health_listen,
        unsafe_host_network: args.unsafe_host_network,
        ..Flags::default()
    };
    gather(args.source, door)
}

/// `args` besides the flags that are in `others` already. Takes secrets out of the environment:
/// to be called before any thread is started.
pub(super) fn gather(args: SourceArgs, others: Flags) -> Sources {
    let variables = config::secret_variables(args.config.as_deref());
    let secrets: BTreeMap<_, _> = variables
        .into_iter()
        .filter_map(|name| take_token(&name).map(|secret| (name, Arc::new(secret))))
        .collect();
    Sources {
        file: args.config,
        flags: Flags {
            secrets: args.secrets,
            vault_addr: args.vault_addr,
            auth: args.auth,
            role: args.role,
            ..others
        },
        environment: Environment::capture(secrets),
    }
}

pub(super) fn listen_to_signals() -> Result<Signals, Error> {
    Signals::listen().map_err(|source| Error::System { what: "cannot handle signals", source })
}

/// A reload asks for files or ports that were not in the configuration at the start.
#[derive(Debug, thiserror::Error)]
#[error(
    "it names files, a port or a signal that the sandbox of this process keeps out: restart it"
)]
struct BeyondSandbox;

fn is_beyond(confined: Option<&Reach>, loaded: &Loaded, sources: &Sources) -> bool {
    let wanted = || Reach::of(&loaded.config, &loaded.files, &sources.environment);
    confined.is_some_and(|reach| !reach.covers(&wanted()))
}

/// What to load again, as far as it stays within what the process is confined to.
pub(super) struct Reload<'a> {
    sources: &'a Sources,
    confined: Option<&'a Reach>,
}

impl Reload<'_> {
    async fn load(&self, reloader: &Reloader) {
        let Self { sources, confined } = *self;
        match config::load(sources.clone()) {
            Ok(loaded) if is_beyond(confined, &loaded, sources) => {
                event::reload_refused(&BeyondSandbox);
            }
            Ok(loaded) => reloader.reload(loaded).await,
            Err(error) => event::reload_refused(&error),
        }
    }
}

/// Runs the sidecar; `SIGTERM` and `SIGINT` stop it, and so does `SIGHUP` where there is nothing
/// to reload.
pub(super) async fn run_until_stopped(
    bound: Bound,
    mut signals: Signals,
    reload: Option<Reload<'_>>,
) -> Result<(), Error> {
    let shutdown = Shutdown::new();
    let reloader = bound.reloader();
    let running = bound.run(shutdown.clone());
    let (wanted, want) = watch::channel(());
    let reloading = async {
        let mut want = want;
        while let Some(reload) = &reload
            && want.changed().await.is_ok()
        {
            reload.load(&reloader).await;
        }
        std::future::pending::<()>().await;
    };
    let (mut running, mut reloading) = (pin!(running), pin!(reloading));
    loop {
        tokio::select! {
            outcome = &mut running => return outcome,
            () = &mut reloading => {}
            signal = signals.next() => match signal {
                // One that is under way is followed by another.
                Signal::Reload if reload.is_some() => wanted.send_replace(()),
                Signal::Stop | Signal::Reload => shutdown.stop(),
            }
        }
    }
}
