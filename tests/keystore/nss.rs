//! NSS, whose databases Firefox and Chromium read.

use std::path::Path;
use std::process::Command;

use crate::scene::{SIGNED, Scene};
use crate::support::trials::{Case, NSS};
use crate::support::vault::{Dev, TestVault};

pub(crate) const CASES: [Case; 1] = [("nss_imports_both_profiles", &[NSS], imports)];

/// Imports a keystore into a fresh database, and returns its lists of keys and certificates.
fn imported(scene: &Scene<impl TestVault>, path: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sql:{}", folder.path().display());
    let file = |name: &str, content: &[u8]| {
        let file = folder.path().join(name);
        std::fs::write(&file, content).unwrap();
        file
    };
    let keystore = file("keystore", &scene.get(path).body);
    let password = file("password", scene.password.as_bytes());
    let wrong = file("wrong", b"another password");
    run("certutil", &["-N", "--empty-password", "-d", &database], None);
    let import = |password: &Path| {
        let mut command = Command::new("pk12util");
        command.arg("-i").arg(&keystore).arg("-w").arg(password).args(["-d", &database]);
        command.output().unwrap()
    };
    let refused = import(&wrong);
    assert!(!refused.status.success(), "{path} opens with another password");
    let taken = import(&password);
    assert!(taken.status.success(), "{path}: {}", String::from_utf8_lossy(&taken.stderr));
    let keys = run("certutil", &["-K", "-d", &database], Some(path));
    keys + &run("certutil", &["-L", "-d", &database], Some(path))
}

fn run(program: &str, arguments: &[&str], path: Option<&str>) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{program} {arguments:?} {path:?}: {said}");
    said
}

fn imports() {
    let named = |name: &str| *SIGNED.iter().find(|(it, _)| *it == name).unwrap();
    let scene = Scene::new(Dev::start(), &[named("p256"), named("P384")]);
    for name in ["p256", "P384"] {
        for profile in ["modern", "legacy"] {
            let lists = imported(&scene, &format!("{name}/keystore.p12?profile={profile}"));
            // A key and its certificate, under the name; `u`: a certificate with its key.
            let key = lists.lines().find(|line| line.contains("< 0> ec"));
            assert!(key.is_some_and(|line| line.ends_with(name)), "{profile}: {lists}");
            let own = lists.lines().find(|line| line.starts_with(name));
            assert!(own.is_some_and(|line| line.trim_end().ends_with("u,u,u")), "{lists}");
            assert!(lists.contains("intermediate"), "{lists}");
        }
    }
    scene.stop();
}
