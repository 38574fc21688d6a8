//! Certificates of Vault that are no good (any more).

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use sidekey::dev::{DevOptions, DevServer, DevTls};

use crate::case::{Case, SETTINGS, builder, secrets, store};
use crate::support::canary::canary;
use crate::support::eventually;
use crate::support::vault::{Dev, TestVault};

/// An authority of this test's own.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A server's certificate for `name`, good until the start of `until`.
    fn issue(&self, name: &str, until: i32) -> DevTls {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        DevTls {
            cert_chain: cert.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            client_ca: None,
        }
    }
}

const DEADLINE: &str = "[life]\nstartup_deadline = \"1s\"\n";

/// What a sidecar says that cannot start.
fn refused(tls: DevTls, ca: &str) -> String {
    let vault = Dev::start_tls(tls);
    let (builder, _) = builder(&vault.url(), &vault.root_token());
    let file = builder.file("ca.pem", ca);
    let toml = format!("{DEADLINE}{}", secrets(&["db"], Duration::ZERO));
    let mut sidecar = builder.env("VAULT_CACERT", &file).config(&toml).spawn();
    assert_eq!(sidecar.wait().code(), Some(69), "{}", sidecar.stderr());
    assert_eq!(vault.server.requests(), [], "nothing is said to a server that is not Vault");
    sidecar.stderr()
}

#[test]
fn bad_certificates_are_named() {
    let ours = Authority::new();
    let expired = refused(ours.issue("127.0.0.1", 2021), &ours.pem);
    assert!(expired.contains("expired"), "{expired}");
    let other = refused(ours.issue("127.0.0.1", 2999), &Authority::new().pem);
    assert!(other.contains("invalid peer certificate"), "{other}");
    let name = refused(ours.issue("vault.example", 2999), &ours.pem);
    assert!(name.contains("not valid for name"), "{name}");
}

#[test]
fn a_certificate_that_expires_is_like_a_vault_that_is_away() {
    let ours = Authority::new();
    let (vault, host) = (Dev::start(), Dev::start());
    let root_token = canary("root");
    let serve = |listen, tls| {
        let options = DevOptions { listen, root_token: Some(root_token.clone()), tls: Some(tls) };
        host.block_on(DevServer::start(options)).unwrap()
    };
    let fields =
        |value: &str| serde_json::json!({ "password": value }).as_object().unwrap().clone();
    let value = canary("db");
    // An address that no other test takes ports from.
    let own = format!("127.84.{}.1", std::process::id() % 250);
    let first = serve(format!("{own}:0").parse().unwrap(), ours.issue(&own, 2999));
    first.seed_kv2("secret/db", fields(&value));
    let addr = first.addr();
    let (builder, token) = builder(&first.url(), &root_token);
    let file = builder.file("ca.pem", &ours.pem);
    let toml = format!("{SETTINGS}{}", secrets(&["db"], Duration::from_secs(2)));
    let sidecar = builder.env("VAULT_CACERT", &file).config(&toml).start();
    let case = Case { vault, sidecar, token };
    case.vault.block_on(first.stop());

    let expired = serve(addr, ours.issue(&own, 2021));
    case.until("db", "stale", &value);
    let refusal = case.until_refused("db");
    assert_eq!((refusal.status, refusal.code().as_str()), (503, "upstream_unavailable"));
    assert_eq!(expired.requests(), []);
    case.vault.block_on(expired.stop());

    let renewed = serve(addr, ours.issue(&own, 2999));
    let value = canary("db");
    renewed.seed_kv2("secret/db", fields(&value));
    case.until("db", "fresh", &value);
    case.sidecar.stop();
}

#[test]
fn a_redirect_from_https_to_http_is_not_followed() {
    let ours = Authority::new();
    let vault = Dev::start_tls(ours.issue("127.0.0.1", 2999));
    let value = store(&vault, "db");
    let plain = Dev::start();
    let (builder, token) = builder(&vault.url(), &vault.root_token());
    let file = builder.file("ca.pem", &ours.pem);
    let toml = format!("{SETTINGS}{}", secrets(&["db"], Duration::from_secs(1)));
    let sidecar = builder.env("VAULT_CACERT", &file).config(&toml).start();
    let case = Case { vault, sidecar, token };
    case.vault.server.standby(Some(plain.url()));
    case.until("db", "stale", &value);
    let refusal = case.until_refused("db");
    assert_eq!((refusal.status, refusal.code().as_str()), (502, "upstream_malformed"));
    assert_eq!(plain.server.requests(), [], "the token went over plain HTTP");
    case.sidecar.stop();
}

#[test]
fn a_replaced_ca_file_is_taken_up_by_itself() {
    let (old, new) = (Authority::new(), Authority::new());
    let host = Dev::start();
    let root_token = canary("root");
    let serve = |listen, tls| {
        let options = DevOptions { listen, root_token: Some(root_token.clone()), tls: Some(tls) };
        host.block_on(DevServer::start(options)).unwrap()
    };
    let value = canary("db");
    let fields = serde_json::json!({ "password": value }).as_object().unwrap().clone();
    // An address that no other test takes ports from.
    let own = format!("127.85.{}.1", std::process::id() % 250);
    let first = serve(format!("{own}:0").parse().unwrap(), old.issue(&own, 2999));
    first.seed_kv2("secret/db", fields.clone());
    let addr = first.addr();
    let (builder, token) = builder(&first.url(), &root_token);
    let file = builder.file("ca.pem", &old.pem);
    let toml = format!("{SETTINGS}{}", secrets(&["db"], Duration::from_secs(2)));
    let sidecar = builder.env("VAULT_CACERT", &file).config(&toml).start();
    host.block_on(first.stop());
    let renewed = serve(addr, new.issue(&own, 2999));
    renewed.seed_kv2("secret/db", fields);
    sidecar.wait_for("cannot read the secret");
    // Half of it, as a writer may leave it for a moment, changes nothing.
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----").unwrap();
    sidecar.wait_for("trust anchors or client certificate unusable, those of before stay");
    std::fs::write(&file, &new.pem).unwrap();
    sidecar.wait_for("trust anchors and client certificate read anew");
    let case = Case { vault: Dev::start(), sidecar, token };
    case.until("db", "fresh", &value);
    case.sidecar.stop();
}

/// The certificates of both nodes have one name, as `vault` itself has it.
#[test]
fn a_server_name_is_that_of_the_active_node_too() {
    let ours = Authority::new();
    let tls = || ours.issue("vault.example", 2999);
    let vault = Dev::start_tls(tls());
    let options = DevOptions {
        root_token: Some(vault.root_token()),
        tls: Some(tls()),
        ..DevOptions::default()
    };
    let active = vault.block_on(DevServer::start(options)).unwrap();
    let value = canary("active");
    let fields = serde_json::json!({ "password": value }).as_object().unwrap().clone();
    active.seed_kv2("secret/db", fields);
    store(&vault, "db");
    let (builder, token) = builder(&vault.url(), &vault.root_token());
    let file = builder.file("ca.pem", &ours.pem);
    // On one host two nodes differ by their port, and the sandbox knows one port of Vault's.
    let open = "[sandbox]\nenabled = false\n";
    let toml = format!("{SETTINGS}{}{open}", secrets(&["db"], Duration::from_secs(2)));
    let sidecar = builder
        .env("VAULT_CACERT", &file)
        .env("VAULT_TLS_SERVER_NAME", "vault.example")
        .config(&toml)
        .start();
    let case = Case { vault, sidecar, token };
    case.vault.server.standby(Some(active.url()));
    eventually("the value of the active node", || (case.get("db").text() == value).then_some(()));
    case.sidecar.stop();
}
