//! Go's TLS, which is Vault's.

use std::process::Command;

/// `tests/support/hybrid.go`; `None` without a Go that knows the key exchange (1.24).
pub fn hybrid() -> Option<Command> {
    let output = Command::new("go").args(["env", "GOVERSION"]).output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    let minor = version.trim().strip_prefix("go1.")?.split('.').next()?.parse::<u32>().ok()?;
    let mut command = Command::new("go");
    command.args(["run", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hybrid.go")]);
    (minor >= 24).then_some(command)
}
