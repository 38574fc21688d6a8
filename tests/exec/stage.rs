//! A Vault with a secret, and programs that are run with it.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::json;

use crate::support::canary::{assert_clean, canary};
use crate::support::eventually;
use crate::support::sidecar::binary;
use crate::support::vault::{Dev, TestVault as _};

/// A Vault with `secret/app`, and what a program may be given of it.
pub(crate) struct Stage {
    pub(crate) vault: Dev,
    pub(crate) password: String,
    pub(crate) folder: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let vault = Dev::start();
        let password = canary("password");
        vault.put("app", json!({ "user": "alice", "password": password, "n": 7 }));
        Self { vault, password, folder: tempfile::tempdir().unwrap() }
    }

    /// `sidekey exec` with `flags`, then `sh -c script`.
    pub(crate) fn exec(&self, flags: &[&str], script: &str) -> Command {
        self.run(flags, &["sh", "-c", script])
    }

    pub(crate) fn run(&self, flags: &[&str], program: &[&str]) -> Command {
        let config = self.folder.path().join("sidekey.toml");
        let text = "[secrets.db]\npath = \"secret/data/app\"\nrefresh = \"1s\"\n";
        fs::write(&config, text).unwrap();
        let mut command = binary();
        command.args(["exec", "--log-format", "json", "--config"]).arg(config);
        command.args(flags).arg("--").args(program);
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", self.folder.path());
        command.env("VAULT_ADDR", self.vault.url()).env("VAULT_TOKEN", self.vault.root_token());
        command
    }

    pub(crate) fn new_password(&self) -> String {
        let password = canary("rotated");
        self.vault.put("app", json!({ "user": "alice", "password": password, "n": 7 }));
        password
    }
}

pub(crate) fn finish(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_clean("stderr", &stderr);
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), stderr)
}

pub(crate) fn start(command: &mut Command) -> (Child, Lines<BufReader<ChildStdout>>) {
    start_with(command, Stdio::null())
}

/// The same, with what sidekey says in this file.
pub(crate) fn start_with_log(
    command: &mut Command,
    log: &Path,
) -> (Child, Lines<BufReader<ChildStdout>>) {
    start_with(command, fs::File::create(log).unwrap().into())
}

fn start_with(command: &mut Command, stderr: Stdio) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = command.stderr(stderr).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

pub(crate) fn send(pid: u32, signal: &str) {
    let pid = pid.to_string();
    assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
}

pub(crate) fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    lines.next().expect("another line").unwrap()
}

pub(crate) fn only_child_of(pid: u32) -> u32 {
    // Orphans of a program before it may be on their way out.
    eventually("one child", || match children_of(pid)[..] {
        [child] => Some(child),
        _ => None,
    })
}

pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let children = tasks.flatten().flat_map(|task| {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()
    });
    children.collect()
}

pub(crate) const BOTH: [&str; 4] = ["--env", "PGPASSWORD=db/password", "--env", "PGUSER=db/user"];
