//! Where the kernel gives less: the sidecar runs, says what is missing, and does not start when
//! the configuration insists.

use serde_json::json;
use sidekey::dev::{Fault, Matcher};

use super::client::Client;
use super::mode::Mode;
use super::secrets::{own_tls, random};
use super::stage::{Stage, settle};
use super::support::eventually;
use super::support::needle::Needles;
use super::support::sidecar::{Builder, Sidecar};
use super::support::vault::{Dev, TestVault};

pub const TESTS: [(&str, fn()); 10] = [
    ("with_8_mib_to_lock_and_no_rights_nothing_is_found", usual_limit),
    ("a_crowd_of_callers_does_not_push_values_out", crowd),
    ("with_64_kib_to_lock_it_says_so", || {
        let checked = "secret, but only 64 KiB of 4096 KiB";
        degraded(&less(64 << 10), "secret", "too little secret memory", checked);
    }),
    ("with_nothing_to_lock_it_says_so", || {
        degraded(&less(0), "plain", "no secret and no locked memory", "plain");
    }),
    ("without_memfd_secret_memory_is_locked", || {
        let refused = refused(&[libc::SYS_memfd_secret], libc::EPERM);
        degraded(&refused, "locked", "no secret memory", "locked");
    }),
    ("on_an_old_kernel_memory_is_locked", || {
        let refused = refused(&[libc::SYS_memfd_secret], libc::ENOSYS);
        degraded(&refused, "locked", "no secret memory", "locked");
    }),
    ("without_mlock_too_memory_is_plain", || {
        let refused = refused(&[libc::SYS_memfd_secret, libc::SYS_mlock], libc::EPERM);
        degraded(&refused, "plain", "no secret and no locked memory", "plain");
    }),
    ("without_protection_what_is_dropped_is_gone_http", || dropped(&Dev::start())),
    ("without_protection_what_is_dropped_is_gone_https", || dropped(&Dev::start_tls(own_tls()))),
    ("without_landlock_and_seccomp_it_says_so", without_sandbox),
];

type Change = Box<dyn Fn(Builder) -> Builder>;

/// Nobody in particular, with this much memory to lock.
fn less(bytes: u64) -> Change {
    Box::new(move |builder| builder.uid(65534).memlock(bytes))
}

fn refused(calls: &[i64], errno: i32) -> Change {
    let calls: Vec<_> = calls.iter().map(|call| (*call, None)).collect();
    Box::new(move |builder| builder.refused(&calls, errno))
}

struct Secrets {
    value: String,
    token: String,
}

fn build(vault: &Dev, config: &str) -> (Builder, Secrets) {
    let secrets = Secrets { value: random("v", 200), token: random("t", 50) };
    vault.put("app", json!({ "value": secrets.value }));
    let builder = Builder::serve()
        .config(config)
        .args(&["--secret", "app=secret/data/app"])
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("SIDEKEY_TOKEN", &secrets.token);
    (builder, secrets)
}

fn warning(sidecar: &Sidecar, start: &str) -> serde_json::Value {
    eventually(&format!("{start} in {}", sidecar.stderr()), || {
        let starts = |event: &serde_json::Value| {
            event["message"].as_str().is_some_and(|message| message.starts_with(start))
        };
        sidecar.events().into_iter().find(starts)
    })
}

fn degraded(change: &Change, tier: &str, says: &str, checked: &str) {
    let vault = Dev::start();
    let (builder, secrets) = build(&vault, "");
    let sidecar = change(builder).start();
    let event = warning(&sidecar, says);
    assert_eq!((&event["level"], &event["tier"]), (&json!("WARN"), &json!(tier)), "{event}");
    assert_eq!(sidecar.get("/secrets/app/value", &secrets.token).text(), secrets.value);
    let metrics = sidecar.health("/metrics").text();
    assert!(metrics.contains(&format!("sidekey_memory_tier{{tier=\"{tier}\"}} 1")), "{metrics}");
    sidecar.stop();

    let (builder, _) = build(&vault, "[memory]\nrequire_secret_memory = true");
    let mut sidecar = change(builder).spawn();
    let status = sidecar.wait();
    let said = sidecar.stderr();
    assert_eq!(status.code(), Some(71), "{said}");
    assert!(said.contains("require_secret_memory") && said.contains("RLIMIT_MEMLOCK"), "{said}");
    assert_check(change, &format!("process: memory for plaintext: {checked}\n"));
}

/// `sidekey check` has this line where there is as little to be had.
fn assert_check(change: &Change, line: &str) {
    let builder = Builder::of("check")
        .args(&["--secret", "app=secret/data/app"])
        .env("VAULT_TOKEN", "token")
        .env("SIDEKEY_TOKEN", "0123456789abcdef");
    let said = change(builder).command().output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(text.contains(line), "{line:?} in {text}");
}

fn usual_limit() {
    let vault = Dev::start();
    let (builder, secrets) = build(&vault, "[memory]\nrequire_secret_memory = true");
    let sidecar = less(8 << 20)(builder).start();
    warning(&sidecar, "plaintext lives in secret memory");
    let root = vault.root_token();
    let needles = Needles::new([
        ("value", &*secrets.value),
        ("SIDEKEY_TOKEN", &*secrets.token),
        ("VAULT_TOKEN", &*root),
    ]);
    let stage = Stage::new("8 MiB", Mode::Protected, sidecar, needles);
    for _ in 0..100 {
        assert_eq!(stage.sidecar.get("/secrets/app/value", &secrets.token).status, 200);
    }
    stage.at_rest("unprivileged, after 100 reads");
    let metrics = stage.sidecar.health("/metrics").text();
    assert!(metrics.contains("sidekey_memory_spilled 0"), "{metrics}");
    assert!(metrics.contains("sidekey_memory_tier{tier=\"secret\"} 1"), "{metrics}");
    stage.end().stop();
    assert_check(&less(8 << 20), "process: memory for plaintext: secret\n");
}

/// Each connection has its buffers in secret memory only while enough is left for values.
fn crowd() {
    let vault = Dev::start();
    let (builder, secrets) = build(&vault, "");
    let sidecar = less(8 << 20)(builder).start();
    let root = vault.root_token();
    let needles = Needles::new([("value", &*secrets.value), ("VAULT_TOKEN", &*root)]);
    let stage = Stage::new("crowd", Mode::Protected, sidecar, needles);
    let host = stage.addr().to_string();
    let mut crowd: Vec<Client> =
        (0..400).map(|_| Client::tcp(stage.addr(), &secrets.token)).collect();
    for client in &mut crowd {
        assert_eq!(client.get(&host, "/secrets/app/value"), 200);
        client.send_raw(b"GET / HTTP/1.1\r\nHost: ");
    }
    stage.at_rest("unprivileged, 400 connections");
    let next = random("n", 100_000);
    vault.put("app", json!({ "value": next }));
    stage.needles.borrow_mut().add("next value", next.as_bytes());
    let mut client = Client::tcp(stage.addr(), &secrets.token);
    assert_eq!(client.send("POST", &host, "/secrets/app/refresh", ""), 200);
    stage.at_rest("unprivileged, 400 connections, another value");
    drop((crowd, client));
    stage.end().stop();
}

fn without_sandbox() {
    let vault = Dev::start();
    let (builder, secrets) = build(&vault, "");
    let calls = [libc::SYS_landlock_create_ruleset, libc::SYS_seccomp];
    let sidecar = refused(&calls, libc::ENOSYS)(builder).start();
    let event = warning(&sidecar, "sandboxed in part");
    assert_eq!(event["level"], "WARN");
    assert_eq!(event["files_and_ports"], "the kernel has no Landlock");
    assert_ne!(event["system_calls"], "in force");
    assert_eq!(sidecar.get("/secrets/app/value", &secrets.token).text(), secrets.value);
    let metrics = sidecar.health("/metrics").text();
    for layer in ["files_and_ports", "system_calls"] {
        let line = format!("sidekey_sandbox{{layer=\"{layer}\"}} 0\n");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    sidecar.stop();
    let none = refused(&calls, libc::ENOSYS);
    assert_check(&none, "process: sandbox: files and ports: the kernel has no Landlock\n");
    assert_check(&none, "process: sandbox: system calls: ");

    let (builder, _) = build(&vault, "[sandbox]\nrequire = true");
    let mut sidecar = none(builder).spawn();
    let status = sidecar.wait();
    let said = sidecar.stderr();
    assert_eq!(status.code(), Some(71), "{said}");
    assert!(said.contains("[sandbox] require") && said.contains("no Landlock"), "{said}");
}

/// Even where the kernel protects nothing, a value that is not served any more is nowhere: every
/// block that is freed is wiped.
fn dropped(vault: &Dev) {
    let (builder, secrets) = build(
        vault,
        "[secrets.app]\npath = \"secret/data/app\"\nrefresh = \"1s\"\nmax_stale = \"1s\"",
    );
    let sidecar = less(0)(builder.env("VAULT_SKIP_VERIFY", "true")).start();
    let read = |sidecar: &Sidecar| sidecar.get("/secrets/app/value", &secrets.token);
    assert_eq!(read(&sidecar).text(), secrets.value);
    let next = random("n", 200);
    vault.put("app", json!({ "value": next }));
    eventually("the next value", || (read(&sidecar).text() == next).then_some(()));
    let stage = Stage::new(
        "plain",
        Mode::Protected,
        sidecar,
        Needles::new([("old value", &*secrets.value)]),
    );
    settle(stage.sidecar.pid());
    stage.look("after rotation").assert_nothing("after rotation");

    vault.server.faults().on(Matcher::get("secret/data/app")).respond(Fault::status(500)).forever();
    eventually("expiry", || (read(&stage.sidecar).status >= 500).then_some(()));
    *stage.needles.borrow_mut() = Needles::new([("expired value", &*next)]);
    settle(stage.sidecar.pid());
    stage.look("after expiry").assert_nothing("after expiry");
    stage.end().stop();
}
