//! The moments of a sidecar's life.

use serde_json::{Value, json};

use super::audit::RawAudit;
use super::client::Client;
use super::mode::Mode;
use super::secrets::{Values, add_ec_key, add_rsa_key, approle, client_certificate, random};
use super::stage::{CALLER, Load, Stage};
use super::support::eventually;
use super::support::needle::Needles;
use super::support::vault::{Real, TestVault};

/// A sidecar before a real Vault, and what it knows.
struct Scene {
    vault: Real,
    stage: Stage,
    host: String,
    socket: String,
    by_env: String,
    by_file: String,
    audit: RawAudit,
}

/// Everything over one kind of connection to a real Vault.
pub fn run(name: &'static str, vault: Real, mode: Mode) {
    let scene = set_up(name, vault, mode);
    scene.audit.learn_tokens(&scene.stage);
    scene.learn_keys("first");
    scene.stage.at_rest("idle after fetch");
    scene.reads();
    formats(&scene.stage, &scene.by_env, &scene.host);
    refusals(&scene.stage, &scene.by_env, &scene.host);
    vanishing_readers(&scene.stage, &scene.by_env, &scene.host);
    coming_and_going(&scene.stage, &scene.by_env, &scene.host);
    scene.rotation();
    scene.logins_and_deletion();
    scene.stop();
}

/// A PKI engine with a role for each type of key.
pub fn engine(vault: &impl TestVault) {
    vault.pki(json!({ "common_name": "root", "key_type": "ec" }));
    for (name, key_type, bits) in [("ec", "ec", 256), ("ec384", "ec", 384), ("rsa", "rsa", 2048)] {
        let role = json!({
            "allowed_domains": "example.io", "allow_subdomains": true,
            "key_type": key_type, "key_bits": bits,
        });
        vault.set_up("POST", &format!("pki/roles/{name}"), role);
    }
}

/// A sidecar with everything that it can hold, logged in by `AppRole`.
fn set_up(name: &'static str, vault: Real, mode: Mode) -> Scene {
    let values = Values::new();
    vault.put("app", values.fields());
    vault.put("big", json!({ "value": values.big }));
    vault.put("short", json!({ "value": values.long }));
    let audit = RawAudit::start(&vault);

    engine(&vault);
    let (by_env, by_file) = (random("t", 50), random("f", 50));
    let mut needles = Needles::default();
    values.add_to(&mut needles, "value");
    needles.add("value big", values.big.as_bytes());
    needles.add(&format!("{CALLER} token (variable)"), by_env.as_bytes());
    needles.add(&format!("{CALLER} token (file)"), by_file.as_bytes());
    let (role_id, secret_id) = approle(&vault, json!({ "token_ttl": "3s", "token_max_ttl": "7s" }));
    needles.add("secret-id", secret_id.as_bytes());

    let builder = mode.builder();
    let secret_id_file = builder.file("secret-id", &secret_id);
    let token_file = builder.file("token", &by_file);
    let tls = vault.ca_file.as_ref().map(|ca| {
        let client = client_certificate(&builder, &mut needles);
        let ca = builder.file("ca.pem", &std::fs::read_to_string(ca).unwrap());
        format!("ca_cert = \"{ca}\"\n{client}")
    });
    let socket = format!("@sidekey-memory-{name}-{mode:?}-{}", std::process::id());
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
        [certificates.local]
        role = "ec"
        common_name = "local.example.io"
        ttl = "1h"
        key = "local"
        [certificates.local384]
        role = "ec384"
        common_name = "local384.example.io"
        ttl = "1h"
        key = "local"
        key_bits = 384
        [certificates.vault]
        role = "ec"
        common_name = "vault.example.io"
        ttl = "1h"
        key = "vault"
        [certificates.rsa]
        role = "rsa"
        common_name = "rsa.example.io"
        ttl = "1h"
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
    let stage = Stage::new(name, mode, sidecar, needles);
    let host = stage.addr().to_string();
    Scene { vault, stage, host, socket, by_env, by_file, audit }
}

const PATHS: [&str; 9] = [
    "/secrets/app",
    "/secrets/app/quoted",
    "/secrets/app/long",
    "/certificates/local",
    "/certificates/local/key.pem",
    "/certificates/local384/bundle.pem",
    "/certificates/vault/key.pem",
    "/certificates/rsa/bundle.pem",
    "/certificates/rsa",
];

impl Scene {
    fn reads(&self) {
        let Self { stage, host, socket, by_env, by_file, .. } = self;
        // Reads over connections that stay.
        let mut clients: Vec<Client> = Vec::new();
        for n in 0..8 {
            let token = if n % 2 == 0 { by_env } else { by_file };
            clients.push(Client::tcp(stage.addr(), token));
            clients.push(Client::unix(socket, token));
        }
        for client in &mut clients {
            for path in PATHS {
                assert_eq!(client.get(host, path), 200, "{path}");
            }
        }
        stage.at_rest("connections open after a few reads");
        let work = |client: &mut Client| {
            for n in 0..100 {
                assert_eq!(client.get(host, PATHS[n % PATHS.len()]), 200);
            }
            assert_eq!(client.get(host, "/secrets/big/value"), 200);
        };
        let load = clients.iter_mut().map(|client| Box::new(move || work(client)) as Load<'_>);
        stage.under_load("under load", load.collect());
        stage.at_rest("connections open after thousands of reads");
        drop(clients);
        stage.at_rest("connections closed");
    }

    /// Another value takes the place of this one.
    fn rotation(&self) {
        let Self { vault, stage, host, by_env, .. } = self;
        let next = Values::new();
        vault.put("app", next.fields());
        vault.put("big", json!({ "value": next.big }));
        next.add_to(&mut stage.needles.borrow_mut(), "rotated");
        stage.needles.borrow_mut().add("rotated big", next.big.as_bytes());
        let mut client = Client::tcp(stage.addr(), by_env);
        for name in ["app", "big"] {
            assert_eq!(client.send("POST", host, &format!("/secrets/{name}/refresh"), ""), 200);
        }
        assert_eq!(client.get(host, "/secrets/app/long"), 200);
        assert_eq!(client.body, next.long.as_bytes());
        for name in ["local", "local384", "vault", "rsa"] {
            assert_eq!(
                client.send("POST", host, &format!("/certificates/{name}/refresh"), ""),
                200
            );
        }
        self.learn_keys("second");
        stage.at_rest("after rotation");
        // Files of certificates and tokens are read again, connections to Vault are new.
        stage.sidecar.signal(libc::SIGHUP);
        stage.sidecar.wait_for("configuration reloaded");
        assert_eq!(client.get(host, "/secrets/app/long"), 200);
        stage.at_rest("after a reload");
    }

    fn logins_and_deletion(&self) {
        let Self { vault, stage, host, by_env, .. } = self;
        eventually("a renewal and another login", || {
            let logins = stage.sidecar.events();
            let logins = logins.iter().filter(|e| e["message"] == "logged in to Vault").count();
            (logins >= 2).then_some(())
        });
        self.audit.learn_tokens(stage);
        stage.at_rest("after renewals and another login");

        let mut client = Client::tcp(stage.addr(), by_env);
        // A secret that is gone from Vault goes from the cache.
        vault.set_up("DELETE", "secret/metadata/short", Value::Null);
        eventually("404", || (client.get(host, "/secrets/short") >= 400).then_some(()));
        stage.at_rest("after a secret was deleted in Vault");
    }

    /// A reader in the middle of a body holds the stop up.
    fn stop(self) {
        let Self { stage, host, by_env, .. } = self;
        let mut slow = Client::narrow(stage.addr(), &by_env);
        get_stuck(&mut slow, &host);
        stage.sidecar.signal(15);
        stage.sidecar.wait_for("stopping");
        stage.at_rest("stopping, a reader still at it");
        drop(slow);
        stage.end().stop_waiting();
    }

    /// The private keys that are served now.
    fn learn_keys(&self, which: &str) {
        let mut client = Client::tcp(self.stage.addr(), &self.by_env);
        let mut needles = self.stage.needles.borrow_mut();
        for name in ["local", "local384", "vault", "rsa"] {
            let path = format!("/certificates/{name}/key.pem");
            assert_eq!(client.get(&self.host, &path), 200, "{path}");
            let pem = String::from_utf8(client.body.clone()).unwrap();
            let which = format!("{which} key of {name}");
            match name {
                "rsa" => add_rsa_key(&mut needles, &which, &pem),
                _ => add_ec_key(&mut needles, &which, &pem),
            }
        }
    }
}

fn formats(stage: &Stage, token: &str, host: &str) {
    let mut client = Client::tcp(stage.addr(), token);
    for path in [
        "/secrets/app?format=env",
        "/secrets/app?format=yaml",
        "/secrets/app?format=json",
        "/aws/app",
        "/secrets/app/encoded?encoding=base64",
    ] {
        assert_eq!(client.get(host, path), 200, "{path}");
    }
    let _ = client.get(host, "/secrets/app?format=properties");
    stage.at_rest("after formats and decoding");
}

fn refusals(stage: &Stage, token: &str, host: &str) {
    let wrong = random("w", 50);
    stage.needles.borrow_mut().add(&format!("{CALLER} token (wrong)"), wrong.as_bytes());
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
    // No body is read, and what was read ahead of the refusal goes with the connection.
    let body = random("p", 60);
    stage.needles.borrow_mut().add(&format!("{CALLER} body"), body.as_bytes());
    for method in ["PUT", "POST"] {
        let mut writer = Client::tcp(stage.addr(), token);
        let more = format!("Content-Length: {}\r\n", body.len());
        writer.send_with_body(method, host, "/secrets/app", &more, &body);
        assert!((400..500).contains(&writer.read_answer()), "{method} with a body");
    }
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

/// Callers that come, ask for this or that, and are gone in the middle of it, beside slow ones.
fn coming_and_going(stage: &Stage, token: &str, host: &str) {
    let addr = stage.addr();
    let mut load: Vec<Load<'_>> = Vec::new();
    for _ in 0..2 {
        load.push(Box::new(move || {
            let mut reader = Client::narrow(addr, token);
            reader.ask_only(host, "/secrets/big/value");
            reader.read_some(1000);
        }));
    }
    load.push(Box::new(move || {
        let mut half = Client::tcp(addr, token);
        half.send_raw(format!("GET / HTTP/1.1\r\nAuthorization: Bearer {token}").as_bytes());
        // A crowd of them would be more than there is secret memory for.
        std::thread::sleep(std::time::Duration::from_millis(5));
    }));
    let mut slow = Client::narrow(addr, token);
    load.push(Box::new(move || {
        slow.ask_only(host, "/secrets/app?format=env");
        std::thread::sleep(std::time::Duration::from_millis(20));
        slow.read_some(100);
    }));
    let mut steady = Client::tcp(addr, token);
    load.push(Box::new(move || assert_eq!(steady.get(host, "/secrets/app?format=yaml"), 200)));
    stage.under_load("under load, callers come and vanish", load);
    stage.at_rest("after callers vanished");
}
