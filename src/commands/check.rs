//! `sidekey check`: every problem of the configuration at once; with `--online` the real thing.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::serve::sources;
use crate::adapter::{ambassador, tls};
use crate::app::{ENOUGH_MEMORY, first_login};
use crate::cli::{CheckArgs, HardeningMode, LogArgs};
use crate::config::{self, Config, Declaration, Environment, TokenSource, VaultConfig};
use crate::container::{Audit, Seen};
use crate::error::Error;
use crate::lifecycle::sandbox::{self, Reach};
use crate::memory::{Hardening, Tier, arena_status, grow_arena};
use crate::observe::Metrics;
use crate::secret::Secret;
use crate::vault::{self, Upstream};

/// A check is somebody's question, not a start: it waits for Vault only this long.
const PATIENCE: Duration = Duration::from_secs(15);

pub(super) fn run(args: CheckArgs, log: &LogArgs, hardening: &Hardening) -> Result<(), Error> {
    let sources = sources(args.serve);
    if let Some(mode) = args.hardening {
        return surroundings(mode, hardening, &sources.environment);
    }
    let style = log.init();
    let _ = style;
    let environment = sources.environment.clone();
    let loaded = config::load(sources)?;
    let mut out = String::new();
    for (protection, outcome) in hardening.list() {
        // Writing to a String cannot fail.
        let _ = match outcome {
            Ok(()) => writeln!(out, "process: {protection}: in force"),
            Err(error) => writeln!(out, "process: {protection}: refused: {error}"),
        };
    }
    let _ = writeln!(out, "process: memory for plaintext: {}", memory());
    if loaded.config.protection.sandbox {
        let reach = Reach::of(&loaded.config, &loaded.files, &environment);
        for (layer, outcome) in sandbox::rehearse(&reach) {
            let word = outcome.map_or_else(|why| why, |()| "to be had".into());
            let _ = writeln!(out, "process: sandbox: {layer}: {word}");
        }
    }
    for warning in &loaded.warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    let trust = rehearse(&loaded.config);
    for (key, file) in credential_files(&loaded.config) {
        if let Err(error) = std::fs::File::open(file) {
            let _ = writeln!(out, "warning: {key} {}: {error}", file.display());
        }
    }
    let Config { secrets, certificates, callers, ambassadors, tls, .. } = &loaded.config;
    let _ = write!(out, "configuration: ok: {} secrets, ", secrets.len());
    if !certificates.is_empty() {
        let _ = write!(out, "{} certificates, ", certificates.len());
    }
    let _ = write!(out, "{} callers", callers.len());
    if !ambassadors.is_empty() {
        let _ = write!(out, ", {} ambassadors", ambassadors.len());
    }
    if !tls.is_empty() {
        let _ = write!(out, ", {} TLS adapters", tls.len());
    }
    out.push('\n');
    if let Err(error) = trust {
        // What was found out up to there is said all the same.
        out.truncate(out.rfind("configuration: ok").unwrap_or(out.len()));
        super::print(out.as_bytes())?;
        return Err(error);
    }
    super::print(out.as_bytes())?;
    if args.online { super::runtime(1)?.block_on(online(loaded.config)) } else { Ok(()) }
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
    let audit = Audit::of(&seen);
    super::print(audit.report().as_bytes())?;
    let flaws = audit.flaws();
    if mode == HardeningMode::Strict && !flaws.is_empty() {
        return Err(Error::NotHardened(flaws));
    }
    Ok(())
}

async fn online(config: Config) -> Result<(), Error> {
    let declarations = config.declarations();
    let auth = Arc::new(config.auth);
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    // One of these is no herd.
    let vault = VaultConfig { start_jitter: Duration::ZERO, ..config.vault.clone() };
    let (upstream, thread) =
        Upstream::start(vault, Arc::clone(&auth), metrics).map_err(Error::VaultSettings)?;
    let mut leases = Vec::new();
    let outcome = async {
        first_login(&upstream, &config.vault, &auth, PATIENCE).await?;
        super::print(format!("login: ok: method {}\n", auth.name()).as_bytes())?;
        let mut failed = 0;
        for (name, what) in &declarations {
            let got = match what {
                Declaration::Secret(spec) => upstream.read(&spec.path, None).await,
                Declaration::Certificate(spec) => upstream.issue(spec).await,
            };
            let line = match got {
                Ok(secret) => {
                    leases.extend(secret.lease().map(|lease| lease.handle.clone()));
                    format!("{name}: ok: {}\n", summary(&secret, what))
                }
                Err(error) => {
                    failed += 1;
                    format!("{name}: failed: {error}\n")
                }
            };
            super::print(line.as_bytes())?;
        }
        match failed {
            0 => Ok(()),
            failed => Err(Error::Client(format!("{failed} of the secrets cannot be read"))),
        }
    }
    .await;
    upstream.stop(Duration::from_secs(5), leases).await;
    let _ = tokio::task::spawn_blocking(|| thread.join()).await;
    outcome
}

/// What may be said of what Vault gave.
fn summary(secret: &Secret, what: &Declaration) -> String {
    let life = secret.lease().map(|lease| lease.duration);
    match what {
        Declaration::Secret(_) => {
            let version = secret.kv_version().map(|version| format!(", version {version}"));
            let lease = life.map(|life| format!(", lease {life:?}"));
            let (version, lease) = (version.unwrap_or_default(), lease.unwrap_or_default());
            format!("{} fields{version}{lease}", secret.field_count())
        }
        Declaration::Certificate(_) => {
            format!("certificate, lives {}s", life.unwrap_or_default().as_secs())
        }
    }
}
