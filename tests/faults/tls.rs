//! Certificates of Vault that are no good (any more).

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use sidekey::dev::{DevOptions, DevServer, DevTls};

use crate::case::{Case, SETTINGS, builder, secrets, store};
use crate::support::canary::canary;
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
