//! `sidekey check`: every problem of the configuration at once; with `--online` the real thing.

use std::fmt::Write as _;
use std::path::Path;

use super::serve::sources;
use crate::adapter::{ambassador, tls};
use crate::app::ENOUGH_MEMORY;
use crate::cli::{CheckArgs, HardeningMode, LogArgs};
use crate::config::{self, Config, Environment, Loaded, TokenSource};
use crate::container::{Inspection, Seen};
use crate::error::Error;
use crate::lifecycle::sandbox::{self, Reach};
use crate::memory::{Hardening, Tier, arena_status, grow_arena, open_regular};
use crate::vault;

mod online;

use online::online;

pub(super) fn run(args: CheckArgs, log: &LogArgs, hardening: &Hardening) -> Result<(), Error> {
    let mut sources = sources(args.serve);
    if let Some(mode) = args.hardening {
        return surroundings(mode, hardening, &sources.environment);
    }
    log.init();
    sources.flags.without_door = args.exec;
    let environment = sources.environment.clone();
    let mut loaded = config::load(sources)?;
    let mut out = String::new();
    say_protections(&mut out, hardening);
    if args.exec {
        say_unused(&mut out, &mut loaded.config);
    } else if loaded.config.protection.sandbox {
        say_sandbox(&mut out, &loaded, &environment);
    }
    for warning in &loaded.warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    let trust = rehearse(&loaded.config);
    for (key, file) in credential_files(&loaded.config) {
        if let Err(error) = open_regular(file) {
            let _ = writeln!(out, "warning: {key} {}: {error}", file.display());
        }
    }
    if trust.is_ok() {
        let Config { vault, auth, .. } = &loaded.config;
        let address = vault.address.as_str().trim_end_matches('/');
        let _ = writeln!(out, "vault: {address}, login by {}", auth.name());
        let _ = writeln!(out, "configuration: ok: {}", contents(&loaded.config, args.exec));
    }
    // What was found out up to there is said whatever comes of the rest.
    super::print(out.as_bytes())?;
    trust?;
    if args.online { super::runtime(1)?.block_on(online(loaded.config)) } else { Ok(()) }
}

fn say_protections(out: &mut String, hardening: &Hardening) {
    for (protection, outcome) in hardening.list() {
        // Writing to a String cannot fail.
        let _ = match outcome {
            Ok(()) => writeln!(out, "process: {protection}: in force"),
            Err(error) => writeln!(out, "process: {protection}: refused: {error}"),
        };
    }
    let _ = writeln!(out, "process: memory for plaintext: {}", memory());
}

fn say_sandbox(out: &mut String, loaded: &Loaded, environment: &Environment) {
    let reach = Reach::of(&loaded.config, &loaded.files, environment);
    for (layer, outcome) in sandbox::rehearse(&reach) {
        let word = outcome.map_or_else(|why| why, |()| "to be had".into());
        let _ = writeln!(out, "process: sandbox: {layer}: {word}");
    }
    let files = credential_files(&loaded.config);
    for (key, file) in files.into_iter().filter(|(_, file)| reach.is_alone(file)) {
        let _ = writeln!(
            out,
            "warning: {key} {}: what replaces this file cannot be read before a restart, since its \
             folder is too wide for the sandbox to let it in; give it a folder of its own",
            file.display()
        );
    }
}

/// Leaves out what `sidekey exec` does not look at.
fn say_unused(out: &mut String, config: &mut Config) {
    let Config { certificates, callers, notify, ambassadors, tls, .. } = config;
    let unused = [
        ("[certificates]", certificates.is_empty()),
        ("[[callers]]", callers.is_empty()),
        ("[[notify]]", notify.is_empty()),
        ("[adapters]", ambassadors.is_empty() && tls.is_empty()),
    ];
    let unused: Vec<_> = unused.iter().filter(|part| !part.1).map(|part| part.0).collect();
    if !unused.is_empty() {
        let _ = writeln!(out, "warning: `sidekey exec` does not use {}", unused.join(", "));
    }
    certificates.clear();
    callers.clear();
    notify.clear();
    ambassadors.clear();
    tls.clear();
}

/// How many there are of what the configuration declares: what it may lack only where it does not.
fn contents(config: &Config, for_exec: bool) -> String {
    let Config { secrets, certificates, callers, notify, ambassadors, tls, .. } = config;
    let counts = [
        (secrets.len(), "secret", true),
        (certificates.len(), "certificate", false),
        (callers.len(), "caller", !for_exec),
        (notify.len(), "notify rule", false),
        (ambassadors.len(), "ambassador", false),
        (tls.len(), "TLS adapter", false),
    ];
    let said = counts.iter().filter(|(count, _, always)| *count > 0 || *always);
    let said = said.map(|(count, what, _)| {
        let plural = if *count == 1 { "" } else { "s" };
        format!("{count} {what}{plural}")
    });
    said.collect::<Vec<_>>().join(", ")
}

/// The kind of pages that can be had, and how many when they are too few.
fn memory() -> String {
    grow_arena(ENOUGH_MEMORY);
    let status = arena_status();
    let tier = status.tier.as_str();
    if status.tier == Tier::Plain || status.bytes >= ENOUGH_MEMORY {
        return tier.to_owned();
    }
    format!("{tier}, but only {} KiB of {} KiB", status.bytes >> 10, ENOUGH_MEMORY >> 10)
}

/// Everything that certificates are judged by: of Vault, of the ambassadors' destinations, and of
/// the TLS adapters' clients.
fn rehearse(config: &Config) -> Result<(), Error> {
    vault::rehearse(&config.vault).map_err(Error::VaultSettings)?;
    let mut specs = config.ambassadors.iter();
    specs.try_for_each(|spec| ambassador::rehearse(spec).map_err(Error::Ambassador))?;
    config.tls.iter().try_for_each(|spec| tls::rehearse(spec).map_err(Error::Tls))
}

/// Files that need not be there before they are used.
fn credential_files(config: &Config) -> Vec<(String, &Path)> {
    let mut files = Vec::new();
    files.extend(config.auth.credential_file().map(|file| ("[auth]".to_owned(), file)));
    for caller in &config.callers {
        if let Some(TokenSource::File(file)) = &caller.token {
            files.push((format!("[[callers]] {}: token_file", caller.name), file));
        }
    }
    files
}

/// `--hardening`: needs no configuration.
fn surroundings(
    mode: HardeningMode,
    hardening: &Hardening,
    environment: &Environment,
) -> Result<(), Error> {
    let seen = Seen::read(hardening.inherited_no_new_privileges, environment.is_kubernetes());
    let inspection = Inspection::of(&seen);
    super::print(inspection.report().as_bytes())?;
    let flaws = inspection.flaws();
    if mode == HardeningMode::Strict && !flaws.is_empty() {
        return Err(Error::NotHardened(flaws));
    }
    Ok(())
}
