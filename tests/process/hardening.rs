//! What the running process shows to others.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::support::canary::{MARK, canary};
use crate::support::sidecar::{Builder, Sidecar};
use crate::support::vault::{Dev, TestVault};
use crate::{Served, serve};

const NOBODY: u32 = 65534;

fn proc_file(sidecar: &Sidecar, file: &str) -> Vec<u8> {
    std::fs::read(format!("/proc/{}/{file}", sidecar.pid())).unwrap()
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

fn has_mark(bytes: &[u8]) -> bool {
    bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes())
}

#[test]
fn environment_and_command_line_hold_no_token() {
    let Served { sidecar, vault: _vault, .. } = serve(&[]);
    if is_root() {
        let environment = proc_file(&sidecar, "environ");
        let text = String::from_utf8_lossy(&environment).into_owned();
        assert!(text.contains("VAULT_ADDR=http"), "{text}");
        assert!(text.contains("VAULT_TOKEN=\0"), "{text}");
        assert!(!has_mark(&environment), "{text}");
    }
    assert!(!has_mark(&proc_file(&sidecar, "cmdline")));
    sidecar.stop();
}

#[test]
fn a_callers_own_variable_is_taken_too() {
    let vault = Dev::start();
    vault.put("app", serde_json::json!({ "password": canary("password") }));
    let toml = "[secrets.db]\npath = \"secret/data/app\"\n\
        [[callers]]\nname = \"app\"\ntoken_env = \"APP_TOKEN\"\nallow = [\"db\"]\n";
    let token = canary("app");
    let sidecar = Builder::serve()
        .on_free_ports()
        .config(toml)
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("APP_TOKEN", &token)
        .start();
    assert_eq!(sidecar.get("/secrets/db", &token).status, 200);
    if is_root() {
        assert!(!has_mark(&proc_file(&sidecar, "environ")));
    }
    sidecar.stop();
}

#[test]
fn no_core_no_dump_no_new_privileges() {
    let Served { sidecar, vault: _vault, .. } = serve(&[]);
    let text = |file| String::from_utf8(proc_file(&sidecar, file)).unwrap();
    let limits = text("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let words: Vec<_> = core.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{core}");
    let status = text("status");
    assert!(status.lines().any(|line| line == "NoNewPrivs:\t1"), "{status}");
    sidecar.stop();
}

#[test]
fn the_same_user_cannot_look_inside() {
    if !is_root() {
        return;
    }
    let vault = Dev::start();
    vault.put("app", serde_json::json!({ "password": canary("password") }));
    // Where that user may execute it, whatever the folder of the build.
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let binary = folder.path().join("sidekey");
    std::fs::copy(env!("CARGO_BIN_EXE_sidekey"), &binary).unwrap();
    let mut builder = Builder::serve()
        .args(&["--secret", "db=secret/data/app"])
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("SIDEKEY_TOKEN", &canary("caller"));
    let mut command = Command::new(&binary);
    command.args(builder.command().get_args().map(std::ffi::OsStr::to_owned).collect::<Vec<_>>());
    command.env_clear().envs(
        builder.command().get_envs().filter_map(|(n, v)| Some((n.to_owned(), v?.to_owned()))),
    );
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    *builder.command() = command;
    let sidecar = builder.uid(NOBODY).start();
    let folder = format!("/proc/{}", sidecar.pid());
    let status = std::fs::read_to_string(format!("{folder}/status")).unwrap();
    assert!(status.contains(&format!("Uid:\t{NOBODY}\t")), "{status}");
    // The kernel gives the files of a process that is not dumpable to root.
    assert_eq!(std::fs::metadata(format!("{folder}/environ")).unwrap().uid(), 0);
    for file in ["exe", "fd/1", "cwd"] {
        let mut readlink = Command::new("readlink");
        let output = readlink.arg(format!("{folder}/{file}")).uid(NOBODY).output().unwrap();
        assert!(!output.status.success(), "{file}: {output:?}");
    }
    for file in ["environ", "mem", "maps", "auxv"] {
        let mut read = Command::new("head");
        let output = read.args(["-c", "1", &format!("{folder}/{file}")]).uid(NOBODY).output();
        let output = output.unwrap();
        assert!(!output.status.success(), "{file}: {output:?}");
    }
    sidecar.stop();
}
