//! Leased secrets: renewed, replaced, handed back; long poll, events, `min_ttl`.

#![cfg(feature = "dev")]
#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use support::canary::canary;
use support::client;
use support::eventually;
use support::sidecar::{Builder, Sidecar};
use support::vault::{Dev, TestVault};

struct Scene {
    vault: Dev,
    token: String,
    sidecar: Sidecar,
}

/// A sidecar with a leased `db` (lives `ttl`, at most `max_ttl`) and a KV secret `app`.
fn scene(ttl: &str, max_ttl: &str) -> Scene {
    let vault = Dev::start();
    vault.set_up("POST", "sys/mounts/database", json!({ "type": "database" }));
    let role = json!({ "default_ttl": ttl, "max_ttl": max_ttl });
    vault.set_up("POST", "database/roles/app", role);
    vault.put("app", json!({ "password": canary("first") }));
    let token = canary("caller");
    let sidecar = Builder::serve()
        .on_free_ports()
        .config(
            "[vault]\nmax_requests_per_second = 50\n\
             [secrets.db]\npath = \"database/creds/app\"\n\
             [secrets.app]\npath = \"secret/data/app\"\nrefresh = \"1s\"\n",
        )
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("SIDEKEY_TOKEN", &token)
        .start();
    Scene { vault, token, sidecar }
}

impl Scene {
    fn user(&self) -> String {
        let answer = self.sidecar.get("/secrets/db/username", &self.token);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    fn expires_in(&self) -> u64 {
        let answer = self.sidecar.get("/secrets/db", &self.token);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("sidekey-expires-in").unwrap().parse().unwrap()
    }

    fn refresh(&self) {
        let headers = [("X-Vault-Token", self.token.as_str())];
        let addr = self.sidecar.addr();
        let refreshed = client::request(addr, "POST", "/secrets/db/refresh", &headers);
        assert_eq!(refreshed.status, 200, "{}", refreshed.text());
    }

    fn renewals(&self) -> usize {
        self.vault.server.count("PUT", "sys/leases/renew")
    }
}

#[test]
fn a_lease_is_renewed_past_its_first_life_and_keeps_its_credential() {
    let scene = scene("3s", "1h");
    let user = scene.user();
    eventually("two renewals", || (scene.renewals() >= 2).then_some(()));
    assert_eq!(scene.user(), user);
    assert_eq!(scene.vault.server.count("GET", "database/creds/app"), 1);
    scene.sidecar.stop();
}

#[test]
fn at_its_maximum_life_a_lease_is_replaced_without_a_gap() {
    let scene = scene("3s", "4s");
    let first = scene.user();
    let start = Instant::now();
    eventually("another credential", || {
        let user = scene.user();
        assert!(scene.expires_in() <= 4);
        (user != first).then_some(())
    });
    assert!(start.elapsed() < Duration::from_secs(5), "replaced before its end");
    scene.sidecar.stop();
}

#[test]
fn the_lease_is_revoked_at_the_stop_and_the_brought_token_is_not() {
    let scene = scene("1h", "1h");
    scene.user();
    let Scene { vault, sidecar, .. } = scene;
    let said = sidecar.stop();
    assert!(said.contains("lease revoked"), "{said}");
    assert_eq!(vault.server.count("PUT", "sys/leases/revoke"), 1);
    assert_eq!(vault.server.count("POST", "auth/token/revoke-self"), 0);
}

#[test]
fn a_lease_revoked_behind_our_back_is_replaced_at_its_renewal() {
    let scene = scene("3s", "1h");
    let first = scene.user();
    scene.vault.set_up("PUT", "sys/leases/revoke-prefix/database/creds/app", json!(null));
    eventually("another credential", || {
        let answer = scene.sidecar.get("/secrets/db/username", &scene.token);
        // Refused for the moment between hearing of it and having another one.
        assert!(matches!(answer.status, 200 | 503), "{}", answer.text());
        (answer.status == 200 && answer.text() != first).then_some(())
    });
    scene.sidecar.stop();
}

#[test]
fn renewals_that_fail_for_ever_end_in_refusal_and_never_in_a_storm() {
    let scene = scene("3s", "1h");
    let start = Instant::now();
    scene.vault.server.seal();
    let before = scene.vault.server.requests().len();
    eventually("the end of the lease", || {
        let answer = scene.sidecar.get("/secrets/db", &scene.token);
        (answer.status == 503).then(|| assert!(answer.header("retry-after").is_some()))
    });
    assert!(start.elapsed() >= Duration::from_millis(2500), "served to its end");
    let asked = scene.vault.server.requests().len() - before;
    assert!(asked < 20, "{asked} requests to a sealed Vault");
    scene.vault.server.unseal();
    eventually("recovery", || {
        (scene.sidecar.get("/secrets/db", &scene.token).status == 200).then_some(())
    });
    scene.sidecar.stop();
}

#[test]
fn min_ttl_renews_first_or_refuses() {
    let scene = scene("10m", "1h");
    scene.user();
    let enough = scene.sidecar.get("/secrets/db?min_ttl=5m", &scene.token);
    assert_eq!(enough.status, 200);
    assert_eq!(scene.renewals(), 0);
    let never = scene.sidecar.get("/secrets/db?min_ttl=2h", &scene.token);
    assert_eq!((never.status, never.code()), (503, "min_ttl_unmet".into()));
    let without_end = scene.sidecar.get("/secrets/app?min_ttl=100h", &scene.token);
    assert_eq!(without_end.status, 200);
    scene.sidecar.stop();
}

#[test]
fn a_long_poll_is_answered_by_the_change() {
    let scene = scene("1h", "1h");
    let first = scene.sidecar.get("/secrets/app", &scene.token);
    let etag = first.header("etag").unwrap().to_owned();
    let unchanged = client::request(
        scene.sidecar.addr(),
        "GET",
        "/secrets/app?wait=50ms",
        &[("X-Vault-Token", &scene.token), ("If-None-Match", &etag)],
    );
    assert_eq!(unchanged.status, 304);
    let field = scene.sidecar.get("/secrets/app/password", &scene.token);
    let etag = field.header("etag").unwrap().to_owned();
    let (addr, token) = (scene.sidecar.addr(), scene.token.clone());
    let waiting = std::thread::spawn(move || {
        let headers = [("X-Vault-Token", &*token), ("If-None-Match", &*etag)];
        client::request(addr, "GET", "/secrets/app/password?wait=30s", &headers)
    });
    let second = canary("second");
    scene.vault.put("app", json!({ "password": second }));
    let changed = waiting.join().unwrap();
    assert_eq!((changed.status, changed.text()), (200, second));
    scene.sidecar.stop();
}

/// The next event's id and data.
fn next_event(stream: &mut impl BufRead) -> (String, serde_json::Value) {
    let (mut id, mut data) = (None, None);
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the stream ended");
        if let Some(value) = line.strip_prefix("id: ") {
            id = Some(value.trim().to_owned());
        }
        if let Some(value) = line.strip_prefix("data: ") {
            data = Some(serde_json::from_str(value).unwrap());
        }
        if line.trim().is_empty()
            && let (Some(id), Some(data)) = (id.take(), data.take())
        {
            return (id, data);
        }
    }
}

fn open_events(scene: &Scene, last: Option<&str>) -> BufReader<TcpStream> {
    let addr = scene.sidecar.addr();
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
    let token = &scene.token;
    write!(stream, "GET /events HTTP/1.1\r\nHost: {addr}\r\nX-Vault-Token: {token}\r\n{last}\r\n")
        .unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with(": connected") {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "no stream");
    }
    stream
}

#[test]
fn events_tell_of_rotations_and_resume() {
    let scene = scene("1h", "1h");
    let mut stream = open_events(&scene, None);
    scene.vault.put("app", json!({ "password": canary("second") }));
    let (id, data) = next_event(&mut stream);
    assert_eq!((&data["name"], &data["version"]), (&json!("app"), &json!(2)));
    let now = scene.sidecar.get("/secrets/app", &scene.token);
    assert_eq!(now.header("etag"), data["etag"].as_str());
    drop(stream);

    scene.vault.put("app", json!({ "password": canary("third") }));
    eventually("the third version", || {
        let answer = scene.sidecar.get("/secrets/app", &scene.token);
        (answer.header("sidekey-version") == Some("3")).then_some(())
    });
    let mut stream = open_events(&scene, Some(&id));
    let (_, data) = next_event(&mut stream);
    assert_eq!(data["version"], 3, "what was missed is told");

    let mut stream = open_events(&scene, Some("00000000-7"));
    let names = [next_event(&mut stream).1, next_event(&mut stream).1];
    assert_eq!((&names[0]["name"], &names[1]["name"]), (&json!("app"), &json!("db")));
    // An open stream does not keep the process from stopping.
    scene.sidecar.stop();
}

#[test]
fn absurd_lives_end_nothing() {
    let scene = scene("1h", "1h");
    let absurd = r#"{"lease_id":"x/1","lease_duration":18446744073709551615,"renewable":true,"data":{"username":"u"}}"#;
    let reads = sidekey::dev::Matcher::get("database/creds/app");
    let answer = sidekey::dev::Fault::body(200, "application/json", absurd);
    scene.vault.server.faults().on(reads).respond(answer).times(1);
    scene.refresh();
    assert_eq!(scene.user(), "u");
    assert!(scene.expires_in() < 400_000_000);
    let said = scene.sidecar.stop();
    assert!(!said.contains("internal error"), "{said}");
}

#[test]
fn a_long_poll_ends_when_the_rules_change() {
    let scene = scene("1h", "1h");
    let etag = scene.sidecar.get("/secrets/app", &scene.token).header("etag").unwrap().to_owned();
    let (addr, token) = (scene.sidecar.addr(), scene.token.clone());
    let waiting = std::thread::spawn(move || {
        let headers = [("X-Vault-Token", &*token), ("If-None-Match", &*etag)];
        client::request(addr, "GET", "/secrets/app?wait=20s", &headers)
    });
    let polls = || scene.vault.server.count("GET", "secret/metadata/app");
    let before = polls();
    eventually("a poll to be under way", || (polls() > before + 1).then_some(()));
    scene.sidecar.signal(1);
    scene.sidecar.wait_for("configuration reloaded");
    scene.vault.put("app", json!({ "password": canary("for the new rules alone") }));
    let answer = waiting.join().unwrap();
    assert_eq!((answer.status, answer.text()), (304, String::new()));
    assert_eq!(answer.header("sidekey-version"), None, "nothing of the value that there is now");
    scene.sidecar.stop();
}

#[test]
fn a_version_of_what_has_none_is_refused_and_its_lease_handed_back() {
    let scene = scene("1h", "1h");
    let answer = scene.sidecar.get("/secrets/db?version=7", &scene.token);
    assert_eq!((answer.status, answer.code()), (404, "version_missing".into()));
    let vault = scene.vault;
    scene.sidecar.stop();
    assert_eq!(vault.server.count("GET", "database/creds/app"), 1, "known to have none");
    assert_eq!(vault.server.count("PUT", "sys/leases/revoke"), 1);
}

#[test]
fn a_static_role_rotates_when_vault_rotates_it() {
    let vault = Dev::start();
    vault.set_up("POST", "sys/mounts/database", json!({ "type": "database" }));
    let role = json!({ "db_name": "db", "username": "app", "rotation_period": "5s" });
    vault.set_up("POST", "database/static-roles/app", role);
    let token = canary("caller");
    let sidecar = Builder::serve()
        .on_free_ports()
        .config("[secrets.db]\npath = \"database/static-creds/app\"\nrefresh = \"1h\"\n")
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("SIDEKEY_TOKEN", &token)
        .start();
    let scene = Scene { vault, token, sidecar };
    let mut stream = open_events(&scene, None);
    let read = |what: &str| scene.sidecar.get(&format!("/secrets/db/{what}"), &scene.token).text();
    let (password, last) = (read("password"), read("last_vault_rotation"));
    let (_, data) = next_event(&mut stream);
    assert_eq!((&data["name"], &data["version"]), (&json!("db"), &json!(2)));
    assert!(read("password") != password && read("last_vault_rotation") != last);
    assert_eq!(read("username"), "app");
    scene.sidecar.stop();
}

#[test]
fn a_lease_without_a_life_is_replaced_by_refresh_and_handed_back() {
    let scene = scene("1h", "1h");
    let lifeless = |n: usize| {
        let body = format!(
            r#"{{"lease_id":"x/{n}","lease_duration":0,"renewable":true,"data":{{"username":"u{n}"}}}}"#
        );
        sidekey::dev::Fault::body(200, "application/json", body)
    };
    let reads = sidekey::dev::Matcher::get("database/creds/app");
    let script = scene.vault.server.faults().on(reads).respond(lifeless(1)).times(1);
    script.then(lifeless(2)).forever();
    scene.refresh();
    assert_eq!(scene.user(), "u1");
    assert!((1..=60).contains(&scene.expires_in()), "{}", scene.expires_in());
    let vault = scene.vault;
    scene.sidecar.stop();
    let requests = vault.server.requests();
    let revoked = requests.iter().filter(|r| r.path == "sys/leases/revoke").count();
    assert_eq!(revoked, 2, "the one of before, and the one without a life");
}

#[test]
fn a_long_poll_ends_when_the_callers_token_changes() {
    let vault = Dev::start();
    vault.put("app", json!({ "password": canary("first") }));
    let (first, second) = (canary("one"), canary("two"));
    let builder = Builder::serve().on_free_ports();
    let file = builder.file("token", &first);
    let sidecar = builder
        .config(&format!(
            "[vault]\nmax_requests_per_second = 50\n\
             [secrets.app]\npath = \"secret/data/app\"\nrefresh = \"1s\"\n\
             [[callers]]\nname = \"app\"\ntoken_file = \"{file}\"\nallow = [\"app\"]\n"
        ))
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .start();
    let addr = sidecar.addr();
    let etag = sidecar.get("/secrets/app", &first).header("etag").unwrap().to_owned();
    let token = first.clone();
    let waiting = std::thread::spawn(move || {
        let headers = [("X-Vault-Token", &*token), ("If-None-Match", &*etag)];
        client::request(addr, "GET", "/secrets/app?wait=20s", &headers)
    });
    let polls = || vault.server.requests().len();
    let before = polls();
    eventually("a poll to be under way", || (polls() > before + 1).then_some(()));
    std::fs::write(sidecar.path("token"), &second).unwrap();
    eventually("the other token", || {
        (sidecar.get("/secrets/app", &second).status == 200).then_some(())
    });
    vault.put("app", json!({ "password": canary("for the new token alone") }));
    let answer = waiting.join().unwrap();
    assert_eq!((answer.status, answer.text()), (304, String::new()));
    assert_eq!(answer.header("sidekey-version"), None, "nothing of the value that there is now");
    assert_eq!(sidecar.get("/secrets/app", &first).status, 401);
    sidecar.stop();
}
