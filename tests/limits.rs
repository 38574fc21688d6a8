//! What is not to be had without end: file descriptors, connections, requests.
#![cfg(feature = "dev")]
#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]

mod support;

use std::net::TcpStream;

use serde_json::json;
use support::canary::canary;
use support::eventually;
use support::sidecar::{Builder, Sidecar};
use support::vault::{Dev, TestVault};

struct Scene {
    _vault: Dev,
    token: String,
    sidecar: Sidecar,
}

fn scene(config: &str, wrapper: &[&str]) -> Scene {
    let vault = Dev::start();
    vault.put("app", json!({ "password": canary("password") }));
    let token = canary("caller");
    let mut builder = Builder::serve()
        .on_free_ports()
        .config(&format!("[secrets.app]\npath = \"secret/data/app\"\n{config}"))
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("SIDEKEY_TOKEN", &token);
    if !wrapper.is_empty() {
        builder = builder.under(wrapper);
    }
    Scene { sidecar: builder.start(), _vault: vault, token }
}

/// Clock ticks of CPU that the process has used: fields 14 and 15 of `/proc/PID/stat`.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit(") ").next().unwrap();
    let fields: Vec<&str> = after_name.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn running_out_of_descriptors_pauses_accepting_and_does_not_spin() {
    let scene = scene("", &["prlimit", "--nofile=48:48"]);
    let addr = scene.sidecar.addr();
    let pid = scene.sidecar.pid();
    let held: Vec<_> = (0..64).map(|_| TcpStream::connect(addr).unwrap()).collect();
    scene.sidecar.wait_for("not accepting connections");
    let before = cpu_ticks(pid);
    // Spinning would burn a hundred ticks a second: watch one second of it.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let burnt = cpu_ticks(pid) - before;
    assert!(burnt < 25, "{burnt} ticks of CPU in a second without descriptors");
    drop(held);
    eventually("service again", || {
        (scene.sidecar.get("/secrets/app/password", &scene.token).status == 200).then_some(())
    });
    scene.sidecar.stop();
}

#[test]
fn connections_over_the_limit_wait_for_a_place() {
    let scene = scene("[limits]\nmax_connections = 2\nheader_timeout = \"1s\"\n", &[]);
    let addr = scene.sidecar.addr();
    let held: Vec<_> = (0..2).map(|_| TcpStream::connect(addr).unwrap()).collect();
    // The silent ones are cut after the header timeout; then it is this one's turn.
    let answer = scene.sidecar.get("/secrets/app/password", &scene.token);
    assert_eq!(answer.status, 200);
    drop(held);
    scene.sidecar.stop();
}

#[test]
fn too_many_requests_are_told_when_to_come_back() {
    let scene = scene("[limits]\nrequests_per_second = 2\n", &[]);
    let refused = eventually("a refusal", || {
        let answer = scene.sidecar.get("/secrets/app/password", &scene.token);
        (answer.status == 429).then_some(answer)
    });
    assert_eq!(refused.code(), "too_many_requests");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait));
    eventually("the next second", || {
        (scene.sidecar.get("/secrets/app/password", &scene.token).status == 200).then_some(())
    });
    scene.sidecar.stop();
}
