//! `sidekey exec`: what a program gets, and how it is looked after.
#![cfg(feature = "dev")]
#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]

#[path = "../support/mod.rs"]
mod support;

mod change;
mod rotation;
mod stage;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use serde_json::json;
use sidekey::dev::{Fault, Matcher};
use stage::{BOTH, Stage, children_of, finish, line, only_child_of, send, start};
use support::canary::canary;
use support::eventually;
use support::sidecar::binary;
use support::vault::TestVault as _;

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
        (&["--env", "A", "--env", "1=db"], 64, "--env A: expected VAR=NAME/FIELD\n--env 1=db: "),
        (&["--env", "A=x", "--file", "B=y"], 64, "[secrets.x] in the configuration\n--file B=y: "),
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
