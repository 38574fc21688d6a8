//! When something goes wrong, and how it logs in.

use std::time::Duration;

use serde_json::json;
use sidekey::dev::{Fault, Matcher};

use super::secrets::{Values, approle, random};
use super::stage::Stage;
use super::support::eventually;
use super::support::needle::Needles;
use super::support::sidecar::Builder;
use super::support::vault::{Dev, TestVault, call};

/// Errors that repeat a secret, expiry, logins with tokens that are known, wrapped secret-ids.
pub fn run(vault: &Dev) {
    let values = Values::new();
    vault.put("app", values.fields());
    let (vault_token, by_env, in_error) = (random("v", 40), random("t", 50), random("x", 80));
    let policy = json!({ "policy": "path \"secret/*\" { capabilities = [\"read\"] }" });
    vault.set_up("POST", "sys/policies/acl/reader", policy);
    let body = json!({ "id": vault_token, "policies": ["reader"], "ttl": "1h" });
    vault.set_up("POST", "auth/token/create", body);
    let mut needles = Needles::default();
    values.add_to(&mut needles, "value");
    needles.add("VAULT_TOKEN", vault_token.as_bytes());
    needles.add("SIDEKEY_TOKEN", by_env.as_bytes());
    needles.add("error body", in_error.as_bytes());
    let sidecar = Builder::serve()
        .config("[secrets.app]\npath = \"secret/data/app\"\nrefresh = \"1s\"\nmax_stale = \"1s\"")
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault_token)
        .env("SIDEKEY_TOKEN", &by_env)
        .start();
    let stage = Stage::new("failures", sidecar, needles);
    stage.at_rest("idle after fetch, token by environment");
    let faults = vault.server.faults();
    let envelope = json!({ "data": { "data": { "long": in_error } } }).to_string();
    for fault in [
        Fault::errors(500, &[&in_error]),
        Fault::errors(400, &[&in_error]),
        Fault::body(200, "application/json", envelope.replace("}}}", "}}")),
        Fault::body(404, "text/html", format!("<html>{in_error}</html>")),
        Fault::errors(403, &[&in_error]),
    ] {
        faults.on(Matcher::get("secret/data/app")).respond(fault).forever();
        std::thread::sleep(Duration::from_millis(1500));
        stage.at_rest("after an error of Vault");
        faults.clear();
    }
    eventually("expiry", || {
        faults.on(Matcher::get("secret/data/app")).respond(Fault::status(500)).forever();
        let status = stage.sidecar.get("/secrets/app", &by_env).status;
        (status >= 500).then_some(())
    });
    stage.at_rest("after expiry");
    let sidecar = stage.end();
    sidecar.stop();
    wrapped(vault);
}

/// A wrapped secret-id, and what comes out of it.
fn wrapped(vault: &Dev) {
    let (role_id, _) = approle(vault, json!({ "token_ttl": "1h" }));
    let path = "auth/approle/role/app/secret-id";
    let root = vault.root_token();
    let custom = random("s", 50);
    let (_, answer) = call(
        &vault.url(),
        "POST",
        "auth/approle/role/app/custom-secret-id",
        Some(&root),
        &[("X-Vault-Wrap-TTL", "60s")],
        json!({ "secret_id": custom }),
    );
    let wrapping =
        answer["wrap_info"]["token"].as_str().unwrap_or_else(|| panic!("{path}: {answer}"));
    let by_env = random("t", 50);
    let needles = Needles::new([
        ("wrapping token", wrapping),
        ("wrapped secret-id", &*custom),
        ("SIDEKEY_TOKEN", &*by_env),
    ]);
    let builder = Builder::serve();
    let file = builder.file("wrapped", wrapping);
    let config = format!(
        "[auth]\nmethod = \"approle\"\nrole_id = \"{role_id}\"\nsecret_id_file = \"{file}\"\n\
         secret_id_wrapped = true\n[secrets.app]\npath = \"secret/data/app\""
    );
    vault.server.faults().clear();
    let sidecar = builder
        .config(&config)
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("SIDEKEY_TOKEN", &by_env)
        .start();
    let stage = Stage::new("wrapped", sidecar, needles);
    stage.at_rest("idle after unwrapping and login");
    stage.end().stop();
}
