//! A real browser at the local door: what a page of somebody else's gets of it.
//!
//! The sidecar would let the browser's user in, so that nothing but the guards against browsers
//! stands in between; and a server that answers everybody is attacked in the same ways, so that
//! getting nothing means something. Without Chromium the cases show as ignored, and with
//! `CI=true` they fail.
#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]

#[path = "../support/mod.rs"]
mod support;

mod page;

use std::process::{Child, ExitCode, Stdio};

use libtest_mimic::Arguments;
use page::Server;
use serde_json::{Value, json};
use support::canary::canary;
use support::client;
use support::programs::chromium;
use support::sidecar::{Builder, Sidecar};
use support::trials::{CHROMIUM, Case, of_cases};
use support::vault::{Dev, TestVault as _};
use tempfile::TempDir;

/// A name of somebody else's, that leads to this machine.
const NAME: &str = "attacker.example";

const CASES: [Case; 2] = [
    ("a_page_gets_nothing_across_sites", &[CHROMIUM], across_sites),
    ("a_name_that_was_rebound_gets_nothing", &[CHROMIUM], rebound),
];

fn main() -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), of_cases(&CASES)).exit_code()
}

/// A sidecar that lets this user in, and what it holds.
fn door() -> (Sidecar, Dev, String) {
    let vault = Dev::start();
    let password = canary("password");
    vault.put("db", json!({ "password": password }));
    let uid = rustix::process::getuid().as_raw();
    let sidecar = Builder::serve()
        .config(&format!(
            "[vault]\naddress = \"{}\"\n[listen]\ntcp = \"127.0.0.1:0\"\n\
             [health]\nlisten = \"127.0.0.1:0\"\n[secrets.db]\npath = \"secret/data/db\"\n\
             [[callers]]\nname = \"app\"\nuid = {uid}\nallow = [\"db\"]\n",
            vault.url()
        ))
        .env("VAULT_TOKEN", &vault.root_token())
        .start();
    let answer = client::request(sidecar.addr(), "GET", "/secrets/db/password", &[]);
    assert_eq!((answer.status, answer.text()), (200, password.clone()), "no browser, no question");
    (sidecar, vault, password)
}

/// What the browser shows at `url`.
fn shown(url: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let output = chromium(home.path(), NAME, &["--dump-dom", url]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A browser that stays; ended with all that it started.
struct Open {
    browser: Child,
    _home: TempDir,
}

impl Open {
    fn at(url: &str) -> Self {
        use std::os::unix::process::CommandExt as _;
        let home = tempfile::tempdir().unwrap();
        let mut command = chromium(home.path(), NAME, &[url]);
        let browser = command.stdout(Stdio::null()).process_group(0).spawn().unwrap();
        Self { browser, _home: home }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.browser);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.browser.wait();
    }
}

/// A page fetches in every way that it has, from loopback's address and name.
fn across_sites() {
    let (sidecar, _vault, password) = door();
    let marker = canary("control");
    let port = sidecar.addr().port();
    let server = Server::start(&marker, port);
    let _browser = Open::at(&format!("http://{NAME}:{}/", server.port()));
    let found = server.found();
    assert_eq!(found["control"], Value::from(marker), "what can be fetched is: {found}");
    let ways = found.as_object().unwrap().iter().filter(|(way, _)| *way != "control");
    let ways: Vec<_> = ways.collect();
    assert!(ways.len() >= 8, "{found}");
    for (way, got) in ways {
        let refused = ["TypeError: Failed to fetch", "opaque, 0 bytes", "error"];
        assert!(refused.contains(&got.as_str().unwrap()), "{way}: {got}");
    }
    assert!(!found.to_string().contains(&password), "{found}");
    // They arrived there, and were refused for what a browser says of itself (after ten refusals in
    // a second, for their number); only the question that was no browser's was answered.
    let events = sidecar.events();
    let outcomes = |outcome: &str| events.iter().filter(|e| e["outcome"] == outcome).count();
    assert!(outcomes("cross_site_refused") >= 4, "{events:?}");
    let answered = events.iter().filter(|e| e["caller"] == "app" && e["outcome"] == "ok").count();
    assert_eq!(answered, 1, "{events:?}");
    sidecar.stop();
}

/// The page's own name leads to the sidecar now: to the browser it is the same site.
fn rebound() {
    let (sidecar, _vault, password) = door();
    let marker = canary("control");
    let port = sidecar.addr().port();
    let server = Server::start(&marker, port);
    let control = shown(&format!("http://{NAME}:{}/control", server.port()));
    assert!(control.contains(&marker), "the control server answers to any name: {control}");
    for path in ["/secrets/db/password", "/secrets/db?format=env", "/secrets"] {
        let there = shown(&format!("http://{NAME}:{port}{path}"));
        assert!(there.contains("host_refused"), "{path}: {there}");
        assert!(!there.contains(&password), "{path}: {there}");
    }
    sidecar.stop();
}
