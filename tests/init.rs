//! `sidekey exec` as process 1 of a process namespace, as it is in a container.
//!
//! A namespace takes root to make: without it the case shows as ignored, and with `CI=true` it
//! fails.
#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::Arguments;
use serde_json::json;
use support::canary::canary;
use support::eventually;
use support::sidecar::{clean, program};
use support::trials::{ROOT, trial};
use support::vault::{Dev, TestVault as _};

fn main() -> ExitCode {
    let trial = trial("it_reaps_forwards_and_passes_on_as_process_1", &[ROOT], as_process_1);
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit_code()
}

/// Its orphan's parent is gone before it is; nobody but process 1 can wait for it then.
const SCRIPT: &str = "trap 'echo told; exit 7' USR1
    sh -c 'sh -c \"echo \\$PPID orphaned; until [ -e $0 ]; do sleep 0.05; done\" $0 &' $GO
    echo $PPID parent $PASSWORD
    while :; do sleep 0.05; done";

fn as_process_1() {
    let (vault, password) = (Dev::start(), canary("init"));
    vault.put("app", json!({ "password": password }));
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let mut command = clean("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(program());
    command.args(["exec", "--secret", "db=secret/data/app", "--env", "PASSWORD=db/password"]);
    command.args(["--", "sh", "-c", SCRIPT]);
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("GO", &go);
    command.env("VAULT_ADDR", vault.url()).env("VAULT_TOKEN", vault.root_token());
    command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut unshare = command.spawn().unwrap();
    let mut lines = BufReader::new(unshare.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut said = [lines.next().unwrap(), lines.next().unwrap()];
    said.sort_by_key(|line| line.contains("orphaned"));
    assert_eq!(said[0], format!("1 parent {password}"), "{said:?}");

    let sidekey = only_child(unshare.id());
    let status = fs::read_to_string(format!("/proc/{sidekey}/status")).unwrap();
    let numbers = status.lines().find(|line| line.starts_with("NSpid:")).unwrap();
    assert!(numbers.ends_with("\t1"), "{numbers}");
    // The program and the orphan, whose parent has ended by now.
    eventually("an adopted orphan", || (children(sidekey).len() == 2).then_some(()));
    let both = children(sidekey);
    fs::write(&go, "").unwrap();
    eventually("the orphan's end, and no zombie", || (children(sidekey).len() == 1).then_some(()));
    let left = children(sidekey)[0];
    assert!(both.contains(&left), "the program goes on");

    assert!(
        Command::new("kill").args(["-s", "USR1", &sidekey.to_string()]).status().unwrap().success()
    );
    assert_eq!(lines.next().unwrap(), "told");
    assert_eq!(unshare.wait().unwrap().code(), Some(7));
}

/// Zombies among them.
fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()
    };
    tasks.flatten().flat_map(of).collect()
}

fn only_child(pid: u32) -> u32 {
    eventually("one child", || match children(pid)[..] {
        [child] => Some(child),
        _ => None,
    })
}
