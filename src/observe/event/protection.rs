//! How the process and its plaintext are protected.

use tracing::{debug, info, warn};

use crate::container::{Inspection, Verdict};
use crate::memory::{ArenaStatus, Hardening, Tier};
use crate::observe::Chain;

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

/// The sandbox is left out, and why.
pub fn not_sandboxed(why: &str) {
    info!(target: "sidekey", why, "not sandboxed");
}

/// What the inspection of the container came to. Outside of a container there is nothing to say.
pub fn container(inspection: &Inspection) {
    let (ok, operator) = (inspection.count(Verdict::Ok), inspection.count(Verdict::Operator));
    let flaws = inspection.flaws();
    if !inspection.in_container {
        debug!(target: "sidekey", "not in a container");
    } else if flaws.is_empty() {
        info!(target: "sidekey", ok, flaws = 0, operator, "container hardened");
    } else {
        warn!(target: "sidekey", ok, ?flaws, operator, "container not hardened: see `sidekey check --hardening`");
    }
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
