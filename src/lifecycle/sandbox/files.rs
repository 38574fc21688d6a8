//! Files, ports, signals and abstract sockets, by Landlock:
//! <https://docs.kernel.org/userspace-api/landlock.html>.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError,
    RulesetStatus, Scope,
};

use super::{Outcome, Reach};

/// Everything that is refused here is known from this version on (Linux 6.12). On an older
/// kernel, as much as it knows.
const WANTED: ABI = ABI::V6;

pub(super) fn restrict(reach: &Reach) -> Outcome {
    let status = ruleset(reach)
        .and_then(RulesetCreated::restrict_self)
        .map_err(|error| format!("Landlock: {error}"))?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced, _) => Ok(()),
        (_, LandlockStatus::Available { effective_abi, .. }) => {
            Err(format!("in part: the kernel has version {} of Landlock", effective_abi as i32))
        }
        _ => Err("the kernel has no Landlock".into()),
    }
}

fn ruleset(reach: &Reach) -> Result<RulesetCreated, RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(WANTED))?
        .handle_access(AccessNet::from_all(WANTED))?
        // Nobody outside gets a signal from us, unless the configuration names one, and no
        // abstract socket of others a connection. Others still reach ours.
        .scope(scope(reach))?
        .create()?;
    for path in &reach.files {
        rules = allow_reading(rules, path)?;
    }
    for port in &reach.connect {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    for port in &reach.bind {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    Ok(rules)
}

fn scope(reach: &Reach) -> BitFlags<Scope> {
    let mut scope = Scope::from_all(WANTED);
    if !reach.signals.is_empty() {
        // Which signals, the filter of system calls says.
        scope &= !Scope::Signal;
    }
    if reach.abstract_sockets {
        scope &= !Scope::AbstractUnixSocket;
    }
    scope
}

/// What is not there needs no rule.
fn allow_reading(rules: RulesetCreated, path: &Path) -> Result<RulesetCreated, RulesetError> {
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(rules) };
    let Ok(opened) = PathFd::new(path) else { return Ok(rules) };
    let access = if metadata.is_dir() {
        AccessFs::ReadFile | AccessFs::ReadDir
    } else {
        AccessFs::ReadFile.into()
    };
    rules.add_rule(PathBeneath::new(opened, access))
}
