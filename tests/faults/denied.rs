//! Vault says no, or nothing any more: lost policies, seals, dead tokens, an empty Vault.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sidekey::dev::{Fault, Matcher};

use crate::case::{Case, MAX_STALE, SETTINGS, Watch, builder, most_requests, secrets, store};
use crate::support::canary::canary;
use crate::support::eventually;
use crate::support::vault::{Dev, TestVault};

/// A token of `policy` with nothing but reads of `secret/data/*`.
fn limited_token(vault: &Dev) -> String {
    let rules = "path \"secret/data/*\" { capabilities = [\"read\"] }";
    vault.set_up("PUT", "sys/policies/acl/app", json!({ "policy": rules }));
    let answer = vault.set_up("POST", "auth/token/create", json!({ "policies": ["app"] }));
    answer["auth"]["client_token"].as_str().unwrap().to_owned()
}

fn watch_until_refused(case: &Case, name: &str, value: &str, max_stale: Duration) -> Watch {
    let since = Instant::now();
    let mut watch = Watch::new(name, value, since);
    while watch.refusal.is_none() {
        watch.look(case, max_stale);
    }
    let requests = case.vault.server.requests().len();
    assert!(watch.stale_seen);
    assert!(requests < 60, "{requests} requests");
    watch
}

#[test]
fn a_lost_policy_is_tolerated_for_a_moment() {
    let names = &["db"];
    let vault = Dev::start();
    let value = store(&vault, "db");
    let (builder, token) = builder(&vault.url(), &limited_token(&vault));
    let toml = format!("{SETTINGS}{}", secrets(names, Duration::from_hours(1)));
    let sidecar = builder.config(&toml).start();
    let case = Case { vault, sidecar, token };
    let deny = json!({ "policy": "path \"secret/data/*\" { capabilities = [\"deny\"] }" });
    let (since, before) = (Instant::now(), case.requests("db"));
    case.vault.set_up("PUT", "sys/policies/acl/app", deny);
    // Denied within one refresh, and served for 15 s more: whatever `max_stale` says.
    let watch = watch_until_refused(&case, "db", &value, Duration::from_secs(15));
    let refusal = watch.refusal.unwrap();
    assert_eq!((refusal.status, refusal.code().as_str()), (503, "upstream_denied"));
    assert!(refusal.header("retry-after").is_some());
    assert!(case.requests("db") - before <= most_requests(since.elapsed()));

    let allow = json!({ "policy": "path \"secret/data/*\" { capabilities = [\"read\"] }" });
    case.vault.set_up("PUT", "sys/policies/acl/app", allow);
    case.until("db", "fresh", &value);
    case.sidecar.stop();
}

#[test]
fn sealed_and_unsealed_again() {
    let (case, values) = Case::start(&["db"]);
    case.vault.server.seal();
    let refusal = watch_until_refused(&case, "db", &values[0], MAX_STALE).refusal.unwrap();
    assert_eq!((refusal.status, refusal.code().as_str()), (503, "upstream_unavailable"));
    assert_eq!(case.sidecar.health("/readyz").status, 503);
    case.vault.server.unseal();
    case.until("db", "fresh", &values[0]);
    assert_eq!(case.sidecar.health("/readyz").status, 200);
    case.sidecar.stop();
}

#[test]
fn a_deleted_secret_is_gone_at_once() {
    let (case, _) = Case::start(&["db"]);
    case.vault.set_up("DELETE", "secret/metadata/db", Value::Null);
    let since = Instant::now();
    let refusal = case.until_refused("db");
    assert_eq!((refusal.status, refusal.code().as_str()), (404, "secret_missing"));
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    let value = store(&case.vault, "db");
    case.until("db", "fresh", &value);
    case.sidecar.stop();
}

#[test]
fn an_empty_vault_has_no_secret_and_the_new_one_is_taken() {
    let (case, _) = Case::start(&["db"]);
    case.vault.server.restart_empty().unwrap();
    let refusal = case.until_refused("db");
    assert_eq!((refusal.status, refusal.code().as_str()), (404, "secret_missing"));
    let value = store(&case.vault, "db");
    case.until("db", "fresh", &value);
    case.sidecar.stop();
}

/// An AppRole named `app` that may read `secret/data/*`; its role-id and a secret-id.
fn approle(vault: &Dev) -> (String, String) {
    let rules = "path \"secret/data/*\" { capabilities = [\"read\"] }";
    vault.set_up("PUT", "sys/policies/acl/app", json!({ "policy": rules }));
    vault.set_up("POST", "sys/auth/approle", json!({ "type": "approle" }));
    vault.set_up("POST", "auth/approle/role/app", json!({ "token_policies": ["app"] }));
    let role_id = vault.set_up("GET", "auth/approle/role/app/role-id", Value::Null);
    let secret_id = vault.set_up("POST", "auth/approle/role/app/secret-id", json!({}));
    let text = |answer: Value, key: &str| answer["data"][key].as_str().unwrap().to_owned();
    (text(role_id, "role_id"), text(secret_id, "secret_id"))
}

#[test]
fn a_vault_that_lost_everything_is_not_stormed_with_logins() {
    let vault = Dev::start();
    let value = store(&vault, "db");
    let (role_id, secret_id) = approle(&vault);
    let token = canary("caller");
    let builder = crate::support::sidecar::Builder::serve()
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("SIDEKEY_TOKEN", &token);
    let file = builder.file("secret-id", &secret_id);
    let toml = format!(
        "{SETTINGS}[auth]\nmethod = \"approle\"\nrole_id = \"{role_id}\"\nsecret_id_file = \"{file}\"\n{}",
        secrets(&["db"], MAX_STALE)
    );
    let case = Case { sidecar: builder.config(&toml).start(), vault, token };
    case.until("db", "fresh", &value);
    case.vault.server.restart_empty().unwrap();
    let before = case.vault.server.requests().len();
    let since = Instant::now();
    // The token is doubted at once, and there is no other to be had.
    let refusal = watch_until_refused(&case, "db", &value, MAX_STALE).refusal.unwrap();
    assert_eq!((refusal.status, refusal.code().as_str()), (503, "upstream_unavailable"));
    let logins = || case.vault.server.count("POST", "auth/approle/login");
    eventually("two more logins", || (logins() >= 3).then_some(()));
    eventually("the word that there is no login", || {
        (case.get("db").code() == "upstream_unavailable").then_some(())
    });
    let asked = case.vault.server.requests().len() - before;
    let most = 2 * most_requests(since.elapsed());
    assert!(asked <= most, "{asked} requests in {:?}", since.elapsed());
    assert!(logins() < 8, "{} logins", logins());

    // The operator restores it; the delivered secret-id is another one now.
    let value = store(&case.vault, "db");
    let (new_role_id, secret_id) = approle(&case.vault);
    let toml = toml.replace(&role_id, &new_role_id);
    std::fs::write(case.sidecar.path("secret-id"), secret_id).unwrap();
    std::fs::write(case.sidecar.path("sidekey.toml"), toml).unwrap();
    case.sidecar.signal(1);
    case.until("db", "fresh", &value);
    case.sidecar.stop();
}

#[test]
fn every_refusal_of_a_dead_vault_is_one_of_ours() {
    let (case, _) = Case::start(&["db"]);
    let faults = case.vault.server.faults();
    let words = canary("error");
    faults.on(Matcher::any()).respond(Fault::errors(403, &[&words])).forever();
    let refusal = case.until_refused("db");
    assert_eq!(refusal.status, 503);
    assert!(!refusal.text().contains(&words));
    let listing = case.sidecar.get("/secrets", &case.token);
    assert_eq!(listing.status, 200);
    assert!(!listing.text().contains(&words));
    case.sidecar.stop();
}
