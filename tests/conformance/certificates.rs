//! Certificates of the PKI engine: issued, served, used, renewed, revoked.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use serde_json::{Value, json};
use webpki::CertRevocationList;

use crate::case::{Case, case};
use crate::setup::{Running, Setup};
use crate::support::canary::canary;
use crate::support::client;
use crate::support::eventually;
use crate::support::vault::TestVault as _;
use crate::vault::Vault;

pub const CASES: &[Case] = &[
    case!(every_form_of_one_issuance),
    case!(a_handshake_with_every_type_of_key),
    case!(a_key_made_here_needs_no_right_to_issue),
    case!(a_key_made_by_vault_where_nothing_is_signed),
    case!(a_role_for_rsa_keys).real_only("the dev server makes no RSA keys"),
    case!(names_of_every_kind),
    case!(an_intermediate_between),
    case!(replaced_before_its_end_and_told),
    case!(revoked_at_the_stop),
    case!(not_revoked_when_not_wanted),
    case!(a_refused_revocation_is_said_by_serial),
    case!(a_replaced_one_is_revoked_after_its_grace),
    case!(dropped_by_a_reload_is_revoked),
    case!(a_lease_ends_with_the_token),
    case!(min_ttl_gets_another_or_a_refusal),
    case!(refused_names_are_told),
    case!(callers_see_what_is_theirs),
];

const FORMS: [(&str, &str); 6] = [
    ("cert.pem", "application/pem-certificate-chain"),
    ("key.pem", "application/x-pem-file"),
    ("chain.pem", "application/pem-certificate-chain"),
    ("fullchain.pem", "application/pem-certificate-chain"),
    ("ca.pem", "application/pem-certificate-chain"),
    ("bundle.pem", "application/x-pem-file"),
];

const NAME: &str = "app.example.io";

/// A root in `pki/` with a role `web` for names below example.io.
pub(crate) fn engine(vault: &Vault, role: Value) {
    mount(vault, "pki");
    let root = json!({ "common_name": "root", "ttl": "8760h", "key_type": "ec" });
    vault.set_up("POST", "pki/root/generate/internal", root);
    self::role(vault, "web", role);
}

fn mount(vault: &Vault, path: &str) {
    let config = json!({ "type": "pki", "config": { "max_lease_ttl": "87600h" } });
    vault.set_up("POST", &format!("sys/mounts/{path}"), config);
}

fn role(vault: &Vault, name: &str, more: Value) {
    let mut role = json!({
        "allowed_domains": "example.io", "allow_subdomains": true, "key_type": "ec",
        "allowed_uri_sans": "spiffe://example.io/*", "max_ttl": "24h",
    });
    role.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    vault.set_up("POST", &format!("pki/roles/{name}"), role);
}

/// A token that may do this in `pki/`.
fn token(vault: &Vault, paths: &[&str]) -> String {
    let rules = paths
        .iter()
        .map(|path| format!("path \"pki/{path}\" {{ capabilities = [\"create\", \"update\"] }}\n"));
    vault.policy("pki", &rules.collect::<String>());
    vault.create_token(json!({ "policies": ["pki"] }))
}

pub(crate) fn web(more: &str) -> String {
    format!("role = \"web\"\ncommon_name = \"{NAME}\"\n{more}")
}

fn served(sidecar: &Running, form: &str) -> String {
    let answer = sidecar.get(&format!("/certificates/web{form}"));
    assert_eq!(answer.status, 200, "{form}: {}", answer.text());
    answer.text()
}

fn serial(sidecar: &Running) -> String {
    let json: Value = serde_json::from_str(&served(sidecar, "")).unwrap();
    json["serial_number"].as_str().unwrap().to_owned()
}

/// Seconds since 1970 at which Vault revoked it; 0 when it did not.
fn revoked_at(vault: &Vault, serial: &str) -> u64 {
    let answer = vault.set_up("GET", &format!("pki/cert/{serial}"), Value::Null);
    answer["data"]["revocation_time"].as_u64().unwrap()
}

fn is_on_the_list(vault: &Vault, serial: &str) -> bool {
    let answer = vault.set_up("GET", "pki/cert/crl", Value::Null);
    let pem = answer["data"]["certificate"].as_str().unwrap();
    let list = CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).unwrap();
    let list = webpki::BorrowedCertRevocationList::from_der(&list).unwrap();
    let bytes: Vec<u8> =
        serial.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    let list: CertRevocationList<'_> = list.into();
    match list {
        CertRevocationList::Borrowed(list) => list.into_iter().any(|revoked| {
            let number = revoked.unwrap().serial_number.to_vec();
            number.strip_prefix(&[0]).unwrap_or(&number) == bytes
        }),
        CertRevocationList::Owned(_) => unreachable!("it was borrowed"),
    }
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap()
}

/// A whole TLS handshake with what is served, without a network between.
fn handshake(sidecar: &Running, name: &str) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from_pem_slice(served(sidecar, "/key.pem").as_bytes()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates(&served(sidecar, "/fullchain.pem")), key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    for authority in certificates(&served(sidecar, "/ca.pem")) {
        roots.add(authority).unwrap();
    }
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut sent = &wire[..];
        while !sent.is_empty() {
            server.read_tls(&mut sent).unwrap();
            server.process_new_packets().unwrap();
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut sent = &wire[..];
        while !sent.is_empty() {
            client.read_tls(&mut sent).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    let sent = certificates(&served(sidecar, "/fullchain.pem"));
    assert_eq!(client.peer_certificates(), Some(&*sent));
}

fn every_form_of_one_issuance(vault: &Vault) {
    engine(vault, json!({}));
    let sidecar = Setup::as_root(vault).certificate("web", &web("ttl = \"1h\"")).start();
    let whole = sidecar.get("/certificates/web");
    let etag = whole.header("etag").unwrap().to_owned();
    assert_eq!(whole.header("content-type"), Some("application/json"));
    assert_eq!(whole.header("cache-control"), Some("no-store"));
    assert_eq!(whole.header("sidekey-version"), Some("1"));
    let left: u64 = whole.header("sidekey-expires-in").unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&left), "{left}");
    let json = whole.json();
    for (form, content_type) in FORMS {
        let answer = sidecar.get(&format!("/certificates/web/{form}"));
        assert_eq!(answer.status, 200, "{form}");
        assert_eq!(answer.header("etag"), Some(&*etag), "{form}");
        assert_eq!(answer.header("content-type"), Some(content_type), "{form}");
    }
    for form in ["keystore.p12", "truststore.p12", "keystore.jks", "truststore.jks"] {
        let answer = sidecar.get(&format!("/certificates/web/{form}"));
        assert_eq!((answer.status, answer.header("etag")), (200, Some(&*etag)), "{form}");
    }
    let pem = |field: &str| format!("{}\n", json[field].as_str().unwrap());
    assert_eq!(served(&sidecar, "/cert.pem"), pem("certificate"));
    assert_eq!(served(&sidecar, "/key.pem"), pem("private_key"));
    // The root issued it, and is not sent in a handshake.
    assert_eq!(served(&sidecar, "/ca.pem"), pem("issuing_ca"));
    assert_eq!(served(&sidecar, "/chain.pem"), pem("issuing_ca"));
    assert_eq!(served(&sidecar, "/fullchain.pem"), pem("certificate"));
    assert_eq!(served(&sidecar, "/bundle.pem"), pem("private_key") + &pem("certificate"));
    assert_eq!(json["ca_chain"], json!([json["issuing_ca"]]));
    let known = vault.set_up("GET", &format!("pki/cert/{}", serial(&sidecar)), Value::Null);
    let known = known["data"]["certificate"].as_str().unwrap();
    assert_eq!(certificates(known), certificates(&pem("certificate")));
    sidecar.stop();
}

fn a_handshake_with_every_type_of_key(vault: &Vault) {
    engine(vault, json!({ "key_type": "any" }));
    for key in ["key_type = \"ec\"", "key_bits = 384", "key_type = \"ed25519\""] {
        let lines = web(&format!("key = \"local\"\n{key}"));
        let sidecar = Setup::as_root(vault).certificate("web", &lines).start();
        handshake(&sidecar, NAME);
        sidecar.stop();
    }
}

/// Vault sees a signing request, and nothing else is permitted.
fn a_key_made_here_needs_no_right_to_issue(vault: &Vault) {
    engine(vault, json!({}));
    let token = token(vault, &["sign/web", "revoke"]);
    let sidecar = Setup::new(vault).env("VAULT_TOKEN", &token).certificate("web", &web("")).start();
    handshake(&sidecar, NAME);
    let serial = serial(&sidecar);
    let known = vault.set_up("GET", &format!("pki/cert/{serial}"), Value::Null);
    assert!(known["data"]["private_key"].is_null());
    sidecar.stop();
    assert!(revoked_at(vault, &serial) > 0);
}

fn a_key_made_by_vault_where_nothing_is_signed(vault: &Vault) {
    engine(vault, json!({}));
    let token = token(vault, &["issue/web"]);
    let sidecar = Setup::new(vault).env("VAULT_TOKEN", &token).certificate("web", &web("")).start();
    assert!(served(&sidecar, "/key.pem").starts_with("-----BEGIN PRIVATE KEY-----\n"));
    handshake(&sidecar, NAME);
    let said = sidecar.stop();
    assert!(said.contains("key made by Vault"), "{said}");
}

/// Vault's default: such a role signs none of our keys.
fn a_role_for_rsa_keys(vault: &Vault) {
    engine(vault, json!({ "key_type": "rsa", "key_bits": 2048 }));
    let sidecar = Setup::as_root(vault).certificate("web", &web("")).start();
    assert!(served(&sidecar, "/key.pem").starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert!(served(&sidecar, "/key.pem").len() > 1500);
    handshake(&sidecar, NAME);
    sidecar.stop();
    let lines = web("key = \"local\"\nrequired = false");
    vault.put("app", json!({ "password": canary("password") }));
    let setup = Setup::as_root(vault).secret("db", "secret/data/app");
    let sidecar = setup.certificate("web", &lines).start();
    assert_eq!(sidecar.get("/certificates/web").code(), "upstream_malformed");
    let said = sidecar.stop();
    assert!(said.contains("the role signs no key of such a type: see key and key_type"), "{said}");
}

fn names_of_every_kind(vault: &Vault) {
    engine(vault, json!({}));
    let names = "alt_names = [\"*.app.example.io\", \"other.example.io\"]\n\
                 ip_sans = [\"127.0.0.1\", \"::1\"]\nuri_sans = [\"spiffe://example.io/app\"]\n";
    for key in ["local", "vault"] {
        let lines = web(&format!("{names}key = \"{key}\""));
        let sidecar = Setup::as_root(vault).certificate("web", &lines).start();
        for name in [NAME, "x.app.example.io", "other.example.io", "127.0.0.1", "::1"] {
            handshake(&sidecar, name);
        }
        sidecar.stop();
    }
}

/// The chain has the intermediate, a handshake sends it, and the root is what others trust.
fn an_intermediate_between(vault: &Vault) {
    mount(vault, "top");
    let root = json!({ "common_name": "root", "ttl": "8760h", "key_type": "ec" });
    vault.set_up("POST", "top/root/generate/internal", root);
    mount(vault, "pki");
    let request = json!({ "common_name": "intermediate", "key_type": "ec" });
    let request = vault.set_up("POST", "pki/intermediate/generate/internal", request);
    let sign =
        json!({ "csr": request["data"]["csr"], "common_name": "intermediate", "ttl": "4000h" });
    let signed = vault.set_up("POST", "top/root/sign-intermediate", sign);
    let both = format!(
        "{}\n{}",
        signed["data"]["certificate"].as_str().unwrap(),
        signed["data"]["issuing_ca"].as_str().unwrap()
    );
    vault.set_up("POST", "pki/intermediate/set-signed", json!({ "certificate": both }));
    role(vault, "web", json!({}));
    let sidecar = Setup::as_root(vault).certificate("web", &web("")).start();
    assert_eq!(certificates(&served(&sidecar, "/chain.pem")).len(), 2);
    assert_eq!(certificates(&served(&sidecar, "/fullchain.pem")).len(), 2);
    let root = certificates(signed["data"]["issuing_ca"].as_str().unwrap());
    assert_eq!(certificates(&served(&sidecar, "/ca.pem")), root);
    handshake(&sidecar, NAME);
    sidecar.stop();
}

/// A new one in time, a long poll that says so, and the old one is left alone.
fn replaced_before_its_end_and_told(vault: &Vault) {
    engine(vault, json!({}));
    let lines = web("ttl = \"9s\"\nrenew_at_percent = 50");
    let sidecar = Setup::as_root(vault).certificate("web", &lines).start();
    let first = sidecar.get("/certificates/web");
    let old = serial(&sidecar);
    let etag = first.header("etag").unwrap();
    let news = client::request(
        sidecar.sidecar.addr(),
        "GET",
        "/certificates/web/key.pem?wait=8s",
        &[("X-Vault-Token", sidecar.token()), ("If-None-Match", etag)],
    );
    assert_eq!(news.status, 200, "{}", sidecar.sidecar.stderr());
    assert_ne!(news.text(), first.json()["private_key"].as_str().unwrap());
    assert_eq!(news.header("sidekey-version"), Some("2"));
    let left: u64 = news.header("sidekey-expires-in").unwrap().parse().unwrap();
    assert!(left >= 7, "{left}");
    assert_eq!(revoked_at(vault, &old), 0);
    handshake(&sidecar, NAME);
    sidecar.stop();
}

/// The one in use and the one before it.
fn revoked_at_the_stop(vault: &Vault) {
    engine(vault, json!({}));
    let sidecar = Setup::as_root(vault).certificate("web", &web("")).start();
    let first = serial(&sidecar);
    assert!(!is_on_the_list(vault, &first));
    assert_eq!(sidecar.post("/certificates/web/refresh").status, 200);
    let second = serial(&sidecar);
    assert_ne!(first, second);
    let key = served(&sidecar, "/key.pem");
    let said = sidecar.stop();
    for line in key.lines() {
        assert!(!said.contains(line), "a line of the key stands in stderr");
    }
    assert!(!said.contains("PRIVATE KEY"));
    for serial in [first, second] {
        assert!(revoked_at(vault, &serial) > 0, "{said}");
        assert!(is_on_the_list(vault, &serial));
    }
}

fn not_revoked_when_not_wanted(vault: &Vault) {
    engine(vault, json!({}));
    let sidecar = Setup::as_root(vault).certificate("web", &web("revoke = false")).start();
    let serial = serial(&sidecar);
    sidecar.stop();
    assert_eq!(revoked_at(vault, &serial), 0);
}

fn a_refused_revocation_is_said_by_serial(vault: &Vault) {
    engine(vault, json!({}));
    let token = token(vault, &["sign/web"]);
    let sidecar = Setup::new(vault).env("VAULT_TOKEN", &token).certificate("web", &web("")).start();
    let serial = serial(&sidecar);
    let said = sidecar.stop();
    let line = said.lines().find(|line| line.contains("certificate not revoked"));
    assert!(line.is_some_and(|line| line.contains(&serial) && line.contains("403")), "{said}");
    assert_eq!(revoked_at(vault, &serial), 0);
}

fn a_replaced_one_is_revoked_after_its_grace(vault: &Vault) {
    engine(vault, json!({}));
    let lines = web("revoke_replaced_after = \"1s\"");
    let sidecar = Setup::as_root(vault).certificate("web", &lines).start();
    let old = serial(&sidecar);
    sidecar.post("/certificates/web/refresh");
    let new = serial(&sidecar);
    assert_eq!(revoked_at(vault, &old), 0);
    sidecar.wait_for("certificate revoked", 1);
    assert!(revoked_at(vault, &old) > 0);
    assert_eq!((revoked_at(vault, &new), serial(&sidecar)), (0, new));
    sidecar.stop();
}

fn dropped_by_a_reload_is_revoked(vault: &Vault) {
    engine(vault, json!({}));
    vault.put("app", json!({ "password": canary("password") }));
    let setup = Setup::as_root(vault).secret("db", "secret/data/app");
    let sidecar = setup.certificate("web", &web("")).start();
    let serial = serial(&sidecar);
    let file = sidecar.sidecar.path("sidekey.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, after) = text.split_once("[certificates.web]").unwrap();
    let after = after.split_once("\n[").unwrap().1;
    std::fs::write(&file, format!("{before}[{after}")).unwrap();
    sidecar.sidecar.signal(1);
    sidecar.wait_for("certificate revoked", 1);
    assert!(revoked_at(vault, &serial) > 0);
    assert_eq!(sidecar.get("/certificates/web").code(), "unknown_name");
    sidecar.stop();
}

/// With `generate_lease` the certificate is a lease too, and our token's end is its own.
fn a_lease_ends_with_the_token(vault: &Vault) {
    engine(vault, json!({ "generate_lease": true }));
    vault.enable_auth("approle", "approle");
    vault.policy("pki", "path \"pki/sign/web\" { capabilities = [\"update\"] }");
    vault.set_up("POST", "auth/approle/role/app", json!({ "token_policies": "pki" }));
    let id = vault.set_up("GET", "auth/approle/role/app/role-id", Value::Null);
    let secret_id = vault.set_up("POST", "auth/approle/role/app/secret-id", json!({}));
    let mut setup = Setup::new(vault);
    let file = setup.credential("secret-id", secret_id["data"]["secret_id"].as_str().unwrap());
    let auth = format!(
        "method = \"approle\"\nrole_id = {}\nsecret_id_file = \"{file}\"",
        id["data"]["role_id"]
    );
    let sidecar = setup.auth(&auth).certificate("web", &web("")).start();
    let serial = serial(&sidecar);
    handshake(&sidecar, NAME);
    sidecar.stop();
    eventually("its revocation with the token", || (revoked_at(vault, &serial) > 0).then_some(()));
}

fn min_ttl_gets_another_or_a_refusal(vault: &Vault) {
    engine(vault, json!({}));
    let lines = web("ttl = \"20s\"\nrenew_at_percent = 90");
    let sidecar = Setup::as_root(vault).certificate("web", &lines).start();
    let first = serial(&sidecar);
    eventually("a second of its life to pass", || {
        let left =
            sidecar.get("/certificates/web").header("sidekey-expires-in").unwrap().to_owned();
        (left.parse::<u64>().unwrap() <= 17).then_some(())
    });
    let answer = sidecar.get("/certificates/web?min_ttl=18s");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_ne!(answer.json()["serial_number"], first);
    assert_eq!(sidecar.get("/certificates/web/cert.pem?min_ttl=1h").code(), "min_ttl_unmet");
    sidecar.stop();
}

fn refused_names_are_told(vault: &Vault) {
    engine(vault, json!({}));
    let lines = "role = \"web\"\ncommon_name = \"app.example.com\"\nrequired = false";
    let lost = "role = \"nobody\"\ncommon_name = \"app.example.io\"\nrequired = false";
    let setup = Setup::as_root(vault).certificate("web", lines).certificate("lost", lost);
    vault.put("app", json!({ "password": canary("password") }));
    let sidecar = setup.secret("db", "secret/data/app").start();
    assert_eq!(sidecar.get("/certificates/web").code(), "upstream_malformed");
    assert_eq!(sidecar.get("/certificates/lost").code(), "upstream_malformed");
    let said = sidecar.stop();
    assert!(said.contains("does not permit a name that was asked for"), "{said}");
    assert!(said.contains("there is no such role"), "{said}");
}

/// Secrets and certificates are apart, and one rule names both.
fn callers_see_what_is_theirs(vault: &Vault) {
    engine(vault, json!({}));
    vault.put("app", json!({ "password": canary("password") }));
    let setup = Setup::as_root(vault).secret("db", "secret/data/app");
    let sidecar = setup.certificate("web", &web("")).start();
    let listed = sidecar.get("/certificates").json();
    assert_eq!(listed["certificates"][0]["name"], "web");
    assert_eq!(listed["certificates"][0]["serial_number"], serial(&sidecar));
    assert!(listed["certificates"][0]["expiration"].is_u64());
    assert_eq!(listed["certificates"].as_array().unwrap().len(), 1);
    let secrets = sidecar.get("/secrets").json();
    assert_eq!(secrets["secrets"].as_array().unwrap().len(), 1);
    assert_eq!(sidecar.get("/secrets/web").code(), "unknown_name");
    assert_eq!(sidecar.get("/secrets/web/key.pem").code(), "unknown_name");
    assert_eq!(sidecar.get("/certificates/db").code(), "unknown_name");
    assert_eq!(sidecar.get("/certificates/web/key.der").code(), "unknown_form");
    assert_eq!(sidecar.get("/certificates/web/keystore.pfx").code(), "unknown_form");
    let unknown = client::get(sidecar.sidecar.addr(), "/certificates/web/key.pem", "nobody's");
    assert_eq!(unknown.status, 401);
    sidecar.stop();
}
