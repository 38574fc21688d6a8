//! A leased credential: renewed, then replaced by another.

use serde_json::json;

use super::client::Client;
use super::mode::Mode;
use super::secrets::random;
use super::stage::{CALLER, Load, Stage};
use super::support::eventually;
use super::support::needle::Needles;
use super::support::vault::{Dev, TestVault};

pub fn run(vault: &Dev, mode: Mode) {
    vault.set_up("POST", "sys/mounts/database", json!({ "type": "database" }));
    let role = json!({ "default_ttl": "3s", "max_ttl": "12s" });
    vault.set_up("POST", "database/roles/app", role);
    let (token, root) = (random("t", 50), vault.root_token());
    let needles = Needles::new([("VAULT_TOKEN", &*root), (&format!("{CALLER} token"), &*token)]);
    let sidecar = mode
        .builder()
        .config(
            "[vault]\nmax_requests_per_second = 50\n[secrets.db]\npath = \"database/creds/app\"",
        )
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &root)
        .env("SIDEKEY_TOKEN", &token)
        .start();
    let stage = Stage::new("leased", mode, sidecar, needles);
    let first = learn(&stage, &token);
    stage.at_rest("idle with a lease");
    stage.sidecar.wait_for("lease renewed");
    stage.at_rest("after the lease was renewed");
    let host = stage.addr().to_string();
    let load = (0..4).map(|_| {
        let (mut client, host) = (Client::tcp(stage.addr(), &token), host.clone());
        Box::new(move || {
            let status = client.get(&host, "/secrets/db");
            // A short lease can end while a search keeps the process stopped.
            assert!([200, 503].contains(&status), "{status}");
        }) as Load<'_>
    });
    stage.under_load("under load, while leases change", load.collect());
    eventually("another credential", || (learn(&stage, &token) != first).then_some(()));
    stage.at_rest("after the credential was replaced");
    stage.end().stop();
}

/// What it serves now is searched for from now on.
fn learn(stage: &Stage, token: &str) -> String {
    let answer = stage.sidecar.get("/secrets/db/password", token);
    assert_eq!(answer.status, 200, "{}", answer.text());
    stage.needles.borrow_mut().add("leased password", &answer.body);
    answer.text()
}
