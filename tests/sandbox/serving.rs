//! The real binary inside its sandbox.

use std::time::Duration;

use serde_json::json;

use super::support::canary::canary;
use super::support::eventually;
use super::support::sidecar::{Builder, Sidecar, binary};
use super::support::vault::{Dev, TestVault};

fn start(vault: &Dev, token: &str) -> (Sidecar, String) {
    vault.put("app", json!({ "password": "first" }));
    vault.put("other", json!({ "password": "second" }));
    let builder = Builder::serve();
    let file = builder.file("token", token);
    let config = format!(
        "[secrets.app]\npath = \"secret/data/app\"\n[[callers]]\nname = \"app\"\n\
         allow = [\"*\"]\ntoken_file = \"{file}\"\n"
    );
    let sidecar = builder
        .config(&config)
        .on_free_ports()
        // By name, so that names are looked up inside.
        .env("VAULT_ADDR", &vault.url().replace("127.0.0.1", "localhost"))
        .env("VAULT_TOKEN", &vault.root_token())
        .start();
    (sidecar, config)
}

/// Serving, another token in the file, a reload, metrics: all of it with both layers in force.
pub fn life_inside() {
    let vault = Dev::start();
    let (first, second) = (canary("first"), canary("second"));
    let (sidecar, config) = start(&vault, &first);
    let pid = sidecar.pid();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap();
        assert!(status.contains("Seccomp:\t2\n"), "{status}");
    }
    assert_eq!(sidecar.get("/secrets/app/password", &first).text(), "first");

    // As an atomic writer does it.
    std::fs::write(sidecar.path("token.new"), &second).unwrap();
    std::fs::rename(sidecar.path("token.new"), sidecar.path("token")).unwrap();
    eventually("the other token", || {
        std::thread::sleep(Duration::from_millis(100));
        (sidecar.get("/secrets/app/password", &second).status == 200).then_some(())
    });
    let more = format!("{config}\n[secrets.other]\npath = \"secret/data/other\"\n");
    std::fs::write(sidecar.path("sidekey.toml"), more).unwrap();
    sidecar.signal(1);
    sidecar.wait_for("configuration reloaded");
    assert_eq!(sidecar.get("/secrets/other/password", &second).text(), "second");
    assert!(sidecar.health("/metrics").text().contains("sidekey_memory_tier"));
    sidecar.stop();
}

pub fn reload_beyond() {
    let vault = Dev::start();
    let token = canary("token");
    let (sidecar, config) = start(&vault, &token);
    assert_eq!(sidecar.wait_for("sandboxed")["files_and_ports"], "in force");
    let elsewhere = tempfile::NamedTempFile::new_in("/var").unwrap();
    std::fs::write(elsewhere.path(), canary("elsewhere")).unwrap();
    let beyond =
        config.replace(sidecar.path("token").to_str().unwrap(), elsewhere.path().to_str().unwrap());
    std::fs::write(sidecar.path("sidekey.toml"), beyond).unwrap();
    sidecar.signal(1);
    let refused = sidecar.wait_for("configuration refused, the running one stays");
    assert!(refused["error"].as_str().unwrap().contains("sandbox"), "{refused}");
    assert_eq!(sidecar.get("/secrets/app/password", &token).status, 200);
    sidecar.stop();
}

pub fn check() {
    let said = binary()
        .args(["check", "--secret", "app=secret/data/app"])
        .env("VAULT_TOKEN", "token")
        .env("SIDEKEY_TOKEN", "0123456789abcdef")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&said.stdout);
    for line in ["memory for plaintext: ", "sandbox: files and ports: ", "sandbox: system calls: "]
    {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    assert!(said.status.success(), "{text}");
}
