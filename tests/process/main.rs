//! The real binary: start, serve, stop; exit statuses; what it leaves in the process.

mod support;

use serde_json::json;
use support::canary::canary;
use support::sidecar::Builder;
use support::vault::{Dev, TestVault};

#[test]
fn serves_with_nothing_but_the_environment_of_the_vault_cli() {
    let vault = Dev::start();
    let password = canary("password");
    vault.put("app", json!({ "user": "alice", "password": password }));
    let token = canary("caller");
    let sidecar = Builder::serve()
        .args(&["--secret", "db=secret/data/app"])
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("SIDEKEY_TOKEN", &token)
        .start();
    let answer = sidecar.get("/secrets/db/password", &token);
    assert_eq!((answer.status, answer.text()), (200, password));
    sidecar.stop();
}
