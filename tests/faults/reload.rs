//! A reload while Vault does not answer.

use sidekey::dev::{Fault, Matcher};

use crate::case::{Case, SETTINGS, builder, store};
use crate::support::eventually;
use crate::support::vault::{Dev, TestVault};

#[test]
fn a_fetch_of_the_old_declaration_does_not_outlive_the_reload() {
    let vault = Dev::start();
    let (old, new) = (store(&vault, "old"), store(&vault, "new"));
    let slow = Fault::hang();
    vault.server.faults().on(Matcher::get("secret/data/old")).respond(slow).forever();
    let toml = |path: &str| format!("{SETTINGS}[secrets.db]\npath = \"secret/data/{path}\"\n");
    let (builder, token) = builder(&vault.url(), &vault.root_token());
    let sidecar = builder.config(&toml("old").replace("1s", "5s")).spawn();
    let case = Case { vault, sidecar, token };
    eventually("the slow fetch", || (case.requests("old") > 0).then_some(()));
    std::fs::write(case.sidecar.path("sidekey.toml"), toml("new")).unwrap();
    case.sidecar.signal(1);
    case.sidecar.wait_for("configuration reloaded");
    case.vault.server.faults().clear();
    case.until("db", "fresh", &new);
    let _ = old;
    case.sidecar.wait_for("ready");
    case.sidecar.stop();
}
