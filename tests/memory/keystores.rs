//! Keystores: made for one answer under a password, by a thread of their own.

use super::client::Client;
use super::mode::Mode;
use super::moments::engine;
use super::secrets::{add_ec_key, random};
use super::stage::{CALLER, Load, Stage};
use super::support::client;
use super::support::needle::Needles;
use super::support::vault::{Dev, TestVault};

const CERTIFICATES: [&str; 2] = ["local", "vault"];

const FORMS: [&str; 6] = [
    "keystore.p12",
    "keystore.p12?profile=legacy",
    "keystore.jks",
    "truststore.p12",
    "truststore.p12?profile=legacy",
    "truststore.jks",
];

/// Passwords of callers and generated ones, and the keys that go into keystores.
pub fn run(vault: &Dev, mode: Mode) {
    engine(vault);
    let token = random("t", 50);
    let config: String = CERTIFICATES
        .map(|name| {
            format!(
                "[certificates.{name}]\nrole = \"ec\"\ncommon_name = \"{name}.example.io\"\n\
                 ttl = \"1h\"\nkey = \"{name}\"\n"
            )
        })
        .concat();
    let sidecar = mode
        .builder()
        .config(&config)
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("SIDEKEY_TOKEN", &token)
        .start();
    let needles = Needles::new([(&*format!("{CALLER} token"), &*token)]);
    let stage = Stage::new("keystores", mode, sidecar, needles);
    learn_keys(&stage, &token);
    stage.at_rest("before the first keystore");
    let connect = || Client::tcp(stage.addr(), &token);
    let mut client = connect();
    own_passwords(&stage, &mut client);
    stage.at_rest("after keystores, connection open");
    drop(client);
    generated_passwords(&stage, &token);
    stage.at_rest("after keystores with generated passwords");
    let mut client = connect();
    refusals(&stage, &mut client);
    stage.at_rest("after refused passwords, connection open");
    drop(client);
    let mut clients = [connect(), connect()];
    load(&stage, &mut clients);
    drop(clients);
    stage.at_rest("after keystores, connections closed");
    stage.end().stop();
}

fn learn_keys(stage: &Stage, token: &str) {
    for name in CERTIFICATES {
        let answer = client::get(stage.addr(), &format!("/certificates/{name}/key.pem"), token);
        let needles = &mut stage.needles.borrow_mut();
        add_ec_key(needles, &format!("key of {name}"), &answer.text());
    }
}

fn paths() -> impl Iterator<Item = String> {
    let paths = |name| FORMS.map(|form| format!("/certificates/{name}/{form}"));
    CERTIFICATES.into_iter().flat_map(paths)
}

fn header(password: &str) -> String {
    format!("Sidekey-Keystore-Password: {password}\r\n")
}

/// A password that is searched for from now on.
fn password(stage: &Stage) -> String {
    let password = random("k", 60);
    let name = format!("{CALLER} password for keystores");
    stage.needles.borrow_mut().add(&name, password.as_bytes());
    password
}

fn own_passwords(stage: &Stage, client: &mut Client) {
    let host = stage.addr().to_string();
    for path in paths() {
        let password = password(stage);
        assert_eq!(client.send("GET", &host, &path, &header(&password)), 200, "{path}");
    }
}

fn generated_passwords(stage: &Stage, token: &str) {
    for path in paths() {
        let answer = client::get(stage.addr(), &path, token);
        assert_eq!(answer.status, 200, "{path}");
        let generated = answer.header("sidekey-keystore-password").unwrap();
        stage.needles.borrow_mut().add("generated password", generated.as_bytes());
    }
}

fn refusals(stage: &Stage, client: &mut Client) {
    let host = stage.addr().to_string();
    let password = password(stage);
    let twice = header(&password).repeat(2);
    for headers in [header(&password.repeat(3)), twice] {
        let path = "/certificates/local/keystore.p12";
        assert_eq!(client.send("GET", &host, path, &headers), 400);
    }
}

fn load(stage: &Stage, clients: &mut [Client]) {
    let host = stage.addr().to_string();
    let host = &host;
    let load = clients.iter_mut().map(|client| {
        let header = header(&password(stage));
        let paths: Vec<_> = paths().collect();
        let mut paths = paths.into_iter().cycle();
        Box::new(move || {
            let path = paths.next().expect("a cycle");
            assert_eq!(client.send("GET", host, &path, &header), 200, "{path}");
        }) as Load<'_>
    });
    stage.under_load("under load by keystores", load.collect());
}
