//! `sidekey get` of keystores, read by OpenSSL.

use std::process::{Command, Output};

use crate::scene::{SIGNED, Scene};
use crate::support::canary::assert_clean;
use crate::support::sidecar::binary;
use crate::support::trials::{Case, OPENSSL};
use crate::support::vault::{Dev, TestVault};

pub(crate) const CASES: [Case; 2] = [
    ("get_writes_a_keystore_that_openssl_reads", &[OPENSSL], writes),
    ("get_says_what_a_keystore_needs", &[OPENSSL], says),
];

fn get(scene: &Scene<impl TestVault>, arguments: &[&str], password: Option<&str>) -> Output {
    let mut command = binary();
    command.args(["get", "--addr", &scene.url()]).args(arguments);
    command.env("SIDEKEY_TOKEN", &scene.token);
    if let Some(password) = password {
        command.env("SIDEKEY_KEYSTORE_PASSWORD", password);
    }
    let output = command.output().unwrap();
    assert_clean("stderr", &String::from_utf8_lossy(&output.stderr));
    output
}

fn writes() {
    let scene = Scene::new(Dev::start(), &SIGNED[..1]);
    let key = scene.get("p256/key.pem").text();
    let line = key.lines().nth(1).unwrap();
    for profile in [&[][..], &["--profile", "modern"], &["--profile", "legacy"]] {
        let arguments = [&["--certificate", "p256/keystore.p12"], profile].concat();
        let output = get(&scene, &arguments, Some(&scene.password));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &output.stdout).unwrap();
        let mut openssl = Command::new("openssl");
        openssl.args(["pkcs12", "-nodes", "-passin", "env:PASSWORD", "-in"]).arg(file.path());
        openssl.env("PASSWORD", &scene.password);
        if profile.contains(&"legacy") {
            openssl.arg("-legacy");
        }
        let read = openssl.output().unwrap();
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        assert!(String::from_utf8_lossy(&read.stdout).contains(line), "the same key");
    }
    let jks = get(&scene, &["--certificate", "p256/truststore.jks"], Some(&scene.password));
    assert!(jks.stdout.starts_with(&[0xfe, 0xed, 0xfe, 0xed]));
    // Others need none, and get none.
    let pem = get(&scene, &["--certificate", "p256/key.pem"], Some(&scene.password));
    assert_eq!(String::from_utf8(pem.stdout).unwrap(), key);
    scene.stop();
}

fn says() {
    let scene = Scene::new(Dev::start(), &SIGNED[..1]);
    let keystore = ["--certificate", "p256/keystore.p12"];
    let long = scene.password.repeat(3);
    for (arguments, password, word) in [
        (&keystore[..], None, "set SIDEKEY_KEYSTORE_PASSWORD"),
        (&keystore, Some(""), "SIDEKEY_KEYSTORE_PASSWORD"),
        (&keystore, Some("CANARY7f3a\n"), "1 to 128 visible ASCII characters"),
        (&keystore, Some(&*long), "1 to 128 visible ASCII characters"),
        (&["--certificate", "p256/keystore.p12", "--watch"], Some("CANARY7f3a"), "--watch"),
        (&["--certificate", "p256/key.pem", "--profile", "legacy"], None, "--profile"),
    ] {
        let output = get(&scene, arguments, password);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains(word), "{said}");
        assert!(output.stdout.is_empty());
    }
    let other = get(&scene, &["--certificate", "p256/keystore.pfx"], Some(&scene.password));
    let said = String::from_utf8(other.stderr).unwrap();
    assert!(said.contains("404 unknown_form: available: cert.pem"), "{said}");
    let _ = scene.get("p256/keystore.jks");
    scene.stop();
}
