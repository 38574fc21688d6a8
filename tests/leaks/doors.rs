//! Every answer of the local door and the health listener, in both log formats.

use std::io::Read as _;
use std::net::SocketAddr;

use serde_json::json;

use crate::support::canary::{MARK, assert_clean, canary};
use crate::support::client::{self, Response};
use crate::support::eventually;
use crate::support::sidecar::binary;
use crate::support::vault::{Dev, TestVault};

/// `sidekey serve` with the log in `format`; the child's stderr goes to a file.
struct Door {
    child: std::process::Child,
    log: tempfile::NamedTempFile,
    vault: Dev,
    token: String,
    addr: SocketAddr,
    health: SocketAddr,
}

impl Door {
    fn open(format: &str) -> Self {
        let vault = Dev::start();
        let text = format!("{} \"quoted\" 'and' $more\n\u{1}", canary("text"));
        vault.put("app", json!({ "password": canary("password"), "text": text, "list": [canary("item")],
            "object": { "inner": canary("inner") }, "nul": format!("{}\0", canary("nul")), "n": 5 }));
        vault.put("odd", json!({ "a-b": canary("one"), "a.b": canary("two") }));
        let token = canary("caller");
        let config = format!(
            "[vault]\naddress = \"{}\"\ntimeout = \"1s\"\nmax_requests_per_second = 100\n\
             [listen]\ntcp = \"127.0.0.1:0\"\n[health]\nlisten = \"127.0.0.1:0\"\n\
             [secrets.app]\npath = \"secret/data/app\"\nrefresh = \"1s\"\nmax_stale = \"1s\"\n\
             [secrets.odd]\npath = \"secret/data/odd\"\n\
             [secrets.gone]\npath = \"secret/data/gone\"\nrequired = false\n\
             [secrets.other]\npath = \"secret/data/other\"\nrequired = false\n\
             [[callers]]\nname = \"one\"\ntoken_env = \"ONE\"\nallow = [\"app\", \"odd\", \"gone\"]\n\
             [[callers]]\nname = \"nobody\"\ntoken_file = \"/no/such/file\"\nallow = [\"*\"]\n",
            vault.url()
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sidekey.toml");
        std::fs::write(&file, config).unwrap();
        let log = tempfile::NamedTempFile::new().unwrap();
        let child = binary()
            .args(["--log-level", "debug", "--log-format", format, "serve", "--config"])
            .arg(&file)
            .env("VAULT_TOKEN", vault.root_token())
            .env("ONE", &token)
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let said = || std::fs::read_to_string(log.path()).unwrap();
        let addr = |event: &str| {
            eventually(event, || {
                let said = said();
                let line = said.lines().find(|l| l.contains(event) && l.contains("addr"))?;
                let start = line.find("127.0.0.1:")?;
                let end = |c: char| !c.is_ascii_digit() && !matches!(c, '.' | ':');
                line[start..].split(end).next()?.parse().ok()
            })
        };
        let (door, health) = (addr("listening"), addr("health and metrics"));
        eventually("ready", || {
            (client::request(health, "GET", "/readyz", &[]).status == 200).then_some(())
        });
        Self { vault, token, addr: door, health, child, log }
    }

    fn get(&self, path: &str) -> Response {
        client::get(self.addr, path, &self.token)
    }

    /// Ends it, and returns all that it said.
    fn close(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        assert_eq!(out, "");
        std::fs::read_to_string(self.log.path()).unwrap()
    }
}

/// What a refusal may show: everything but a canary.
fn clean(place: &str, answer: &Response) {
    assert_clean(place, &answer.text());
    for (name, value) in &answer.headers {
        assert_clean(&format!("{name} of {place}"), value);
    }
}

fn values(door: &Door) {
    for path in [
        "/secrets/app?format=json",
        "/secrets/app?format=yaml",
        "/secrets/app?format=properties",
        "/secrets/odd?format=yaml",
        "/secrets/app/password",
        "/secrets/app/text",
        "/secrets/app/list",
        "/secrets/app/object",
        "/secrets/app?version=1",
    ] {
        let answer = door.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text().contains(MARK), "{path} has no canary: what would the rest prove?");
        for (name, value) in &answer.headers {
            assert_clean(name, value);
        }
        let etag = answer.header("etag").unwrap();
        let bearer = format!("Bearer {}", door.token);
        let headers = [("Authorization", bearer.as_str()), ("If-None-Match", etag)];
        assert_eq!(client::request(door.addr, "GET", path, &headers).status, 304);
    }
    let bearer = format!("Bearer {}", door.token);
    let headers = [("Authorization", bearer.as_str())];
    let refreshed = client::request(door.addr, "POST", "/secrets/app/refresh", &headers);
    assert_eq!(refreshed.status, 200);
    clean("a refresh", &refreshed);
    clean("the list", &door.get("/secrets"));
}

fn refusals(door: &Door) {
    for (path, status) in [
        ("/secrets/app?format=env", 422),
        ("/secrets/odd?format=env", 422),
        ("/secrets/app/password?encoding=base64", 422),
        ("/secrets/app/nothing", 404),
        ("/secrets/gone", 404),
        ("/secrets/app?version=9", 404),
        ("/secrets/other", 403),
        ("/secrets/unknown", 403),
        ("/nowhere", 404),
        ("/secrets/app?format=xml", 406),
        ("/secrets/app?version=x", 400),
    ] {
        let answer = door.get(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        clean(path, &answer);
    }
    let wrong = canary("wrong");
    let bearer = format!("Bearer {}", door.token);
    let long = canary("long").repeat(400);
    for (path, headers) in [
        ("/secrets/app", &[("Authorization", format!("Bearer {wrong}"))][..]),
        ("/secrets/app", &[("Authorization", format!("Basic {wrong}"))]),
        ("/secrets/app", &[("Authorization", wrong.clone())]),
        ("/secrets/app", &[("X-Vault-Token", wrong.clone())]),
        ("/secrets/app", &[("Authorization", bearer.clone()), ("X-Vault-Token", wrong.clone())]),
        ("/secrets/app", &[("Authorization", bearer.clone()), ("Origin", wrong.clone())]),
        ("/secrets/app", &[("Authorization", bearer.clone()), ("Host", wrong.clone())]),
        ("/secrets/app", &[("Authorization", bearer.clone()), ("Via", wrong.clone())]),
        ("/secrets/app", &[("Authorization", bearer.clone()), ("Accept", wrong.clone())]),
        ("/secrets/app", &[("Authorization", bearer.clone()), ("Content-Length", wrong.clone())]),
        ("/secrets/app", &[("Authorization", bearer.clone()), ("Cookie", long.clone())]),
        (&format!("/secrets/app?token={wrong}"), &[("Authorization", bearer.clone())]),
        (&format!("/secrets/app?{wrong}"), &[("Authorization", bearer.clone())]),
        (&format!("/secrets/app?format={wrong}"), &[("Authorization", bearer.clone())]),
        (&format!("/secrets/app?version={wrong}"), &[("Authorization", bearer.clone())]),
        (&format!("/secrets?{long}"), &[("Authorization", bearer.clone())]),
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = client::request(door.addr, "GET", path, &headers);
        assert!((400..500).contains(&answer.status), "{headers:?}: {}", answer.status);
        clean(path.split('?').next().unwrap(), &answer);
    }
    // No request at all.
    for bytes in [
        format!("{wrong}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{wrong}\r\n\r\n"),
        format!("GET /{wrong}\u{1} HTTP/1.1\r\n\r\n"),
        format!("GET / HTTP/9.{wrong}\r\n\r\n"),
        format!(
            "POST /secrets HTTP/1.1\r\nHost: {}\r\nContent-Length: 60\r\n\r\n{wrong}",
            door.addr
        ),
    ] {
        for answer in client::raw(door.addr, bytes.as_bytes()) {
            clean("a refusal of what is no request", &answer);
        }
        for answer in client::raw(door.health, bytes.as_bytes()) {
            clean("a refusal of the health listener", &answer);
        }
    }
    // One limit for guesses, when all others were passed.
    eventually("too many guesses", || {
        let answer = client::get(door.addr, "/secrets/app", &wrong);
        clean("a guess", &answer);
        (answer.status == 429).then_some(())
    });
}

fn everything(format: &str) {
    let door = Door::open(format);
    values(&door);
    refusals(&door);
    let metrics = client::request(door.health, "GET", "/metrics", &[]);
    assert!(metrics.text().contains("sidekey_"), "{}", metrics.text());
    clean("metrics", &metrics);

    crate::words::of_vault(&door.vault, |what| {
        let answer = door.get("/secrets/app");
        if answer.status != 200 {
            clean(what, &answer);
        }
        answer.status
    });
    clean("metrics", &client::request(door.health, "GET", "/metrics", &[]));
    clean("readiness", &client::request(door.health, "GET", "/readyz", &[]));
    let said = door.close();
    assert!(said.contains("caller_unknown") && said.contains("cannot read the secret"), "{said}");
    assert_clean(&format!("the {format} log"), &said);
}

#[test]
fn nothing_leaks_with_a_log_for_machines() {
    everything("json");
}

#[test]
fn nothing_leaks_with_a_log_for_people() {
    everything("human");
}
