//! The real binary: exit statuses, signals, the client commands, and what it leaves in the
//! process.
#![cfg(feature = "dev")]
#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]
#![allow(missing_docs, unreachable_pub, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod check;
mod client;
mod dev;
mod exit;
mod hardening;
mod reload;
mod stop;
mod unread;

use serde_json::json;
use support::canary::canary;
use support::sidecar::{Builder, Sidecar};
use support::vault::{Dev, TestVault};

/// A sidecar that serves `secret/data/app` as `db`.
pub struct Served {
    pub vault: Dev,
    pub sidecar: Sidecar,
    pub token: String,
    pub password: String,
}

/// With a caller of the whole by environment, and `extra` arguments.
pub fn serve(extra: &[&str]) -> Served {
    let vault = Dev::start();
    let (password, token) = (canary("password"), canary("caller"));
    vault.put("app", json!({ "user": "alice", "password": password }));
    let sidecar = Builder::serve()
        .args(&["--secret", "db=secret/data/app"])
        .on_free_ports()
        .args(extra)
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("SIDEKEY_TOKEN", &token)
        .start();
    Served { vault, sidecar, token, password }
}

#[test]
fn serves_with_nothing_but_the_environment_of_the_vault_cli() {
    let Served { sidecar, token, password, vault: _vault } = serve(&[]);
    let answer = sidecar.get("/secrets/db/password", &token);
    assert_eq!((answer.status, answer.text()), (200, password));
    sidecar.stop();
}
