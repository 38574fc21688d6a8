//! `compose/sign` with a key that a real Vault keeps.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::json;

use crate::support::trials::{Component, OPENSSL, VAULT};
use crate::support::vault::{Real, TestVault as _, real_vault};

/// What this case cannot do without.
pub const NEEDS: [Component; 2] = [OPENSSL, VAULT];

/// The version that signed is the one whose public key is written: `"10"` is before `"9"` where
/// Vault lists them.
pub fn of_a_rotated_key() {
    let vault = Real::start().unwrap();
    vault.set_up("POST", "sys/mounts/transit", json!({ "type": "transit" }));
    vault.set_up("POST", "transit/keys/sidekey", json!({ "type": "ecdsa-p256" }));
    let folder = tempfile::tempdir().unwrap();
    let (digest, another) =
        ("sha256:".to_owned() + &"1".repeat(64), "sha256:".to_owned() + &"2".repeat(64));
    for rotations in [0, 1, 9] {
        for _ in 0..rotations {
            vault.set_up("POST", "transit/keys/sidekey/rotate", json!({}));
        }
        succeeded(&sign(&vault, "sign", &digest, folder.path()));
        succeeded(&sign(&vault, "verify", &digest, folder.path()));
    }
    let output = sign(&vault, "verify", &another, folder.path());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("about another image"), "{said}");

    let payload = folder.path().join("sidekey.payload.json");
    let forged = std::fs::read_to_string(&payload).unwrap().replace(&digest, &another);
    std::fs::write(&payload, forged).unwrap();
    let output = sign(&vault, "verify", &another, folder.path());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("Verification failure"), "{said}");
}

fn sign(vault: &Real, action: &str, digest: &str, folder: &Path) -> Output {
    let program = real_vault().unwrap();
    let path = std::env::var("PATH").unwrap();
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/sign"))
        .args([action, digest])
        .arg(folder)
        .env("PATH", format!("{}:{path}", program.parent().unwrap().display()))
        .env("VAULT_ADDR", vault.url())
        .env("VAULT_TOKEN", vault.root_token())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
