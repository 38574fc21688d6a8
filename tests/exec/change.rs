//! A value changes while the program runs.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::stage::{BOTH, Stage, line, only_child_of, send, start, start_with_log};
use crate::support::canary::assert_clean;
use crate::support::eventually;
use crate::support::vault::TestVault as _;

#[test]
fn a_change_restarts_it_with_the_new_value() {
    let stage = Stage::new();
    let script = "trap 'echo bye; exit 0' TERM; echo \"$PGPASSWORD\"; while :; do sleep 0.05; done";
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

const RESTART: [&str; 7] = [
    "--env",
    "PGPASSWORD=db/password",
    "--env",
    "PGUSER=db/user",
    "--restart-on-change",
    "--debounce",
    "0s",
];
const TALK: &str =
    "trap 'echo bye; exit 0' TERM; echo \"$PGPASSWORD\"; while :; do sleep 0.05; done";
const SIGNAL: [&str; 6] =
    ["--file", "FILE=db/password", "--signal-on-change", "USR1", "--debounce", "0s"];
const RELATE: &str = "trap 'cat $FILE; echo' USR1; cat $FILE; echo; while :; do sleep 0.05; done";

/// The sidecar has looked so often since.
fn looks(stage: &Stage, more: usize) {
    let before = stage.vault.server.requests().len();
    eventually("other looks", || {
        (stage.vault.server.requests().len() >= before + more).then_some(())
    });
}

/// In clock ticks, a hundredth of a second each.
fn processor_time(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// A value that cannot be used costs nobody a program that runs.
#[test]
fn what_cannot_be_used_leaves_the_program_alone() {
    for (value, said) in [
        (json!({ "user": "alice" }), "has no field \\\"password\\\""),
        (json!({ "user": "alice", "password": "CANARY7f3a\u{0}" }), "NUL byte"),
    ] {
        let stage = Stage::new();
        let log = stage.folder.path().join("log");
        let mut command = stage.exec(&RESTART, TALK);
        let (mut child, mut lines) = start_with_log(&mut command, &log);
        assert_eq!(line(&mut lines), stage.password);
        let program = only_child_of(child.id());
        stage.vault.put("app", value);
        let complaints = || {
            let log = fs::read_to_string(&log).unwrap();
            assert_clean("the log", &log);
            let keeps = log.lines().filter(|line| line.contains("the program keeps what it has"));
            keeps.map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        let complaint = eventually("a complaint", || complaints().pop());
        assert!(complaint.contains("--env PGPASSWORD") && complaint.contains(said), "{complaint}");
        let spent = processor_time(child.id());
        looks(&stage, 3);
        assert!(processor_time(child.id()) < spent + 100, "it spins");
        assert_eq!(complaints().len(), 1, "said once");
        assert_eq!(only_child_of(child.id()), program, "the same program");
        let password = stage.new_password();
        assert_eq!(line(&mut lines), "bye");
        assert_eq!(line(&mut lines), password);
        send(child.id(), "TERM");
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn files_stay_as_they_are_when_there_is_nothing_to_write() {
    let stage = Stage::new();
    let log = stage.folder.path().join("log");
    let (mut child, mut lines) = start_with_log(&mut stage.exec(&SIGNAL, RELATE), &log);
    assert_eq!(line(&mut lines), stage.password);
    stage.vault.put("app", json!({ "user": "alice" }));
    let keeps = "the program keeps what it has";
    eventually("a complaint", || fs::read_to_string(&log).unwrap().contains(keeps).then_some(()));
    send(only_child_of(child.id()), "USR1");
    assert_eq!(line(&mut lines), stage.password);
    let password = stage.new_password();
    assert_eq!(line(&mut lines), password);
    send(child.id(), "TERM");
    child.wait().unwrap();
}

#[test]
fn other_fields_of_the_secret_change_nothing() {
    for (flags, script, bye) in [(&RESTART[..], TALK, true), (&SIGNAL[..], RELATE, false)] {
        let stage = Stage::new();
        let (mut child, mut lines) = start(&mut stage.exec(flags, script));
        assert_eq!(line(&mut lines), stage.password);
        let reads = || stage.vault.server.count("GET", "secret/data/app");
        for n in 8..10 {
            let before = reads();
            let other = json!({ "user": "alice", "password": stage.password, "n": n });
            stage.vault.put("app", other);
            eventually("the other value to be read", || (reads() > before).then_some(()));
            looks(&stage, 2);
        }
        let password = stage.new_password();
        if bye {
            assert_eq!(line(&mut lines), "bye");
        }
        assert_eq!(line(&mut lines), password, "nothing was said in between");
        send(child.id(), "TERM");
        child.wait().unwrap();
    }
}

/// Nothing of the old program runs beside the new one: neither who ends when it is asked to, nor
/// who does not.
#[test]
fn a_restart_leaves_nothing_of_the_old_group() {
    let stage = Stage::new();
    let script = "trap 'exit 0' TERM; sleep 1000 & gentle=$!
        (trap '' TERM; exec sleep 1000) & stubborn=$!
        (while :; do sleep 0.05; done) & echo $$ $gentle $stubborn $!; wait";
    let mut flags = RESTART.to_vec();
    flags.extend(["--grace", "300ms"]);
    let (mut child, mut lines) = start(&mut stage.exec(&flags, script));
    let old = line(&mut lines);
    assert_eq!(old.split(' ').count(), 4, "{old}");
    stage.new_password();
    // The new one runs by the time that the old ones are looked for.
    let new = line(&mut lines);
    for pid in old.split(' ') {
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "{pid} of {old} is left");
    }
    let group = format!("-{}", new.split(' ').next().unwrap());
    send(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // At the end of all the others are left to themselves, as they would be without us.
    assert!(Command::new("kill").args(["-s", "KILL", "--", &group]).status().unwrap().success());
}
