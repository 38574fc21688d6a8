//! Typed events: the only way to log about a secret. Each takes names, paths, durations and
//! errors of our own types; none takes a value.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::Chain;
use crate::config::{
    AbstractName, AmbassadorSpec, AuthMethod, NameKind, NotifySignal, NotifyTarget, ProcessSource,
    SecretName,
};
use crate::container::{Audit, Verdict};
use crate::lease::Handle;
use crate::memory::{ArenaStatus, Hardening, Tier};
use crate::vault::VaultError;

/// What the kernel said to each protection.
pub fn hardening(outcome: &Hardening) {
    for (protection, result) in outcome.list() {
        match result {
            Ok(()) => debug!(target: "sidekey", protection, "hardened"),
            Err(error) => {
                warn!(target: "sidekey", protection, error = %Chain(error), "protection refused");
            }
        }
    }
}

/// What the process may still do: each layer of the sandbox, or why it is not in force.
pub fn sandbox(files_and_ports: &Result<(), String>, system_calls: &Result<(), String>) {
    let word = |outcome: &Result<(), String>| match outcome {
        Ok(()) => "in force".to_owned(),
        Err(why) => why.clone(),
    };
    let complete = files_and_ports.is_ok() && system_calls.is_ok();
    let (files_and_ports, system_calls) = (word(files_and_ports), word(system_calls));
    if complete {
        info!(target: "sidekey", files_and_ports, system_calls, "sandboxed");
    } else {
        warn!(target: "sidekey", files_and_ports, system_calls, "sandboxed in part");
    }
}

/// What the audit of the container came to. Outside of a container there is nothing to say.
pub fn container(audit: &Audit) {
    let (ok, operator) = (audit.count(Verdict::Ok), audit.count(Verdict::Operator));
    let flaws = audit.flaws();
    if !audit.in_container {
        debug!(target: "sidekey", "not in a container");
    } else if flaws.is_empty() {
        info!(target: "sidekey", ok, flaws = 0, operator, "container hardened");
    } else {
        warn!(target: "sidekey", ok, ?flaws, operator, "container not hardened: see `sidekey check --hardening`");
    }
}

/// A TCP listener is bound.
pub fn listening(addr: SocketAddr) {
    info!(target: "sidekey", %addr, "listening");
}

/// The abstract unix listener is bound.
pub fn listening_unix(name: &AbstractName) {
    info!(target: "sidekey", %name, "listening");
}

/// `dev` listens elsewhere than usual.
pub fn usual_address_taken(addr: SocketAddr) {
    warn!(target: "sidekey", %addr, "somebody listens at the usual address already: another port was taken");
}

/// The health listener is bound.
pub fn health_listening(addr: SocketAddr) {
    info!(target: "sidekey", %addr, "health and metrics");
}

/// An ambassador's listener is bound.
pub fn ambassador_listening(spec: &AmbassadorSpec, addr: &dyn fmt::Display) {
    let (protocol, destination) = (spec.protocol.as_str(), &spec.destination);
    let (ambassador, tls) = (&spec.name, destination.tls.is_some());
    info!(target: "sidekey", %ambassador, %addr, protocol, %destination, tls, "ambassador listening");
}

/// An ambassador's destination cannot be reached. Said once, until it is back.
pub fn destination_lost(spec: &AmbassadorSpec, why: &(dyn Error + 'static)) {
    let (ambassador, destination) = (&spec.name, &spec.destination);
    warn!(target: "sidekey", %ambassador, %destination, error = %Chain(why), "destination out of reach");
}

/// An ambassador's destination answers again.
pub fn destination_back(spec: &AmbassadorSpec) {
    let (ambassador, destination) = (&spec.name, &spec.destination);
    info!(target: "sidekey", %ambassador, %destination, "destination answers again");
}

/// An ambassador had no secret to put in, or no certificate to show.
pub fn ambassador_without_credential(
    ambassador: &SecretName,
    name: &SecretName,
    why: &(dyn Error + 'static),
) {
    debug!(target: "sidekey", %ambassador, %name, error = %Chain(why), "no credential");
}

/// No connection can be accepted just now: out of file descriptors or memory.
pub fn accept_paused(error: &(dyn Error + 'static), pause: Duration) {
    warn!(target: "sidekey", error = %Chain(error), pause = ?brief(pause), "not accepting connections");
}

/// A caller rule permits every name.
pub fn caller_may_read_everything(caller: &str) {
    warn!(target: "sidekey", caller, "caller may read every secret");
}

/// A caller's token file cannot be used; its rule matches nobody until it can.
pub fn token_file_gone(caller: &str, file: &Path, why: &(dyn Error + 'static)) {
    let (file, why) = (file.display(), Chain(why));
    warn!(target: "sidekey", caller, %file, error = %why, "token file unusable, rule matches nobody");
}

/// A caller's token file can be used again.
pub fn token_file_back(caller: &str, file: &Path) {
    info!(target: "sidekey", caller, file = %file.display(), "token file usable again");
}

/// A login succeeded; `ttl` is the token's life, when it ends at all.
pub fn logged_in(address: &str, method: &AuthMethod, ttl: Option<Duration>) {
    let (name, mount) = (method.name(), method.mount());
    let ttl = ttl.map(brief).map(tracing::field::debug);
    info!(target: "sidekey", address, method = name, mount, ttl, "logged in to Vault");
}

/// A login failed.
pub fn login_failed(address: &str, method: &AuthMethod, error: &VaultError, retry_in: Duration) {
    let (name, mount, identity) = (method.name(), method.mount(), method.identity());
    warn!(target: "sidekey", address, method = name, mount, identity, %error, retry_in = ?brief(retry_in), "login failed");
}

/// A login was refused for good: nothing is sent until there is another credential.
pub fn login_waits(method: &AuthMethod, error: &VaultError) {
    let (name, mount, identity) = (method.name(), method.mount(), method.identity());
    let file = method.credential_file().map(|file| tracing::field::display(file.display()));
    warn!(target: "sidekey", method = name, mount, identity, %error, file, "login refused, waiting for another credential");
}

/// The stop came while a login was under way, and did not wait for its end any longer.
pub fn login_cut_off(method: &AuthMethod) {
    let (name, mount, identity) = (method.name(), method.mount(), method.identity());
    warn!(target: "sidekey", method = name, mount, identity, "a login was under way, its token may live on");
}

/// The policy does not let us ask whether our token lives.
pub fn lookup_denied() {
    warn!(target: "sidekey", "the policy lacks read on auth/token/lookup-self, as a 403 of Vault without `invalid token` shows");
}

/// Vault ends our token after so many requests.
pub fn token_of_few_uses(requests: u64) {
    warn!(target: "sidekey", requests, "the token ends after so many requests: the role has token_num_uses");
}

/// Trust anchors or client certificate were replaced, and taken.
pub fn connection_files_taken() {
    info!(target: "sidekey", "trust anchors and client certificate read anew");
}

/// Trust anchors or client certificate were replaced by something that cannot be used.
pub fn connection_files_unusable(error: &VaultError) {
    warn!(target: "sidekey", %error, "trust anchors or client certificate unusable, those of before stay");
}

/// The start waits for Vault.
pub fn waiting_for_vault(address: &str, waited: Duration, retry_in: Duration) {
    debug!(target: "sidekey", address, waited = ?brief(waited), retry_in = ?brief(retry_in), "waiting for Vault");
}

/// Our token was renewed.
pub fn token_renewed(ttl: Option<Duration>) {
    let ttl = ttl.map(brief).map(tracing::field::debug);
    debug!(target: "sidekey", ttl, "token renewed");
}

/// Our token could not be renewed.
pub fn token_renewal_failed(error: &VaultError, retry_in: Duration) {
    warn!(target: "sidekey", %error, retry_in = ?brief(retry_in), "token not renewed");
}

/// Our token was given back.
pub fn token_revoked() {
    info!(target: "sidekey", "token revoked");
}

/// Our token outlives us; its accessor lets an operator revoke it.
pub fn token_not_revoked(accessor: &str, error: &VaultError) {
    warn!(target: "sidekey", accessor, %error, "token not revoked");
}

/// A setting that works but should be said aloud.
pub fn configuration_warning(warning: &str) {
    warn!(target: "sidekey", "{warning}");
}

/// How plaintext is kept.
pub fn memory(status: ArenaStatus) {
    let (tier, bytes, stack) = (status.tier.as_str(), status.bytes, status.stack);
    match status.tier {
        Tier::Secret if status.is_complete() => {
            info!(target: "sidekey", tier, bytes, "plaintext lives in secret memory");
        }
        Tier::Secret => {
            warn!(
                target: "sidekey", tier, bytes, stack,
                "too little secret memory, raise RLIMIT_MEMLOCK: root can read some plaintext"
            );
        }
        Tier::Locked => {
            warn!(
                target: "sidekey", tier, bytes,
                "no secret memory: root can read plaintext; it stays out of swap and dumps"
            );
        }
        Tier::Plain => {
            warn!(
                target: "sidekey", tier, bytes,
                "no secret and no locked memory: root can read plaintext, and it may be swapped out"
            );
        }
    }
}

/// Plaintext that should be in secret memory found no room there.
pub fn memory_spilled(status: ArenaStatus, more: usize) {
    let (tier, bytes, spilled) = (status.tier.as_str(), status.bytes, status.spilled);
    warn!(
        target: "sidekey", tier, bytes, spilled, more,
        "secret memory ran out, raise RLIMIT_MEMLOCK: root can read some plaintext"
    );
}

/// The cache may hold less than the configuration says.
pub fn cache_capped(configured: u64, bytes: u64) {
    info!(
        target: "sidekey", configured, bytes,
        "the cache is as large as secret memory allows, raise RLIMIT_MEMLOCK for more"
    );
}

/// Connections that did not end in time are cut.
pub fn drain_cut_short(connections: usize) {
    if connections == 0 {
        return;
    }
    warn!(target: "sidekey", connections, "connections cut");
}

/// A lease was renewed.
pub fn lease_renewed(name: &SecretName, ttl: Duration) {
    debug!(target: "sidekey", %name, ttl = ?brief(ttl), "lease renewed");
}

/// A lease could not be renewed.
pub fn lease_renewal_failed(name: &SecretName, error: &VaultError, retry_in: Duration) {
    warn!(target: "sidekey", %name, %error, retry_in = ?brief(retry_in), "lease not renewed");
}

/// A lease or certificate was given back, or outlives us: then its id or serial number lets an
/// operator revoke it.
pub fn handed_back(handle: &Handle, outcome: &Result<(), VaultError>) {
    match (handle, outcome) {
        (Handle::Lease(lease_id), Ok(())) => info!(target: "sidekey", lease_id, "lease revoked"),
        (Handle::Lease(lease_id), Err(error)) => {
            warn!(target: "sidekey", lease_id, %error, "lease not revoked");
        }
        (Handle::Certificate { serial, .. }, Ok(())) => {
            info!(target: "sidekey", serial, "certificate revoked");
        }
        (Handle::Certificate { serial, .. }, Err(error)) => {
            warn!(target: "sidekey", serial, %error, "certificate not revoked");
        }
    }
}

/// Vault made the private key, because the role does not sign ours.
pub fn key_made_by_vault(role: &str, error: &VaultError) {
    debug!(target: "sidekey", role, %error, "key made by Vault: the role signs none of ours");
}

/// A certificate is served although its chain uses an algorithm that we cannot check.
pub fn chain_not_checked(serial: &str) {
    warn!(target: "sidekey", serial, "signature algorithm not known here, chain not checked");
}

/// A secret was read; `changed` when its content differs from what was held before,
/// `recovered` when the attempt before it had failed.
pub fn secret_fetched(name: &SecretName, version: u64, changed: bool, recovered: bool) {
    if changed || recovered {
        info!(target: "sidekey", %name, version, changed, recovered, "secret read");
    } else {
        debug!(target: "sidekey", %name, version, "secret confirmed");
    }
}

/// A certificate was issued; `serial` is absent where a lease stands for it.
pub fn certificate_issued(
    name: &SecretName,
    version: u64,
    serial: Option<&str>,
    life: Option<Duration>,
) {
    let life = life.map(brief).map(tracing::field::debug);
    info!(target: "sidekey", %name, version, serial, life, "certificate issued");
}

/// A value cannot be read for want of a token. Why there is none is said with the login.
pub fn fetch_waits_for_login(name: &SecretName, retry_in: Duration) {
    debug!(target: "sidekey", %name, retry_in = ?brief(retry_in), "not read: not logged in to Vault");
}

/// A secret could not be read, or a certificate not be issued.
pub fn fetch_failed(
    name: &SecretName,
    kind: NameKind,
    error: &(dyn Error + 'static),
    retry_in: Duration,
) {
    let (error, retry_in) = (Chain(error), brief(retry_in));
    match kind {
        NameKind::Secret => {
            warn!(target: "sidekey", %name, %error, ?retry_in, "cannot read the secret");
        }
        NameKind::Certificate => {
            warn!(target: "sidekey", %name, %error, ?retry_in, "cannot get the certificate");
        }
    }
}

/// A value became too old to serve and was dropped.
pub fn expired(name: &SecretName, kind: NameKind) {
    match kind {
        NameKind::Secret => {
            error!(target: "sidekey", %name, "secret expired and could not be replaced");
        }
        NameKind::Certificate => {
            error!(target: "sidekey", %name, "certificate expired and could not be replaced");
        }
    }
}

/// The application was told of rotations.
pub fn notified(target: &NotifyTarget, names: &[&str]) {
    let target = Told(target);
    info!(target: "sidekey", %target, ?names, "application notified");
}

/// The application could not be told of rotations; it is tried again.
pub fn not_notified(target: &NotifyTarget, why: &(dyn Error + 'static), retry_in: Duration) {
    let target = Told(target);
    warn!(target: "sidekey", %target, error = %Chain(why), retry_in = ?brief(retry_in), "application not notified");
}

/// A target without the query of its URL, which may be a credential.
struct Told<'a>(&'a NotifyTarget);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            NotifyTarget::Http { url, .. } => {
                let path = url.target.split('?').next().unwrap_or_default();
                write!(f, "http://{}{path}", url.addr)
            }
            NotifyTarget::Signal { signal, process: ProcessSource::PidFile(file) } => {
                write!(f, "SIG{} by {}", signal.as_str(), file.display())
            }
            NotifyTarget::Signal { signal, process: ProcessSource::Named(name) } => {
                write!(f, "SIG{} to {name}", signal.as_str())
            }
        }
    }
}

/// Some required secrets are not loaded.
pub fn not_ready(pending: &[String]) {
    warn!(target: "sidekey", ?pending, "not ready");
}

/// Every required secret is loaded.
pub fn ready() {
    info!(target: "sidekey", "ready");
}

/// The stop began.
pub fn stopping(deadline: Duration) {
    info!(target: "sidekey", ?deadline, "stopping");
}

/// The stop ended.
pub fn stopped() {
    info!(target: "sidekey", "stopped");
}

/// The configuration was read again and is in force.
pub fn reloaded() {
    info!(target: "sidekey", "configuration reloaded");
}

/// The configuration was read again and refused; the running one stays.
pub fn reload_refused(error: &(dyn Error + 'static)) {
    error!(target: "sidekey", error = %Chain(error), "configuration refused, the running one stays");
}

/// An ambassador's secret lacks a field that it names, or holds what no header can.
pub fn credential_unusable(adapter: &SecretName, secret: &SecretName) {
    warn!(target: "sidekey", %adapter, %secret, "the secret lacks the ambassador's field, or it makes no header");
}

/// The sandbox is left out, and why.
pub fn not_sandboxed(why: &str) {
    info!(target: "sidekey", why, "not sandboxed");
}

/// The program of `exec` runs.
pub fn child_started(pid: i32) {
    info!(target: "sidekey", pid, "program started");
}

/// The program of `exec` ended.
pub fn child_ended(pid: i32, status: u8) {
    info!(target: "sidekey", pid, status, "program ended");
}

/// A value changed, and the program is asked to end.
pub fn child_restarts(pid: i32) {
    info!(target: "sidekey", pid, "a value changed: restarting the program");
}

/// A value changed into something that the program cannot be given.
pub fn child_keeps_values(pid: i32, why: &(dyn std::error::Error + 'static)) {
    warn!(target: "sidekey", pid, error = %Chain(why), "a value changed and cannot be used: the program keeps what it has");
}

/// The program did not end in time.
pub fn child_killed(pid: i32, grace: Duration) {
    warn!(target: "sidekey", pid, ?grace, "the program did not end in time: killed");
}

/// A value changed, and the program was told.
pub fn child_signalled(pid: i32, signal: NotifySignal) {
    info!(target: "sidekey", pid, signal = signal.as_str(), "a value changed: program signalled");
}

/// The program took leased values with it, which nobody renews or revokes.
pub fn leases_left_behind() {
    warn!(target: "sidekey", "the program has leased values: nobody renews them, and our token is kept for them");
}

/// Whole milliseconds, and whole seconds from ten on: nobody reads more digits.
pub(super) fn brief(duration: Duration) -> Duration {
    match duration.as_secs() {
        0..10 => Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or_default()),
        seconds => Duration::from_secs(seconds),
    }
}
