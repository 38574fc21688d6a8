//! Redirects of standby nodes: followed once, and only where it is safe.

use sidekey::dev::{DevOptions, DevServer, Fault, Matcher};

use crate::case::{Case, builder, store};
use crate::support::eventually;
use crate::support::vault::{Dev, TestVault};

/// Another node with the same root token.
fn node(vault: &Dev) -> DevServer {
    let root_token = Some(vault.root_token());
    let options = DevOptions { root_token, ..DevOptions::default() };
    vault.block_on(DevServer::start(options)).unwrap()
}

fn seed(server: &DevServer, name: &str, value: &str) {
    let fields = serde_json::json!({ "password": value });
    server.seed_kv2(&format!("secret/{name}"), fields.as_object().unwrap().clone());
}

#[test]
fn one_redirect_is_followed_and_a_second_one_is_not() {
    let (case, values) = Case::start_without_sandbox(&["db"]);
    let active = node(&case.vault);
    let value = crate::support::canary::canary("active");
    seed(&active, "db", &value);
    case.vault.server.standby(Some(active.url()));
    eventually("the value of the active node", || {
        let answer = case.get("db");
        assert_eq!(answer.status, 200);
        (answer.text() == value).then_some(())
    });
    assert!(active.count("GET", "secret/data/db") > 0);

    // The active node steps down, and both point at each other.
    active.standby(Some(case.vault.url()));
    let refusal = case.until_refused("db");
    assert_eq!((refusal.status, refusal.code().as_str()), (502, "upstream_malformed"));
    case.vault.server.activate();
    case.until("db", "fresh", &values[0]);
    case.sidecar.stop();
}

#[test]
fn a_standby_without_an_active_node_is_waited_for() {
    let (case, values) = Case::start(&["db"]);
    case.vault.server.standby(None);
    case.until("db", "stale", &values[0]);
    let refusal = case.until_refused("db");
    assert_eq!((refusal.status, refusal.code().as_str()), (503, "upstream_unavailable"));
    case.vault.server.activate();
    case.until("db", "fresh", &values[0]);
    case.sidecar.stop();
}

#[test]
fn a_redirect_elsewhere_is_not_followed() {
    let (case, values) = Case::start_without_sandbox(&["db"]);
    let thief = node(&case.vault);
    seed(&thief, "db", &crate::support::canary::canary("other"));
    let targets = ["/v1/secret/data/other", "/v1/sys/health", "/", "/v1/secret/data/db/../x"];
    for target in targets {
        let to = Fault::redirect(&format!("{}{target}", thief.url()));
        let faults = case.vault.server.faults();
        faults.clear();
        let script = faults.on(Matcher::prefix("secret/")).respond(to).forever();
        eventually("the redirect", || (script.hits() > 1).then_some(()));
    }
    assert_eq!(thief.requests(), [], "the token went elsewhere");
    case.vault.server.faults().clear();
    case.until("db", "fresh", &values[0]);
    case.sidecar.stop();
}

#[test]
fn standbys_that_point_at_each_other_at_the_start_are_waited_for() {
    let vault = Dev::start();
    let value = store(&vault, "db");
    let other = node(&vault);
    other.standby(Some(vault.url()));
    vault.server.standby(Some(other.url()));
    let (builder, token) = builder(&vault.url(), &vault.root_token());
    let sidecar = builder.args(&["--secret", "db=secret/data/db"]).spawn();
    sidecar.wait_for("waiting for Vault");
    vault.server.activate();
    sidecar.wait_for("ready");
    assert_eq!(sidecar.get("/secrets/db/password", &token).text(), value);
    sidecar.stop();
}
