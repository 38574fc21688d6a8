//! `sidekey serve`: the sidecar.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use crate::app::{App, Bound};
use crate::cli::{LogArgs, ServeArgs};
use crate::config::{self, Environment, Flags, Sources};
use crate::error::Error;
use crate::lifecycle::{Shutdown, Signal, Signals};
use crate::memory::{Hardening, take_env};
use crate::observe::event;

pub(super) fn run(args: ServeArgs, log: &LogArgs, hardening: &Hardening) -> Result<(), Error> {
    let sources = sources(args);
    let style = log.init();
    event::hardening(hardening);
    let loaded = config::load(sources.clone())?;
    loaded.warnings.iter().for_each(|warning| event::configuration_warning(warning));
    let runtime = super::runtime(super::workers())?;
    let outcome = runtime.block_on(async {
        let signals = listen_to_signals()?;
        let bound = App::build(loaded.config, style).await?;
        run_until_stopped(bound, signals, &sources).await
    });
    // What is still in flight is dropped, and with it wiped.
    runtime.shutdown_background();
    outcome
}

/// Everything that `config::load` asks for. Takes secrets out of the environment: to be called
/// before any thread is started.
pub(super) fn sources(args: ServeArgs) -> Sources {
    let variables = config::secret_variables(args.config.as_deref());
    let secrets: BTreeMap<_, _> = variables
        .into_iter()
        .filter_map(|name| take_env(&name).map(|secret| (name, Arc::new(secret))))
        .collect();
    Sources {
        file: args.config,
        flags: Flags {
            secrets: args.secrets,
            listen: args.listen,
            health_listen: args.health_listen,
            vault_addr: args.vault_addr,
            auth: args.auth,
            role: args.role,
        },
        environment: Environment::capture(secrets),
    }
}

pub(super) fn listen_to_signals() -> Result<Signals, Error> {
    Signals::listen().map_err(|source| Error::System { what: "cannot handle signals", source })
}

/// Runs the sidecar; `SIGTERM` and `SIGINT` stop it, `SIGHUP` reloads `sources`.
pub(super) async fn run_until_stopped(
    bound: Bound,
    mut signals: Signals,
    sources: &Sources,
) -> Result<(), Error> {
    let shutdown = Shutdown::new();
    let reloader = bound.reloader();
    let mut running = pin!(bound.run(shutdown.clone()));
    loop {
        let signal = tokio::select! {
            outcome = &mut running => return outcome,
            signal = signals.next() => signal,
        };
        match signal {
            Signal::Stop => shutdown.stop(),
            Signal::Reload => {
                let reload = async {
                    match config::load(sources.clone()) {
                        Ok(loaded) => reloader.reload(loaded).await,
                        Err(error) => event::reload_refused(&error),
                    }
                };
                tokio::select! {
                    outcome = &mut running => return outcome,
                    () = reload => {}
                }
            }
        }
    }
}
