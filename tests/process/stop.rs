//! SIGTERM: not ready, nothing new, what is in flight ends, exit.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use sidekey::dev::{Fault, Matcher};

use crate::support::canary::canary;
use crate::support::client::{self, Response};
use crate::support::eventually;
use crate::support::sidecar::{Builder, Sidecar};
use crate::support::vault::{Dev, TestVault};
use crate::{Served, serve};

/// A read of another version, which Vault does not answer before `delay`.
fn slow_request(served: &Served, fault: Fault) -> TcpStream {
    let reads = Matcher::get("secret/data/app");
    let script = served.vault.server.faults().on(reads).respond(fault).forever();
    let addr = served.sidecar.addr();
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let token = &served.token;
    write!(
        stream,
        "GET /secrets/db/password?version=1 HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    eventually("the slow read at Vault", || (script.hits() > 0).then_some(()));
    stream
}

fn answer(mut stream: TcpStream) -> Option<Response> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    client::parse(&bytes).into_iter().next()
}

#[test]
fn what_is_in_flight_ends_and_nothing_new_begins() {
    let mut served = serve(&[]);
    let stream = slow_request(&served, Fault::delay(Duration::from_secs(2)));
    // One that waits for its next request has none in flight.
    let (addr, health) = (served.sidecar.addr(), served.sidecar.health_addr());
    let idle = TcpStream::connect(addr).unwrap();
    assert_eq!(served.sidecar.health("/readyz").status, 200);
    served.sidecar.signal(15);
    served.sidecar.wait_for("stopping");
    let ready = client::request(health, "GET", "/readyz", &[]);
    assert_eq!((ready.status, &ready.json()["stopping"]), (503, &true.into()));
    assert_eq!(client::request(health, "GET", "/livez", &[]).status, 200);
    eventually("the closed listener", || TcpStream::connect(addr).is_err().then_some(()));
    assert!(answer(idle).is_none());
    let answered = answer(stream).expect("an answer to what was in flight");
    assert_eq!((answered.status, answered.text()), (200, served.password.clone()));
    assert_eq!(served.sidecar.wait().code(), Some(0));
    let said = served.sidecar.stderr();
    assert!(!said.contains("connections cut"), "{said}");
    assert!(TcpStream::connect(health).is_err());
    let order: Vec<_> = ["\"ready\"", "\"stopping\"", "\"stopped\""].map(|e| said.find(e)).into();
    assert!(order.is_sorted() && order[0].is_some(), "{said}");
}

#[test]
fn a_second_signal_cuts_what_is_in_flight() {
    let mut served = serve(&[]);
    let stream = slow_request(&served, Fault::hang());
    served.sidecar.signal(15);
    served.sidecar.wait_for("stopping");
    assert_eq!(served.sidecar.health("/readyz").status, 503);
    let since = Instant::now();
    served.sidecar.signal(15);
    assert_eq!(served.sidecar.wait().code(), Some(0));
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    let said = served.sidecar.stderr();
    assert!(said.contains("connections cut"), "{said}");
    assert!(answer(stream).is_none_or(|answer| answer.status == 503));
}

#[test]
fn an_interrupt_is_a_stop_too() {
    let mut served = serve(&[]);
    served.sidecar.signal(2);
    assert_eq!(served.sidecar.wait().code(), Some(0));
    assert!(served.sidecar.stderr().contains("\"stopped\""));
}

/// Starts with a short deadline and an AppRole, whose token is ours to give back.
fn with_deadline(vault: &Dev) -> (Sidecar, String) {
    let (builder, token) = approle(vault, "2s", "");
    (builder.start(), token)
}

fn approle(vault: &Dev, deadline: &str, more: &str) -> (Builder, String) {
    vault.set_up("POST", "sys/auth/approle", json!({ "type": "approle" }));
    let rules = json!({ "policy": "path \"secret/*\" { capabilities = [\"read\"] }" });
    vault.set_up("PUT", "sys/policies/acl/app", rules);
    vault.set_up("POST", "auth/approle/role/app", json!({ "token_policies": ["app"] }));
    let read = |path: &str, method: &str, key: &str| {
        let body = if method == "GET" { serde_json::Value::Null } else { json!({}) };
        vault.set_up(method, path, body)["data"][key].as_str().unwrap().to_owned()
    };
    let role_id = read("auth/approle/role/app/role-id", "GET", "role_id");
    let secret_id = read("auth/approle/role/app/secret-id", "POST", "secret_id");
    let token = canary("caller");
    let builder = Builder::serve().on_free_ports();
    let file = builder.file("secret-id", &secret_id);
    let toml = format!(
        "[life]\nshutdown_deadline = \"{deadline}\"\n[auth]\nmethod = \"approle\"\nrole_id = \"{role_id}\"\n\
         secret_id_file = \"{file}\"\n[secrets.db]\npath = \"secret/data/app\"\n{more}"
    );
    let builder = builder.config(&toml).env("VAULT_ADDR", &vault.url());
    (builder.env("SIDEKEY_TOKEN", &token), token)
}

#[test]
fn a_second_signal_cuts_the_revoking_short() {
    let vault = Dev::start();
    vault.put("app", json!({ "password": canary("password") }));
    let (builder, _) = approle(&vault, "25s", "");
    let mut sidecar = builder.start();
    let revoking = Matcher::path("auth/token/revoke-self");
    let script = vault.server.faults().on(revoking).respond(Fault::hang()).forever();
    sidecar.signal(15);
    eventually("the revocation at Vault", || (script.hits() > 0).then_some(()));
    let since = Instant::now();
    sidecar.signal(15);
    assert_eq!(sidecar.wait().code(), Some(0));
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    let left = sidecar.events().into_iter().find(|event| event["message"] == "token not revoked");
    assert!(left.expect("it is said")["accessor"].is_string());
}

/// What hangs before it leaves the token its part of the time.
#[test]
fn certificates_that_cannot_be_revoked_do_not_use_up_the_tokens_time() {
    let vault = Dev::start();
    vault.put("app", json!({ "password": canary("password") }));
    vault.pki(json!({ "common_name": "root", "ttl": "48h" }));
    let role = json!({ "allowed_domains": "example.io", "allow_subdomains": true,
        "key_type": "ec", "max_ttl": "24h" });
    vault.set_up("POST", "pki/roles/web", role);
    let certificate = "[certificates.web]\nrole = \"web\"\ncommon_name = \"a.example.io\"\n\
        ttl = \"1h\"\nkey = \"local\"\n";
    let (builder, _) = approle(&vault, "4s", certificate);
    let rules = "path \"secret/*\" { capabilities = [\"read\"] }\n\
        path \"pki/*\" { capabilities = [\"update\", \"read\"] }";
    vault.set_up("PUT", "sys/policies/acl/app", json!({ "policy": rules }));
    let mut sidecar = builder.start();
    vault.server.faults().on(Matcher::path("pki/revoke")).respond(Fault::hang()).forever();
    sidecar.signal(15);
    assert_eq!(sidecar.wait().code(), Some(0));
    let said = sidecar.stderr();
    assert!(said.contains("certificate not revoked"), "{said}");
    assert!(said.contains("token revoked"), "{said}");
    assert_eq!(vault.server.count("POST", "auth/token/revoke-self"), 1);
}

#[test]
fn a_login_under_way_is_given_back_too() {
    let vault = Dev::start();
    let (builder, _) = approle(&vault, "20s", "");
    let login = Matcher::post("auth/approle/login");
    let slow = Fault::delay(Duration::from_secs(1));
    let script = vault.server.faults().on(login).respond(slow).forever();
    let mut sidecar = builder.spawn();
    eventually("the login at Vault", || (script.hits() > 0).then_some(()));
    sidecar.signal(15);
    assert_eq!(sidecar.wait().code(), Some(0));
    assert_eq!(vault.server.count("POST", "auth/token/revoke-self"), 1);
    assert!(sidecar.stderr().contains("token revoked"), "{}", sidecar.stderr());
}

#[test]
fn a_login_that_hangs_does_not_hold_the_stop_up() {
    let vault = Dev::start();
    let (builder, _) = approle(&vault, "20s", "");
    let login = Matcher::post("auth/approle/login");
    let script = vault.server.faults().on(login).respond(Fault::hang()).forever();
    let mut sidecar = builder.spawn();
    eventually("the login at Vault", || (script.hits() > 0).then_some(()));
    let since = Instant::now();
    sidecar.signal(15);
    assert_eq!(sidecar.wait().code(), Some(0));
    assert!(since.elapsed() < Duration::from_secs(6), "{:?}", since.elapsed());
    let said = sidecar.stderr();
    assert!(said.contains("a login was under way, its token may live on"), "{said}");
}

#[test]
fn the_token_is_given_back() {
    let vault = Dev::start();
    vault.put("app", json!({ "password": canary("password") }));
    let (sidecar, _) = with_deadline(&vault);
    let said = sidecar.stop();
    assert!(said.contains("\"token revoked\""), "{said}");
    assert_eq!(vault.server.count("POST", "auth/token/revoke-self"), 1);
}

#[test]
fn a_slow_reader_and_a_vault_that_hangs_do_not_hold_the_deadline_up() {
    let vault = Dev::start();
    // More than all buffers between here and there.
    let large = format!("{}{}", canary("large"), "x".repeat(7 << 20));
    vault.server.seed_kv2("secret/app", json!({ "large": large }).as_object().unwrap().clone());
    let (mut sidecar, token) = with_deadline(&vault);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let addr = sidecar.addr();
    socket.connect(&addr.into()).unwrap();
    let mut slow = TcpStream::from(socket);
    write!(
        slow,
        "GET /secrets/db HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    let mut first = [0; 16];
    slow.read_exact(&mut first).unwrap();
    vault.server.faults().on(Matcher::prefix("auth/token/")).respond(Fault::hang()).forever();
    let since = Instant::now();
    sidecar.signal(15);
    assert_eq!(sidecar.wait().code(), Some(0));
    let took = since.elapsed();
    let said = sidecar.stderr();
    // Without the deadline it would take the timeouts of both, ten seconds each.
    assert!(took < Duration::from_secs(6), "{took:?}\n{said}");
    assert!(said.contains("connections cut"), "{said}");
    let left = sidecar.events().into_iter().find(|event| event["message"] == "token not revoked");
    assert!(left.expect("it is said")["accessor"].is_string());
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    assert!(rest.len() < 7 << 20, "it was not slow");
}

#[test]
fn a_first_read_that_hangs_does_not_hold_the_stop_up() {
    let vault = Dev::start();
    let reads = Matcher::get("secret/data/app");
    let script = vault.server.faults().on(reads).respond(Fault::hang()).forever();
    let mut sidecar = Builder::serve()
        .on_free_ports()
        .config("[life]\nshutdown_deadline = \"2s\"\n[secrets.db]\npath = \"secret/data/app\"\n")
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("SIDEKEY_TOKEN", &canary("caller"))
        .spawn();
    eventually("the read at Vault", || (script.hits() > 0).then_some(()));
    let since = Instant::now();
    sidecar.signal(15);
    assert_eq!(sidecar.wait().code(), Some(0));
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
}
