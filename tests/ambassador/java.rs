//! Java's driver of PostgreSQL, which speaks the extended protocol with prepared statements of
//! its own, through the ambassador.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::postgres::{destination, shared};
use crate::scene::Scene;
use crate::support::canary::canary;
use crate::support::trials::{Case, Component, POSTGRES};

pub(crate) const CASES: [Case; 1] = [("postgres_java_driver", &[POSTGRES, DRIVER], driver_works)];

/// A JDK, and its driver of PostgreSQL.
const DRIVER: Component =
    Component::new("a JDK and libpostgresql-jdbc-java", || driver().is_some());

/// The driver's file, as Debian's `libpostgresql-jdbc-java` lays it; `None` without it, or without
/// a JDK.
pub(crate) fn driver() -> Option<&'static Path> {
    let driver = Path::new("/usr/share/java/postgresql.jar");
    let java = Command::new("java").args(["--list-modules"]).output().ok()?;
    let compiles = String::from_utf8_lossy(&java.stdout).contains("jdk.compiler");
    (compiles && driver.is_file()).then_some(driver)
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
    assert_eq!(
        said.trim(),
        "user by_java\nprepared 1275\nbatch 100\ncopied 3\ncancelled 57014\nafter 1"
    );
    scene.stop();
}
