//! The `sidekey` that cargo built, as a user would start it, but for ports, log level and limits.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use super::process::{Process, free_port};
use super::stage::Stage;
use super::support::vault::TestVault as _;

/// As many connections as are held open by the benchmark, and some.
const MOST: usize = 4096;

/// With this TLS adapter in front of `application`; where it listens.
pub(crate) fn tls_adapter(
    stage: &Stage,
    application: SocketAddr,
    mode: &str,
) -> (Process, SocketAddr) {
    let at = free_port();
    let section = format!(
        "[certificates.web]\nrole = \"web\"\ncommon_name = \"{}\"\n\
         [adapters.tls.web]\nlisten = \"{at}\"\nforward = \"{application}\"\n\
         certificate = \"web\"\nmode = \"{mode}\"\nmax_connections = {MOST}\n",
        super::load::NAME
    );
    (start(stage, &section, false), at)
}

/// With an ambassador of these `lines`; where it listens.
pub(crate) fn ambassador(stage: &Stage, lines: &str, audit: bool) -> (Process, SocketAddr) {
    let at = free_port();
    let section = format!(
        "[adapters.ambassador.api]\nlisten = \"{at}\"\nallow = [\"bench\"]\n\
         max_connections = {MOST}\n{lines}\n"
    );
    (start(stage, &section, audit), at)
}

fn start(stage: &Stage, section: &str, audit: bool) -> Process {
    let door = free_port();
    let uid = std::fs::metadata("/proc/self").unwrap().uid();
    let config = format!(
        "[listen]\ntcp = \"{door}\"\n[health]\nlisten = false\n[life]\naudit = {audit}\n\
         [secrets.api]\npath = \"secret/data/api\"\n{section}\n\
         [[callers]]\nname = \"bench\"\nuid = {uid}\nallow = []\n"
    );
    let config = stage.file(&format!("sidekey-{}.toml", door.port()), &config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidekey"));
    command.env_clear().args(["serve", "--log-level", "error", "--config"]).arg(config);
    command.env("VAULT_ADDR", stage.vault.url()).env("VAULT_TOKEN", stage.vault.root_token());
    Process::measured(command.stderr(Stdio::null()))
}
