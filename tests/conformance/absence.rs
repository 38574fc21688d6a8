//! What cannot be read, and how the reasons are told apart.

use serde_json::{Value, json};

use crate::approle::a_password;
use crate::case::{Case, case};
use crate::setup::{Running, Setup};
use crate::support::vault::TestVault as _;
use crate::vault::Vault;

pub const CASES: &[Case] = &[
    case!(nothing_stored),
    case!(deleted),
    case!(deleted_while_it_is_served),
    case!(destroyed),
    case!(metadata_gone),
    case!(no_such_version),
    case!(refused_by_policy),
    case!(no_such_mount),
    case!(kv_path_without_data),
    case!(version_of_an_engine_without_versions),
];

fn lazily(vault: &Vault, path: &str) -> Running {
    Setup::as_root(vault).lazy("db", path).start()
}

/// The error in the log about the secret.
fn reason(sidecar: &Running) -> String {
    sidecar.sidecar.wait_for("cannot read the secret")["error"].as_str().unwrap().to_owned()
}

fn nothing_stored(vault: &Vault) {
    let sidecar = lazily(vault, "secret/data/nothing");
    let answer = sidecar.get("/secrets/db/password");
    assert_eq!((answer.status, answer.code()), (404, "secret_missing".into()));
    assert_eq!(reason(&sidecar), "secret/data/nothing: nothing is stored there (404)");
    sidecar.stop();
}

fn deleted(vault: &Vault) {
    let password = a_password(vault);
    a_password(vault);
    vault.set_up("DELETE", "secret/data/app", Value::Null);
    let sidecar = lazily(vault, "secret/data/app");
    let answer = sidecar.get("/secrets/db/password");
    assert_eq!((answer.status, answer.code()), (404, "version_deleted".into()));
    assert_eq!(sidecar.code("db/password?version=2"), "version_deleted");
    assert_eq!(sidecar.value("db/password?version=1"), password);
    // A deletion can be undone.
    vault.set_up("POST", "secret/undelete/app", json!({ "versions": [2] }));
    assert_eq!(sidecar.refresh("db").status, 200);
    assert_eq!(sidecar.get("/secrets/db").header("sidekey-version"), Some("2"));
    sidecar.stop();
}

fn deleted_while_it_is_served(vault: &Vault) {
    let password = a_password(vault);
    let sidecar = lazily(vault, "secret/data/app");
    assert_eq!(sidecar.value("db/password"), password);
    vault.set_up("DELETE", "secret/data/app", Value::Null);
    let answer = crate::support::eventually("the refresh", || {
        let answer = sidecar.refresh("db");
        (answer.status != 200 && answer.status != 429).then_some(answer)
    });
    assert_eq!(answer.code(), "version_deleted");
    assert_eq!(sidecar.code("db/password"), "version_deleted", "the value is gone at once");
    sidecar.stop();
}

fn destroyed(vault: &Vault) {
    a_password(vault);
    let password = a_password(vault);
    vault.set_up("PUT", "secret/destroy/app", json!({ "versions": [1] }));
    let sidecar = lazily(vault, "secret/data/app");
    let answer = sidecar.get("/secrets/db/password?version=1");
    assert_eq!((answer.status, answer.code()), (404, "version_destroyed".into()));
    assert_eq!(sidecar.value("db/password"), password);
    sidecar.stop();
}

fn metadata_gone(vault: &Vault) {
    a_password(vault);
    vault.set_up("DELETE", "secret/metadata/app", Value::Null);
    let sidecar = lazily(vault, "secret/data/app");
    assert_eq!(sidecar.code("db/password"), "secret_missing");
    sidecar.stop();
}

fn no_such_version(vault: &Vault) {
    let password = a_password(vault);
    let sidecar = lazily(vault, "secret/data/app");
    let answer = sidecar.get("/secrets/db/password?version=9");
    assert_eq!((answer.status, answer.code()), (404, "version_missing".into()));
    assert_eq!(sidecar.value("db/password"), password);
    sidecar.stop();
}

fn refused_by_policy(vault: &Vault) {
    let password = a_password(vault);
    vault.put("other", json!({ "password": "x" }));
    vault.policy("narrow", "path \"secret/data/app\" { capabilities = [\"read\"] }");
    let token = vault.create_token(json!({ "policies": ["narrow"] }));
    let sidecar = Setup::new(vault)
        .env("VAULT_TOKEN", &token)
        .lazy("db", "secret/data/app")
        .lazy("other", "secret/data/other")
        .start();
    let answer = sidecar.get("/secrets/other/password");
    assert_eq!((answer.status, answer.code()), (503, "upstream_denied".into()));
    assert_eq!(answer.header("retry-after"), Some("30"));
    assert_eq!(reason(&sidecar), "secret/data/other: permission denied (403)");
    assert_eq!(sidecar.value("db/password"), password);
    assert_eq!(sidecar.logins(), 1, "a refused path is no reason to log in again");
    sidecar.stop();
}

fn no_such_mount(vault: &Vault) {
    let sidecar = lazily(vault, "nowhere/app");
    assert_eq!(sidecar.code("db/password"), "secret_missing");
    assert_eq!(reason(&sidecar), "nowhere/app: nothing is mounted there (404)");
    sidecar.stop();
}

fn kv_path_without_data(vault: &Vault) {
    a_password(vault);
    let sidecar = lazily(vault, "secret/app");
    assert_eq!(sidecar.code("db/password"), "secret_missing");
    let reason = reason(&sidecar);
    assert!(reason.contains("its read paths have data/ after the mount"), "{reason}");
    sidecar.stop();
}

/// KV version 1 does not look at `?version=`.
fn version_of_an_engine_without_versions(vault: &Vault) {
    vault.set_up("POST", "sys/mounts/old", json!({ "type": "kv", "options": { "version": "1" } }));
    vault.set_up("POST", "old/app", json!({ "password": "x" }));
    let sidecar = lazily(vault, "old/app");
    assert_eq!(sidecar.value("db/password"), "x");
    sidecar.stop();
}
