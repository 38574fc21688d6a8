//! A real JVM, which loads keystores from the URL and talks TLS with them.

use std::path::Path;
use std::process::Command;

use crate::scene::{Certificate, SIGNED, Scene};
use crate::support::trials::{Case, JAVA, VAULT};
use crate::support::vault::{Dev, Real, TestVault};

pub(crate) const CASES: [Case; 3] = [
    ("java_talks_tls_with_keys_of_each_type", &[JAVA], each_type),
    ("java_talks_tls_with_an_rsa_key_of_a_real_vault", &[JAVA, VAULT], rsa),
    ("an_old_java_reads_the_legacy_profile", &[JAVA], old_java),
];

/// Runs a program beside this file, and returns what it printed.
fn java<V: TestVault>(scene: &Scene<V>, program: &str, arguments: &[&str]) -> String {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keystore").join(program);
    let output = Command::new("java")
        .args(["-Xmx256m", "-XX:TieredStopAtLevel=1"])
        .arg(program)
        .arg(scene.url())
        .args(arguments)
        .env("TOKEN", &scene.token)
        .env("PASSWORD", &scene.password)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "{said}\n{}", scene.sidecar.stderr());
    said
}

fn uses_all(scene: &Scene<impl TestVault>, algorithms: &[(&str, &str)]) {
    let arguments: Vec<_> =
        algorithms.iter().map(|(name, algorithm)| format!("{name}={algorithm}")).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let said = java(scene, "Keystores.java", &arguments);
    for (name, _) in algorithms {
        for form in ["p12", "p12?profile=legacy", "jks"] {
            let line = format!("ok {name} {form}");
            assert!(said.lines().any(|said| said == line), "{line} is missing in\n{said}");
        }
    }
}

fn each_type() {
    let scene = Scene::new(Dev::start(), &SIGNED);
    let algorithms = [("p256", "EC"), ("P384", "EC"), ("Ed.25519", "EdDSA"), ("vault", "EC")];
    uses_all(&scene, &algorithms);
    scene.stop();
}

fn rsa() {
    const RSA: Certificate = ("rsa", "role = 'rsa'");
    let scene = Scene::new(Real::start().expect("a real Vault"), &[RSA]);
    uses_all(&scene, &[("rsa", "RSA")]);
    scene.stop();
}

/// Not Java 8 itself, but this machine's Java with what Java 8 had before its update 301.
fn old_java() {
    let scene = Scene::new(Dev::start(), &SIGNED[..1]);
    let said = java(&scene, "OldJava.java", &["p256"]);
    for line in ["legacy opens", "JKS opens", "modern does not open"] {
        assert!(said.lines().any(|said| said == line), "{line} is missing in\n{said}");
    }
    scene.stop();
}
