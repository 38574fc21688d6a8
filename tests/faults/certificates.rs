//! Certificates when Vault fails: served to their end and not beyond, asked for with care.

use std::time::{Duration, Instant};

use serde_json::json;
use sidekey::dev::{Fault, Matcher};

use crate::case::{Case, SETTINGS, builder, most_requests};
use crate::support::client::Response;
use crate::support::eventually;
use crate::support::vault::{Dev, TestVault};

/// A PKI engine with a role `web`.
fn engine(vault: &impl TestVault) {
    vault.pki(json!({ "common_name": "root", "ttl": "48h" }));
    let role = json!({ "allowed_domains": "example.io", "allow_subdomains": true,
        "key_type": "ec", "max_ttl": "24h" });
    vault.set_up("POST", "pki/roles/web", role);
}

/// A sidecar with the certificate `web` alone; it may not be ready.
fn start(ttl: &str, prepare: impl FnOnce(&Dev)) -> Case {
    let vault = Dev::start();
    engine(&vault);
    prepare(&vault);
    let (builder, token) = builder(&vault.url(), &vault.root_token());
    let toml = format!(
        "{SETTINGS}[certificates.web]\nrole = \"web\"\ncommon_name = \"a.example.io\"\n\
         ttl = \"{ttl}\"\nkey = \"local\"\nrenew_at_percent = 40\n"
    );
    let sidecar = builder.config(&toml).spawn();
    sidecar.wait_for("logged in to Vault");
    Case { vault, sidecar, token }
}

fn get(case: &Case) -> Response {
    case.sidecar.get("/certificates/web", &case.token)
}

fn asked(case: &Case) -> usize {
    case.vault.server.count("POST", "pki/sign/web")
}

fn until_served(case: &Case) -> Response {
    // After failures the next attempt may be a minute away.
    let start = Instant::now();
    loop {
        let answer = get(case);
        if answer.status == 200 {
            return answer;
        }
        assert!(start.elapsed() < Duration::from_secs(70), "{}", case.sidecar.stderr());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}

#[test]
fn served_to_its_end_and_not_beyond() {
    let case = start("8s", |_| {});
    let first = until_served(&case).json();
    let ends = first["expiration"].as_u64().unwrap();
    let fault = case.vault.server.faults().on(Matcher::post("pki/sign/web"));
    fault.respond(Fault::status(500)).forever();
    let (since, before) = (Instant::now(), asked(&case));
    let refusal = loop {
        let asked_at = now();
        let answer = get(&case);
        if answer.status != 200 {
            break answer;
        }
        assert_eq!(answer.json()["serial_number"], first["serial_number"]);
        assert!(asked_at <= ends, "served after its end");
        assert!(since.elapsed() < Duration::from_secs(12), "served for ever");
    };
    assert!(now() + 1 >= ends, "refused before its end");
    assert_eq!((refusal.status, refusal.code().as_str()), (503, "upstream_unavailable"));
    assert!(asked(&case) - before <= most_requests(since.elapsed()));
    assert_eq!(case.sidecar.health("/readyz").json()["pending"], json!(["web"]));
    case.vault.server.faults().clear();
    let next = until_served(&case).json();
    assert_ne!(next["serial_number"], first["serial_number"]);
    case.sidecar.stop();
}

/// What is not what was asked for is not served, and not ordered again and again.
#[test]
fn another_certificate_than_asked_for_is_refused() {
    for (what, expected) in [
        ("foreign", "it does not belong to the private key"),
        ("garbled", "the certificate cannot be read"),
        ("expired", "it expired already"),
    ] {
        let case = start("1h", |vault| {
            let body = json!({ "common_name": "a.example.io", "ttl": "1h" });
            let mut issued = vault.set_up("POST", "pki/issue/web", body);
            if what == "garbled" {
                issued["data"]["certificate"] = "-----BEGIN CERTIFICATE-----\ncanary".into();
            }
            if what == "expired" {
                let certificate = rcgen::CertificateParams::new(vec!["a.example.io".into()]);
                let mut certificate = certificate.unwrap();
                certificate.not_after = rcgen::date_time_ymd(2020, 1, 1);
                let key = rcgen::KeyPair::generate().unwrap();
                let pem = certificate.self_signed(&key).unwrap().pem();
                issued["data"]["certificate"] = pem.into();
            }
            let fault = vault.server.faults().on(Matcher::post("pki/sign/web"));
            fault.respond(Fault::body(200, "application/json", issued.to_string())).forever();
        });
        let event = case.sidecar.wait_for("cannot get the certificate");
        let error = event["error"].as_str().unwrap();
        assert!(error.contains("another certificate than asked for"), "{error}");
        assert!(error.contains(expected), "{what}: {error}");
        let answer = get(&case);
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_malformed"));
        // Five minutes, as the log says: more often nothing is ordered that nobody can use.
        let pause = event["retry_in"].as_str().unwrap();
        assert_eq!(pause, "300s");
        assert_eq!(asked(&case), 1);
        case.sidecar.stop();
    }
}

#[test]
fn answers_that_are_none_are_retried_with_care() {
    for (what, fault) in [
        ("cut off", Fault::truncated_json()),
        ("reset", Fault::reset_mid_body()),
        ("empty", Fault::empty()),
        ("busy", Fault::status(429)),
        ("sealed", Fault::status(503)),
        ("denied", Fault::status(403)),
        ("without data", Fault::body(200, "application/json", "{\"data\":null}")),
        ("a page", Fault::body(200, "text/html", "<html>")),
    ] {
        let case = start("1h", |vault| {
            let matcher = Matcher::post("pki/sign/web");
            vault.server.faults().on(matcher).respond(fault).forever();
        });
        let since = Instant::now();
        case.sidecar.wait_for("cannot get the certificate");
        eventually(&format!("{what}: a second attempt"), || (asked(&case) >= 2).then_some(()));
        assert!(asked(&case) <= most_requests(since.elapsed()), "{what}");
        assert!(get(&case).status >= 500, "{what}");
        case.vault.server.faults().clear();
        until_served(&case);
        case.sidecar.stop();
    }
}

/// A signature that never comes holds up neither callers nor the stop.
#[test]
fn a_vault_that_hangs_holds_nobody_up() {
    let case = start("1h", |vault| {
        let matcher = Matcher::post("pki/sign/web");
        vault.server.faults().on(matcher).respond(Fault::hang()).forever();
    });
    eventually("a request", || (asked(&case) >= 1).then_some(()));
    let since = Instant::now();
    assert_eq!(get(&case).status, 503);
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
    let since = Instant::now();
    case.sidecar.stop();
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
}

/// What hangs when it is to be revoked is named at the stop.
#[test]
fn a_revocation_that_hangs_is_said_within_the_deadline() {
    let case = start("1h", |_| {});
    let serial = until_served(&case).json()["serial_number"].as_str().unwrap().to_owned();
    let fault = case.vault.server.faults().on(Matcher::post("pki/revoke"));
    fault.respond(Fault::hang()).forever();
    let since = Instant::now();
    let said = case.sidecar.stop();
    assert!(since.elapsed() < Duration::from_secs(9), "{:?}", since.elapsed());
    let line = said.lines().find(|line| line.contains("certificate not revoked"));
    assert!(line.is_some_and(|line| line.contains(&serial)), "{said}");
}

/// Twenty at once and no more, however often a caller asks for another one.
#[test]
fn callers_cannot_order_without_end() {
    let case = start("1h", |_| {});
    until_served(&case);
    let bearer = format!("Bearer {}", case.token);
    let (addr, since) = (case.sidecar.addr(), Instant::now());
    let refused = loop {
        let headers = [("Authorization", bearer.as_str())];
        let path = "/certificates/web/refresh";
        let answer = crate::support::client::request(addr, "POST", path, &headers);
        assert!(since.elapsed() < Duration::from_mins(1));
        match answer.status {
            200 => {}
            429 => {
                let wait = answer.header("retry-after").unwrap().parse().unwrap();
                std::thread::sleep(Duration::from_secs(wait));
            }
            _ => break answer,
        }
    };
    assert_eq!((refused.status, refused.code().as_str()), (503, "upstream_unavailable"));
    assert!((20..=24).contains(&asked(&case)), "{}", asked(&case));
    // What was there is still served.
    assert_eq!(get(&case).status, 200);
    case.sidecar.stop();
}
