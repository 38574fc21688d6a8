//! `sidekey exec`: the program has its values by design, in its environment and in its files; who
//! started it and looks after it has none of them.

use serde_json::json;

use super::mode::Mode;
use super::secrets::{Values, random};
use super::stage::Stage;
use super::support::eventually;
use super::support::needle::Needles;
use super::support::vault::{Dev, TestVault};

const GIVEN: [&str; 6] =
    ["--env", "QUOTED=app/quoted", "--env", "LONG=app/long", "--file", "FILE=app/encoded"];

/// A program that is started again with other values, and one whose files are written anew.
pub fn run(vault: &Dev, mode: Mode) {
    let restart = ["--env", "ALL=app", "--restart-on-change"];
    change(vault, mode, "restarted", &restart, "program started");
    change(
        vault,
        mode,
        "signalled",
        &["--signal-on-change", "USR1"],
        "a value changed: program signalled",
    );
}

fn change(vault: &Dev, mode: Mode, name: &'static str, flags: &[&str], changed: &str) {
    let first = Values::new();
    vault.put("app", first.fields());
    let vault_token = random("v", 40);
    let policy = json!({ "policy": "path \"secret/*\" { capabilities = [\"read\"] }" });
    vault.set_up("POST", "sys/policies/acl/reader", policy);
    let body = json!({ "id": vault_token, "policies": ["reader"], "ttl": "1h" });
    vault.set_up("POST", "auth/token/create", body);
    let mut needles = Needles::default();
    first.add_to(&mut needles, "first");
    needles.add("VAULT_TOKEN", vault_token.as_bytes());
    let script = "trap 'exit 0' TERM; trap : USR1; while :; do sleep 0.05; done";
    let sidecar = mode
        .builder_of("exec")
        .config("[secrets.app]\npath = \"secret/data/app\"\nrefresh = \"1s\"")
        .env("PATH", "/usr/bin:/bin")
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault_token)
        .args(&GIVEN)
        .args(flags)
        .args(&["--debounce", "0s", "--", "sh", "-c", script])
        .spawn();
    sidecar.wait_for("program started");
    let stage = Stage::new(name, mode, sidecar, needles);
    stage.at_rest("the program runs");

    let before = count(&stage, changed);
    let next = Values::new();
    next.add_to(&mut stage.needles.borrow_mut(), "second");
    vault.put("app", next.fields());
    eventually("a change that the program knows of", || {
        (count(&stage, changed) > before).then_some(())
    });
    stage.at_rest("after a value changed");
    stage.end().stop();
}

fn count(stage: &Stage, message: &str) -> usize {
    let events = stage.sidecar.events();
    events.iter().filter(|event| event["message"] == message).count()
}
