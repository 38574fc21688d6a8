//! Java's driver of PostgreSQL, which speaks the extended protocol with prepared statements of
//! its own, through the ambassador.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::json;

use crate::Needs;
use crate::postgres::{destination, shared};
use crate::scene::Scene;
use crate::support::canary::canary;

pub(crate) const CASES: [(&str, Needs, fn()); 1] =
    [("postgres_java_driver", Needs::PostgresAndJava, driver_works)];

/// The driver's file, fetched once into the cache; `None` without it, or without a JDK.
pub(crate) fn driver() -> Option<PathBuf> {
    static DRIVER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let fetch = || {
        let java = Command::new("java").args(["--list-modules"]).output().ok()?;
        if !String::from_utf8_lossy(&java.stdout).contains("jdk.compiler") {
            return None;
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ambassador/java/fetch.sh");
        let fetched = Command::new("bash").arg(script).output().ok()?;
        let path = String::from_utf8(fetched.stdout).ok()?;
        let path = PathBuf::from(path.trim());
        (fetched.status.success() && path.is_file()).then_some(path)
    };
    DRIVER.get_or_init(fetch).clone()
}

fn driver_works() {
    let postgres = shared();
    let password = canary("java");
    postgres.role("by_java", &password, false);
    let lines = format!("listen = '127.0.0.1:0'\nallow = ['app']\n{}", destination(postgres, true));
    let fields = json!({ "username": "by_java", "password": password });
    let scene = Scene::of("postgres", &lines, "", fields);
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ambassador/java/Client.java");
    let output = Command::new("java")
        .arg("-cp")
        .arg(driver().unwrap())
        .args([program, &scene.addr().port().to_string()])
        .output()
        .unwrap();
    let (said, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complaint}");
    assert_eq!(said.trim(), "user by_java\nprepared 1275\nbatch 100\ncancelled 57014\nafter 1");
    scene.stop();
}
