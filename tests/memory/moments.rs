//! The moments of a sidecar's life.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sidekey::dev::{Fault, Matcher};

use super::stage::{Client, Stage};
use super::support::canary::canary;
use super::support::eventually;
use super::support::needle::Needles;
use super::support::sidecar::Builder;
use super::support::vault::{Dev, Real, TestVault};

/// Random text that no form of another canary shares a part with.
pub fn random(what: &str, len: usize) -> String {
    use ring::rand::{SecureRandom, SystemRandom};
    const DIGITS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = vec![0; len];
    SystemRandom::new().fill(&mut bytes).unwrap();
    let digit = |byte: &u8| char::from(DIGITS[usize::from(*byte) % DIGITS.len()]);
    let text: String = bytes.iter().map(digit).collect();
    format!("{}{text}", &canary(what)[..10])
}

/// The values of one secret.
struct Values {
    quoted: String,
    long: String,
    /// 1 MiB: a block that repeats, so that the search stays quick.
    big: String,
    encoded: String,
}

impl Values {
    fn new() -> Self {
        let block = random("b", 3062);
        Self {
            quoted: format!("{}\"\\\n\t{}", random("q", 40), random("r", 40)),
            long: random("l", 190),
            big: block.repeat((1 << 20) / 3072 + 1),
            encoded: random("e", 60),
        }
    }

    fn fields(&self) -> Value {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(&self.encoded);
        json!({ "quoted": self.quoted, "long": self.long, "encoded": encoded })
    }

    fn add_to(&self, needles: &mut Needles, which: &str) {
        for (name, value) in [
            ("quoted", &self.quoted),
            ("long", &self.long),
            ("big", &self.big),
            ("encoded", &self.encoded),
        ] {
            needles.add(&format!("{which} {name}"), value.as_bytes());
        }
    }
}

/// Everything over one kind of connection to a real Vault, logged in by `AppRole`.
pub fn run(name: &'static str, vault: Arc<Real>) {
    let values = Values::new();
    vault.put("app", values.fields());
    vault.put("big", json!({ "value": values.big }));
    vault.put("short", json!({ "value": values.long }));
    let audit = tempfile::tempdir().unwrap();
    let log = audit.path().join("audit.log");
    let options = json!({ "file_path": log, "log_raw": "true", "mode": "0600" });
    vault.set_up("POST", "sys/audit/file", json!({ "type": "file", "options": options }));

    let (by_env, by_file) = (random("t", 50), random("f", 50));
    let mut needles = Needles::default();
    values.add_to(&mut needles, "value");
    needles.add("SIDEKEY_TOKEN", by_env.as_bytes());
    needles.add("token_file", by_file.as_bytes());
    let (role_id, secret_id) =
        approle(&*vault, json!({ "token_ttl": "3s", "token_max_ttl": "7s" }));
    needles.add("secret-id", secret_id.as_bytes());

    let builder = Builder::serve();
    let secret_id_file = builder.file("secret-id", &secret_id);
    let token_file = builder.file("token", &by_file);
    let tls = vault.ca_file.as_ref().map(|ca| {
        let client = client_certificate(&builder, &mut needles);
        format!("ca_cert = \"{}\"\n{client}", ca.display())
    });
    let socket = format!("@sidekey-memory-{name}-{}", std::process::id());
    let config = format!(
        r#"
        [vault]
        address = "{url}"
        {tls}
        [auth]
        method = "approle"
        role_id = "{role_id}"
        secret_id_file = "{secret_id_file}"
        [secrets.app]
        path = "secret/data/app"
        refresh = "1h"
        [secrets.big]
        path = "secret/data/big"
        refresh = "1h"
        [secrets.short]
        path = "secret/data/short"
        refresh = "1s"
        max_stale = "1s"
        [[callers]]
        name = "file"
        token_file = "{token_file}"
        allow = ["*"]
        [limits]
        refusals_per_second = 1000
        "#,
        url = vault.url(),
        tls = tls.unwrap_or_default(),
    );
    let sidecar = builder
        .config(&config)
        .on_free_ports()
        .args(&["--listen", &socket])
        .env("SIDEKEY_TOKEN", &by_env)
        .start();
    let stage = Stage::new(name, sidecar, needles);
    let host = stage.addr().to_string();
    learn_tokens(&log, &stage, &vault.root_token());
    stage.at_rest("idle after fetch");

    // Reads over connections that stay.
    let mut clients: Vec<Client> = Vec::new();
    for n in 0..8 {
        let token = if n % 2 == 0 { &by_env } else { &by_file };
        clients.push(Client::tcp(stage.addr(), token));
        clients.push(Client::unix(&socket, token));
    }
    for client in &mut clients {
        for path in ["/secrets/app", "/secrets/app/quoted", "/secrets/app/long"] {
            assert_eq!(client.get(&host, path), 200);
        }
    }
    stage.at_rest("connections open after a few reads");
    std::thread::scope(|scope| {
        for client in &mut clients {
            let host = &host;
            scope.spawn(move || {
                for n in 0..400 {
                    let path = ["/secrets/app", "/secrets/app/quoted", "/secrets/app/long"][n % 3];
                    assert_eq!(client.get(host, path), 200);
                }
                assert_eq!(client.get(host, "/secrets/big/value"), 200);
            });
        }
        for _ in 0..3 {
            let found = stage.look("while loading");
            let (copies, fragments) = found.copies_and_fragments();
            eprintln!("{}", found.places());
            // One head and one answer for each connection, at most.
            assert!(copies + fragments <= 4 * 16, "{found}");
        }
    });
    stage.at_rest("connections open after thousands of reads");
    drop(clients);
    stage.at_rest("connections closed");

    formats(&stage, &by_env, &host);
    refusals(&stage, &by_env, &host);
    vanishing_readers(&stage, &by_env, &host);

    // Another value takes the place of this one.
    let next = Values::new();
    vault.put("app", next.fields());
    vault.put("big", json!({ "value": next.big }));
    next.add_to(&mut stage.needles.borrow_mut(), "rotated");
    let mut client = Client::tcp(stage.addr(), &by_env);
    for name in ["app", "big"] {
        assert_eq!(client.send("POST", &host, &format!("/secrets/{name}/refresh"), ""), 200);
    }
    assert_eq!(client.get(&host, "/secrets/app/long"), 200);
    assert_eq!(client.body, next.long.as_bytes());
    stage.at_rest("after rotation");

    eventually("a renewal and another login", || {
        let logins = stage.sidecar.events();
        let logins = logins.iter().filter(|e| e["message"] == "logged in to Vault").count();
        (logins >= 2).then_some(())
    });
    learn_tokens(&log, &stage, &vault.root_token());
    stage.at_rest("after renewals and another login");

    // A secret that is gone from Vault goes from the cache.
    vault.set_up("DELETE", "secret/metadata/short", Value::Null);
    eventually("404", || (client.get(&host, "/secrets/short") >= 400).then_some(()));
    stage.at_rest("after a secret was deleted in Vault");

    // A reader in the middle of a body holds the stop up.
    let mut slow = Client::narrow(stage.addr(), &by_env);
    get_stuck(&mut slow, &host);
    stage.sidecar.signal(15);
    stage.sidecar.wait_for("stopping");
    stage.at_rest("stopping, a reader still at it");
    drop((slow, client));
    stage.end().stop_waiting();
}

fn formats(stage: &Stage, token: &str, host: &str) {
    let mut client = Client::tcp(stage.addr(), token);
    for path in [
        "/secrets/app?format=env",
        "/secrets/app?format=yaml",
        "/secrets/app?format=json",
        "/secrets/app/encoded?encoding=base64",
    ] {
        assert_eq!(client.get(host, path), 200, "{path}");
    }
    let _ = client.get(host, "/secrets/app?format=properties");
    stage.at_rest("after formats and decoding");
}

fn refusals(stage: &Stage, token: &str, host: &str) {
    let wrong = random("w", 50);
    stage.needles.borrow_mut().add("wrong token", wrong.as_bytes());
    let mut stranger = Client::tcp(stage.addr(), &wrong);
    assert_eq!(stranger.get(host, "/secrets/app"), 401);
    let mut client = Client::tcp(stage.addr(), token);
    assert_eq!(client.get(host, "/secrets/nothing"), 404);
    assert_eq!(client.get(host, "/secrets/app/nothing"), 404);
    assert_eq!(client.get(host, "/secrets/app?format=xml"), 406);
    assert_eq!(client.send("GET", host, "/secrets/app", "Accept: image/png\r\n"), 406);
    let mut proxied = Client::tcp(stage.addr(), token);
    let status = proxied.send("GET", host, "/secrets/app", "X-Forwarded-For: 1.2.3.4\r\n");
    assert!((400..500).contains(&status), "{status}");
    let mut other_host = Client::tcp(stage.addr(), token);
    assert!((400..500).contains(&other_host.get("evil.example", "/secrets/app")));
    // Half a head: what has come so far waits for the rest.
    let mut half = Client::tcp(stage.addr(), token);
    half.send_raw(
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}").as_bytes(),
    );
    stage.at_rest("after refusals, connections open");
    drop((stranger, client, proxied, other_host, half));
    stage.at_rest("after refusals, connections closed");
}

fn vanishing_readers(stage: &Stage, token: &str, host: &str) {
    let mut readers: Vec<Client> = (0..6).map(|_| Client::narrow(stage.addr(), token)).collect();
    for reader in &mut readers {
        get_stuck(reader, host);
    }
    stage.at_rest("readers stopped in the middle of 1 MiB");
    drop(readers);
    stage.at_rest("readers vanished in the middle of 1 MiB");
}

/// Asks for more than the kernel keeps for a reader who reads a little of it.
fn get_stuck(reader: &mut Client, host: &str) {
    for _ in 0..8 {
        reader.ask_only(host, "/secrets/big/value");
    }
    reader.read_some(1000);
}

/// Errors that repeat a secret, expiry, logins with tokens that are known, wrapped secret-ids.
pub fn failures(vault: &Dev) {
    let values = Values::new();
    vault.put("app", values.fields());
    let (vault_token, by_env, in_error) = (random("v", 40), random("t", 50), random("x", 80));
    let policy = json!({ "policy": "path \"secret/*\" { capabilities = [\"read\"] }" });
    vault.set_up("POST", "sys/policies/acl/reader", policy);
    let body = json!({ "id": vault_token, "policies": ["reader"], "ttl": "1h" });
    vault.set_up("POST", "auth/token/create", body);
    let mut needles = Needles::default();
    values.add_to(&mut needles, "value");
    needles.add("VAULT_TOKEN", vault_token.as_bytes());
    needles.add("SIDEKEY_TOKEN", by_env.as_bytes());
    needles.add("error body", in_error.as_bytes());
    let sidecar = Builder::serve()
        .config("[secrets.app]\npath = \"secret/data/app\"\nrefresh = \"1s\"\nmax_stale = \"1s\"")
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault_token)
        .env("SIDEKEY_TOKEN", &by_env)
        .start();
    let stage = Stage::new("failures", sidecar, needles);
    let host = stage.addr().to_string();
    stage.at_rest("idle after fetch, token by environment");
    let faults = vault.server.faults();
    let envelope = json!({ "data": { "data": { "long": in_error } } }).to_string();
    for fault in [
        Fault::errors(500, &[&in_error]),
        Fault::errors(400, &[&in_error]),
        Fault::body(200, "application/json", envelope.replace("}}}", "}}")),
        Fault::body(404, "text/html", format!("<html>{in_error}</html>")),
        Fault::errors(403, &[&in_error]),
    ] {
        faults.on(Matcher::get("secret/data/app")).respond(fault).forever();
        std::thread::sleep(Duration::from_millis(1500));
        stage.at_rest("after an error of Vault");
        faults.clear();
    }
    eventually("expiry", || {
        faults.on(Matcher::get("secret/data/app")).respond(Fault::status(500)).forever();
        let status = stage.sidecar.get("/secrets/app", &by_env).status;
        (status >= 500).then_some(())
    });
    stage.at_rest("after expiry");
    assert_eq!(stage.sidecar.get("/secrets/app", &by_env).header("authorization"), None);
    let _ = host;
    let sidecar = stage.end();
    sidecar.stop();
    wrapped(vault);
}

/// A wrapped secret-id, and what comes out of it.
fn wrapped(vault: &Dev) {
    let (role_id, _) = approle(vault, json!({ "token_ttl": "1h" }));
    let path = "auth/approle/role/app/secret-id";
    let root = vault.root_token();
    let custom = random("s", 50);
    let (_, answer) = super::support::vault::call(
        &vault.url(),
        "POST",
        "auth/approle/role/app/custom-secret-id",
        Some(&root),
        &[("X-Vault-Wrap-TTL", "60s")],
        json!({ "secret_id": custom }),
    );
    let wrapping =
        answer["wrap_info"]["token"].as_str().unwrap_or_else(|| panic!("{path}: {answer}"));
    let by_env = random("t", 50);
    let needles = Needles::new([
        ("wrapping token", wrapping),
        ("wrapped secret-id", &*custom),
        ("SIDEKEY_TOKEN", &*by_env),
    ]);
    let builder = Builder::serve();
    let file = builder.file("wrapped", wrapping);
    let config = format!(
        "[auth]\nmethod = \"approle\"\nrole_id = \"{role_id}\"\nsecret_id_file = \"{file}\"\n\
         secret_id_wrapped = true\n[secrets.app]\npath = \"secret/data/app\""
    );
    vault.server.faults().clear();
    let sidecar = builder
        .config(&config)
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("SIDEKEY_TOKEN", &by_env)
        .start();
    let stage = Stage::new("wrapped", sidecar, needles);
    stage.at_rest("idle after unwrapping and login");
    stage.end().stop();
}

/// An `AppRole` named `app`; its role-id and a secret-id.
fn approle(vault: &impl TestVault, mut role: Value) -> (String, String) {
    let policy = json!({ "policy": "path \"secret/*\" { capabilities = [\"read\"] }" });
    vault.set_up("POST", "sys/policies/acl/reader", policy);
    vault.set_up("POST", "sys/auth/approle", json!({ "type": "approle" }));
    role["token_policies"] = json!(["reader"]);
    vault.set_up("POST", "auth/approle/role/app", role);
    let role_id = vault.set_up("GET", "auth/approle/role/app/role-id", Value::Null);
    let secret_id = vault.set_up("POST", "auth/approle/role/app/secret-id", json!({}));
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    (text(&role_id["data"]["role_id"]), text(&secret_id["data"]["secret_id"]))
}

/// A client certificate of our own; its key is searched for as PEM text, as the bare number in
/// either byte order, and in the form that ring computes with. Returns the settings.
pub fn client_certificate(builder: &Builder, needles: &mut Needles) -> String {
    let pair = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["app".into()]).unwrap();
    let certificate = certificate.self_signed(&pair).unwrap();
    let der = pair.serialize_der();
    let pem = pair.serialize_pem();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    // PKCS #8 starts and ends with what every such key has in common or makes public.
    let number: Vec<u8> = der[36..68].to_vec();
    let mut reversed = number.clone();
    reversed.reverse();
    needles.add("client key (number)", &number);
    needles.add("client key (reversed)", &reversed);
    needles.add("client key (ring)", &montgomery(&number));
    needles.add("client key (text)", &body.as_bytes()[48..92]);
    let cert_file = builder.file("client.pem", &certificate.pem());
    let key_file = builder.file("client.key", &pem);
    format!("client_cert = \"{cert_file}\"\nclient_key = \"{key_file}\"")
}

/// A number, times 2^256, modulo the order of the curve P-256; little-endian.
fn montgomery(number: &[u8]) -> Vec<u8> {
    const ORDER: [u64; 4] =
        [0xF3B9_CAC2_FC63_2551, 0xBCE6_FAAD_A717_9E84, u64::MAX, 0xFFFF_FFFF_0000_0000];
    let limb = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
    let mut limbs: Vec<u64> = number.rchunks_exact(8).map(limb).collect();
    for _ in 0..256 {
        let carry = limbs[3] >> 63 == 1;
        for at in (0..4).rev() {
            let low = if at == 0 { 0 } else { limbs[at - 1] >> 63 };
            limbs[at] = limbs[at] << 1 | low;
        }
        if carry || !limbs.iter().rev().lt(ORDER.iter().rev()) {
            let mut borrow = false;
            for (limb, order) in limbs.iter_mut().zip(ORDER) {
                let (less, first) = limb.overflowing_sub(order);
                let (less, second) = less.overflowing_sub(u64::from(borrow));
                (*limb, borrow) = (less, first | second);
            }
        }
    }
    limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect()
}

/// Every token that Vault gave out, from its raw audit log.
fn learn_tokens(log: &Path, stage: &Stage, root: &str) {
    let text = std::fs::read_to_string(log).unwrap();
    let mut tokens: Vec<&str> = text
        .split("\"client_token\":\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter(|token| token.starts_with("hvs.") && *token != root)
        .collect();
    tokens.sort_unstable();
    tokens.dedup();
    assert!(!tokens.is_empty(), "no login in the audit log");
    for token in tokens {
        stage.needles.borrow_mut().add("Vault token", token.as_bytes());
    }
}
