//! Vault is not there when the sidecar starts.

use std::net::{SocketAddr, TcpListener};

use sidekey::dev::{DevOptions, DevServer, Fault, Matcher};

use crate::case::{Case, MAX_STALE, SETTINGS, builder, secrets, store};
use crate::support::canary::canary;
use crate::support::client;
use crate::support::vault::{Dev, TestVault};

/// A port that nothing listens on, at an address that no other test takes ports from.
fn unused() -> SocketAddr {
    let own = format!("127.83.{}.1:0", std::process::id() % 250);
    TcpListener::bind(own).unwrap().local_addr().unwrap()
}

const DEADLINE: &str = "[life]\nstartup_deadline = \"2s\"\n[vault]\ntimeout = \"1s\"\n\
    [secrets.db]\npath = \"secret/data/db\"\n";

#[test]
fn without_vault_the_start_ends_at_its_deadline() {
    let (builder, _) = builder(&format!("http://{}", unused()), &canary("root"));
    let mut sidecar = builder.config(DEADLINE).spawn();
    let waiting = sidecar.wait_for("waiting for Vault");
    assert!(waiting["retry_in"].is_string(), "{waiting}");
    assert_eq!(sidecar.health("/readyz").status, 503);
    assert_eq!(sidecar.health("/livez").status, 200);
    assert_eq!(sidecar.wait().code(), Some(69));
    let said = sidecar.stderr();
    // One line for each attempt; that nothing could be read without it is no news.
    let loud = said.lines().filter(|line| line.contains("\"WARN\"") && line.contains("retry_in"));
    assert_eq!(loud.count(), said.matches("\"login failed\"").count(), "{said}");
    assert!(said.contains("error: no login to Vault at http://127.83."), "{said}");
    assert!(said.contains("caused by: "), "{said}");
}

#[test]
fn a_vault_that_never_answers_is_given_up_too() {
    let vault = Dev::start();
    vault.server.faults().on(Matcher::any()).respond(Fault::hang()).forever();
    let (builder, _) = builder(&vault.url(), &vault.root_token());
    let mut sidecar = builder.config(DEADLINE).spawn();
    assert_eq!(sidecar.wait().code(), Some(69));
    assert!(sidecar.stderr().contains("Vault did not answer in time"), "{}", sidecar.stderr());
}

#[test]
fn answers_before_the_first_login_say_so_and_vault_is_found_when_it_comes() {
    let addr = unused();
    let root_token = canary("root");
    let (builder, token) = builder(&format!("http://{addr}"), &root_token);
    let sidecar = builder.args(&["--secret", "db=secret/data/db"]).spawn();
    sidecar.wait_for("waiting for Vault");
    let answer = sidecar.get("/secrets/db", &token);
    assert_eq!((answer.status, answer.code().as_str()), (503, "not_ready"));
    assert!(answer.header("retry-after").is_some());
    let listing = sidecar.get("/secrets", &token);
    assert_eq!(listing.json()["secrets"][0]["version"], serde_json::Value::Null);

    let other = Dev::start();
    let options = DevOptions { listen: addr, root_token: Some(root_token), tls: None };
    let vault = other.block_on(DevServer::start(options)).unwrap();
    let value = canary("db");
    let fields = serde_json::json!({ "password": value });
    vault.seed_kv2("secret/db", fields.as_object().unwrap().clone());
    sidecar.wait_for("ready");
    assert_eq!(sidecar.get("/secrets/db/password", &token).text(), value);
    sidecar.stop();
}

#[test]
fn a_vault_that_goes_away_is_taken_up_again_when_it_is_back() {
    let (host, root_token) = (Dev::start(), canary("root"));
    let serve = |listen: SocketAddr, value: &str| {
        let options = DevOptions { listen, root_token: Some(root_token.clone()), tls: None };
        let vault = host.block_on(DevServer::start(options)).unwrap();
        let fields = serde_json::json!({ "password": value });
        vault.seed_kv2("secret/db", fields.as_object().unwrap().clone());
        vault
    };
    let (old, new) = (canary("old"), canary("new"));
    let first = serve(unused(), &old);
    let addr = first.addr();
    let (builder, token) = builder(&first.url(), &root_token);
    let toml = format!("{SETTINGS}{}", secrets(&["db"], MAX_STALE));
    let case = Case { sidecar: builder.config(&toml).start(), vault: Dev::start(), token };
    host.block_on(first.stop());
    case.until("db", "stale", &old);
    let refusal = case.until_refused("db");
    assert_eq!((refusal.status, refusal.code().as_str()), (503, "upstream_unavailable"));
    assert_eq!(case.sidecar.health("/readyz").status, 503);
    let _back = serve(addr, &new);
    case.until("db", "fresh", &new);
    assert_eq!(case.sidecar.health("/readyz").status, 200);
    case.sidecar.stop();
}

#[test]
fn a_sealed_vault_is_waited_for() {
    let vault = Dev::start();
    let value = store(&vault, "db");
    vault.server.seal();
    let (builder, token) = builder(&vault.url(), &vault.root_token());
    let sidecar = builder.config(DEADLINE.replace("2s", "30s").as_str()).spawn();
    sidecar.wait_for("waiting for Vault");
    vault.server.unseal();
    sidecar.wait_for("ready");
    assert_eq!(sidecar.get("/secrets/db/password", &token).text(), value);
    sidecar.stop();
}

#[test]
fn stopped_while_it_waits_it_ends_well() {
    let (builder, _) = builder(&format!("http://{}", unused()), &canary("root"));
    let sidecar = builder.args(&["--secret", "db=secret/data/db"]).spawn();
    sidecar.wait_for("waiting for Vault");
    let addr = sidecar.addr();
    sidecar.stop();
    assert!(std::net::TcpStream::connect(addr).is_err());
}

#[test]
fn a_required_secret_that_is_not_there_keeps_it_from_being_ready() {
    let vault = Dev::start();
    let (builder, token) = builder(&vault.url(), &vault.root_token());
    let toml = "[secrets.db]\npath = \"secret/data/db\"\nrefresh = \"1s\"\n";
    let sidecar = builder.config(toml).spawn();
    let said = sidecar.wait_for("cannot read the secret");
    assert_eq!(said["name"], "db");
    let ready = client::request(sidecar.health_addr(), "GET", "/readyz", &[]);
    assert_eq!((ready.status, &ready.json()["pending"][0]), (503, &"db".into()));
    let answer = sidecar.get("/secrets/db", &token);
    assert_eq!((answer.status, answer.code().as_str()), (404, "secret_missing"));
    store(&vault, "db");
    sidecar.wait_for("ready");
    sidecar.stop();
}
