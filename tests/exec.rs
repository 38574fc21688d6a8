//! `sidekey exec`: what a program gets, and how it is looked after.
#![cfg(feature = "dev")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failed expectation fails the test"
)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::json;
use sidekey::dev::{Fault, Matcher};
use support::canary::{assert_clean, canary};
use support::eventually;
use support::sidecar::binary;
use support::vault::{Dev, TestVault};

/// A Vault with `secret/app`, and what a program may be given of it.
struct Stage {
    vault: Dev,
    password: String,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let vault = Dev::start();
        let password = canary("password");
        vault.put("app", json!({ "user": "alice", "password": password, "n": 7 }));
        Self { vault, password, folder: tempfile::tempdir().unwrap() }
    }

    /// `sidekey exec` with `flags`, then `sh -c script`.
    fn exec(&self, flags: &[&str], script: &str) -> Command {
        self.run(flags, &["sh", "-c", script])
    }

    fn run(&self, flags: &[&str], program: &[&str]) -> Command {
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

    fn new_password(&self) -> String {
        let password = canary("rotated");
        self.vault.put("app", json!({ "user": "alice", "password": password, "n": 7 }));
        password
    }
}

fn finish(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_clean("stderr", &stderr);
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), stderr)
}

fn start(command: &mut Command) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

fn send(pid: u32, signal: &str) {
    let pid = pid.to_string();
    assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
}

fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    lines.next().expect("another line").unwrap()
}

const BOTH: [&str; 4] = ["--env", "PGPASSWORD=db/password", "--env", "PGUSER=db/user"];

#[test]
fn values_are_in_the_environment_and_credentials_are_not() {
    let stage = Stage::new();
    let script = "echo \"$PGUSER $PGPASSWORD $N $DB\"; env";
    let mut flags = BOTH.to_vec();
    flags.extend(["--env", "N=db/n", "--env", "DB=db"]);
    let (status, out, err) =
        finish(stage.exec(&flags, script).env("SIDEKEY_TOKEN", canary("caller")).env("KEPT", "1"));
    assert_eq!(status, 0, "{err}");
    let first = out.lines().next().unwrap();
    assert!(first.starts_with(&format!("alice {} 7 {{", stage.password)), "{first}");
    assert!(first.ends_with('}') && first.contains("\"user\":\"alice\""), "{first}");
    assert!(out.contains("\nKEPT=1\n"));
    for credential in ["VAULT_TOKEN", "SIDEKEY_TOKEN", &stage.vault.root_token()] {
        assert!(!out.contains(credential), "{credential} was handed on");
    }
}

#[test]
fn files_are_in_memory_and_open() {
    let stage = Stage::new();
    let script = "echo $FILE; readlink /proc/self/fd/${FILE##*/}; cat $FILE; echo; cat $FILE";
    let (status, out, err) = finish(&mut stage.exec(&["--file", "FILE=db/password"], script));
    assert_eq!(status, 0, "{err}");
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[0].starts_with("/dev/fd/"), "{out}");
    assert_eq!(lines[1], "/memfd:sidekey (deleted)");
    assert_eq!(lines[2..], [stage.password.as_str(), &stage.password]);
}

#[test]
fn the_exit_status_is_the_programs() {
    let stage = Stage::new();
    assert_eq!(finish(&mut stage.exec(&BOTH, "exit 3")).0, 3);
    assert_eq!(finish(&mut stage.exec(&BOTH, "kill -KILL $$")).0, 128 + 9);
    assert_eq!(finish(&mut stage.run(&BOTH, &["/no/such/program"])).0, 127);
    assert_eq!(finish(&mut stage.run(&BOTH, &["/etc/hostname"])).0, 126);
}

#[test]
fn what_cannot_work_is_said_before_anything_runs() {
    let stage = Stage::new();
    for (flags, code, said) in [
        (&["--env", "A"][..], 64, "--env A: expected VAR=NAME/FIELD"),
        (&[], 64, "nothing to hand over"),
        (&["--env", "A=db/user", "--file", "A=db/user"], 64, "A is given twice"),
        (&["--env", "A=nothing/x"], 64, "no secret of this name is declared"),
        (&["--env", "A=db/nothing"], 1, "the secret has no field \"nothing\""),
        (&["--secret", "x=secret/data/x", "--env", "A=x/y"], 1, "nothing is stored there"),
        (&["--env", "A=db/user", "--signal-on-change", "KILL"], 64, "expected one of HUP"),
    ] {
        let (status, out, err) = finish(&mut stage.exec(flags, "echo ran"));
        assert_eq!((status, out.as_str()), (code, ""), "{flags:?}: {err}");
        assert!(err.contains(said), "{flags:?}: {err}");
    }
    let mut refused = stage.exec(&BOTH, "echo ran");
    let (status, out, _) = finish(refused.env("VAULT_TOKEN", canary("wrong")));
    assert_eq!((status, out.as_str()), (77, ""));
}

#[test]
fn signals_go_through() {
    let stage = Stage::new();
    let script =
        "for s in HUP INT QUIT USR1 USR2 TERM WINCH CONT ALRM; do trap \"echo $s\" $s; done
        echo ready; while :; do sleep 0.05; done";
    let (mut child, mut lines) = start(&mut stage.exec(&BOTH, script));
    assert_eq!(line(&mut lines), "ready");
    for signal in ["HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "WINCH", "CONT", "ALRM"] {
        send(child.id(), signal);
        assert_eq!(line(&mut lines), signal);
    }
    assert!(child.try_wait().unwrap().is_none(), "the program decides when it ends");
    send(only_child_of(child.id()), "KILL");
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(128 + 9), None));
}

/// Each under its own number, whatever the C library calls the first one.
#[test]
fn real_time_signals_go_through() {
    let stage = Stage::new();
    let numbers = || libc::SIGRTMIN()..=libc::SIGRTMAX();
    let all: Vec<_> = numbers().map(|number| number.to_string()).collect();
    let script = format!(
        "for s in {} PWR; do trap \"echo $s\" $s; done
        echo ready; while :; do sleep 0.05; done",
        all.join(" ")
    );
    let (mut child, mut lines) = start(&mut stage.exec(&BOTH, &script));
    assert_eq!(line(&mut lines), "ready");
    for number in numbers() {
        send(child.id(), &number.to_string());
        assert_eq!(line(&mut lines), number.to_string());
    }
    send(child.id(), "PWR");
    assert_eq!(line(&mut lines), "PWR");
    // One that the program does not handle ends it, as it does any program.
    let last = libc::SIGRTMAX();
    let (mut other, mut lines) = start(&mut stage.exec(&BOTH, "echo ready; exec sleep 60"));
    assert_eq!(line(&mut lines), "ready");
    send(other.id(), &last.to_string());
    assert_eq!(other.wait().unwrap().code(), Some(128 + last));
    send(only_child_of(child.id()), "KILL");
    assert_eq!(child.wait().unwrap().code(), Some(128 + 9));
}

fn only_child_of(pid: u32) -> u32 {
    // Orphans of a program before it may be on their way out.
    eventually("one child", || match children_of(pid)[..] {
        [child] => Some(child),
        _ => None,
    })
}

fn children_of(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let children = tasks.flatten().flat_map(|task| {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()
    });
    children.collect()
}

#[test]
fn orphans_are_taken_in_and_leave_no_zombies() {
    let stage = Stage::new();
    // Each inner shell ends at once; its own child becomes an orphan, and ends a moment later.
    let script = "for i in 1 2 3 4 5; do (sh -c 'sleep 0.1' & ) ; done; echo ready; exec sleep 60";
    let (mut child, mut lines) = start(&mut stage.exec(&BOTH, script));
    assert_eq!(line(&mut lines), "ready");
    let pid = child.id();
    let is_zombie = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
    };
    eventually("the program alone, and no zombie", || {
        let children = children_of(pid);
        (children.len() == 1 && !children.iter().any(is_zombie)).then_some(())
    });
    send(pid, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
}

#[test]
fn a_change_restarts_it_with_the_new_value() {
    let stage = Stage::new();
    let script = "echo \"$PGPASSWORD\"; trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done";
    let mut flags = BOTH.to_vec();
    flags.extend(["--restart-on-change", "--debounce", "100ms"]);
    let (mut child, mut lines) = start(&mut stage.exec(&flags, script));
    assert_eq!(line(&mut lines), stage.password);
    for _ in 0..2 {
        let password = stage.new_password();
        assert_eq!(line(&mut lines), "bye");
        assert_eq!(line(&mut lines), password);
    }
    send(child.id(), "TERM");
    assert_eq!(line(&mut lines), "bye");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn who_does_not_end_for_a_restart_is_killed() {
    let stage = Stage::new();
    let script = "trap '' TERM; echo \"$PGPASSWORD\"; while :; do sleep 0.05; done";
    let mut flags = BOTH.to_vec();
    flags.extend(["--restart-on-change", "--debounce", "100ms", "--grace", "200ms"]);
    let (mut child, mut lines) = start(&mut stage.exec(&flags, script));
    assert_eq!(line(&mut lines), stage.password);
    let password = stage.new_password();
    assert_eq!(line(&mut lines), password);
    send(only_child_of(child.id()), "KILL");
    child.wait().unwrap();
}

#[test]
fn a_stop_is_not_undone_by_a_change() {
    let stage = Stage::new();
    let go = stage.folder.path().join("go");
    let script = format!(
        "trap 'echo stopping' TERM; echo ready; while [ ! -e {} ]; do sleep 0.05; done; exit 5",
        go.display()
    );
    let mut flags = BOTH.to_vec();
    flags.extend(["--restart-on-change", "--debounce", "100ms", "--grace", "100ms"]);
    let (mut child, mut lines) = start(&mut stage.exec(&flags, &script));
    assert_eq!(line(&mut lines), "ready");
    send(child.id(), "TERM");
    assert_eq!(line(&mut lines), "stopping");
    stage.new_password();
    let reads = || stage.vault.server.count("GET", "secret/data/app");
    eventually("the new value is read", || (reads() > 1).then_some(()));
    let looks = stage.vault.server.requests().len();
    eventually("another look", || (stage.vault.server.requests().len() > looks).then_some(()));
    fs::write(go, "").unwrap();
    assert!(lines.next().is_none(), "it was signalled again, or started again");
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

#[test]
fn it_can_be_stopped_while_it_waits_for_vault() {
    let stage = Stage::new();
    let down = Fault::errors(503, &["sealed"]);
    stage.vault.server.faults().on(Matcher::get("secret/data/app")).respond(down).forever();
    let (mut child, mut lines) = start(&mut stage.exec(&BOTH, "echo ran"));
    eventually("a read", || (stage.vault.server.count("GET", "secret/data/app") > 0).then_some(()));
    send(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    assert!(lines.next().is_none(), "nothing was run");
}

#[test]
fn a_change_is_written_to_the_files_and_signalled() {
    let stage = Stage::new();
    let script = "trap 'cat $FILE; echo' USR1; cat $FILE; echo; while :; do sleep 0.05; done";
    let flags =
        ["--file", "FILE=db/password", "--signal-on-change", "SIGUSR1", "--debounce", "100ms"];
    let (mut child, mut lines) = start(&mut stage.exec(&flags, script));
    assert_eq!(line(&mut lines), stage.password);
    let pid = only_child_of(child.id());
    for _ in 0..2 {
        let password = stage.new_password();
        assert_eq!(line(&mut lines), password);
    }
    assert_eq!(only_child_of(child.id()), pid, "the same program");
    send(child.id(), "TERM");
    child.wait().unwrap();
}

#[test]
fn once_becomes_the_program() {
    let stage = Stage::new();
    let mut flags = BOTH.to_vec();
    flags.push("--once");
    let script = "echo $$; echo \"$PGPASSWORD\"; tr '\\0' ' ' < /proc/$$/cmdline; echo; exit 4";
    let (mut child, mut lines) = start(&mut stage.exec(&flags, script));
    assert_eq!(line(&mut lines), child.id().to_string());
    assert_eq!(line(&mut lines), stage.password);
    assert!(line(&mut lines).starts_with("sh -c "));
    assert_eq!(child.wait().unwrap().code(), Some(4));
}

#[test]
fn leases_and_token_are_handed_back_when_the_program_ends() {
    let stage = Stage::new();
    let vault = &stage.vault;
    let policy = json!({ "policy": "path \"secret/*\" { capabilities = [\"read\"] }" });
    vault.set_up("POST", "sys/policies/acl/reader", policy);
    vault.set_up("POST", "sys/auth/approle", json!({ "type": "approle" }));
    vault.set_up("POST", "auth/approle/role/app", json!({ "token_policies": ["reader"] }));
    let role_id = vault.set_up("GET", "auth/approle/role/app/role-id", json!(null));
    let secret_id = vault.set_up("POST", "auth/approle/role/app/secret-id", json!({}));
    let path = stage.folder.path().join("secret-id");
    fs::write(&path, secret_id["data"]["secret_id"].as_str().unwrap()).unwrap();
    let config = format!(
        "[auth]\nmethod = \"approle\"\nrole_id = {}\nsecret_id_file = \"{}\"\n\
         [secrets.db]\npath = \"secret/data/app\"\n",
        role_id["data"]["role_id"],
        path.display()
    );
    let file = stage.folder.path().join("approle.toml");
    fs::write(&file, config).unwrap();
    let mut command = binary();
    command.args(["exec", "--log-format", "json", "--config"]).arg(&file);
    command.args(["--env", "P=db/password", "--", "sh", "-c", "echo \"$P\""]);
    command.env("PATH", "/usr/bin:/bin").env("VAULT_ADDR", stage.vault.url());
    let (status, out, err) = finish(&mut command);
    assert_eq!((status, out.trim_end()), (0, stage.password.as_str()), "{err}");
    assert!(err.contains("\"token revoked\""), "{err}");
}

#[test]
fn nothing_of_it_stays_in_our_own_environment_or_command_line() {
    let stage = Stage::new();
    let (mut child, mut lines) = start(&mut stage.exec(&BOTH, "echo ready; exec sleep 60"));
    assert_eq!(line(&mut lines), "ready");
    for file in ["environ", "cmdline"] {
        let bytes = fs::read(Path::new("/proc").join(child.id().to_string()).join(file)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(&stage.password) && !text.contains(&stage.vault.root_token()));
    }
    send(child.id(), "TERM");
    child.wait().unwrap();
}
