//! When something goes wrong.

use std::time::Duration;

use serde_json::json;
use sidekey::dev::{Fault, Matcher};

use super::mode::Mode;
use super::secrets::{Values, random};
use super::stage::Stage;
use super::support::eventually;
use super::support::needle::Needles;
use super::support::vault::{Dev, TestVault};

/// Errors that repeat a secret, and expiry.
pub fn run(vault: &Dev, mode: Mode) {
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
    let sidecar = mode
        .builder()
        .config("[secrets.app]\npath = \"secret/data/app\"\nrefresh = \"1s\"\nmax_stale = \"1s\"")
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault_token)
        .env("SIDEKEY_TOKEN", &by_env)
        .start();
    let stage = Stage::new("failures", mode, sidecar, needles);
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
    stage.end().stop();
}
