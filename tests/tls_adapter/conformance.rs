//! Foreign suites: h2spec for HTTP/2, testssl.sh for TLS.

use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::application::Application;
use crate::scene::Scene;
use crate::{Case, Needs};

pub(crate) const CASES: [Case; 2] = [
    ("conformance_http2_by_h2spec", Needs::H2spec, http2),
    ("conformance_tls_by_testssl", Needs::Testssl, tls),
];

/// The newest version that Go's module proxy has.
const H2SPEC: &str = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible";

fn h2spec(arguments: &[&str]) -> Command {
    let mut command = Command::new("go");
    command.args(["run", H2SPEC]).args(arguments);
    command
}

pub(crate) fn has_h2spec() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    let version = || h2spec(&["--version"]).output().is_ok_and(|output| output.status.success());
    *HAS.get_or_init(version)
}

fn http2() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    let port = scene.addr().port().to_string();
    let output = h2spec(&["--tls", "--insecure", "--port", &port]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let sum = said.lines().rev().find(|line| line.contains(" tests, ")).unwrap_or_default();
    let count = |word: &str| -> Option<u32> {
        let counted = sum.split(", ").find(|counted| counted.ends_with(word))?;
        counted.split(' ').next()?.parse().ok()
    };
    assert_eq!((count("failed"), count("skipped")), (Some(0), Some(0)), "{said}");
    assert!(count("tests") > Some(90), "{sum}");
    scene.stop();
}

/// Of the test's own authority, which it rightly does not trust: not about the adapter.
const NOT_OURS: &str = "cert_";

fn tls() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    let report = scene.sidecar.path("testssl.json");
    let output = Command::new("testssl")
        .args(["--quiet", "--color", "0", "--warnings", "off", "--nodns", "min", "--jsonfile"])
        .arg(&report)
        .args(["--protocols", "--std", "--server-defaults", "--vulnerable", "--fs"])
        .arg(scene.addr().to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let findings: Vec<Value> =
        serde_json::from_slice(&std::fs::read(report).unwrap_or_default()).expect(&said);
    assert!(findings.len() > 40, "{said}");
    let grave = ["LOW", "MEDIUM", "HIGH", "CRITICAL", "FATAL"];
    let bad = findings.iter().filter(|finding| {
        finding["severity"].as_str().is_some_and(|severity| grave.contains(&severity))
    });
    let id = |finding: &&Value| finding["id"].as_str().unwrap().starts_with(NOT_OURS);
    let (not_ours, ours): (Vec<_>, Vec<_>) = bad.partition(id);
    assert_eq!(ours, Vec::<&Value>::new(), "{said}");
    // It does find what there is to be found.
    assert!(not_ours.iter().any(|finding| finding["id"] == "cert_chain_of_trust"), "{said}");
    for (id, finding) in
        [("TLS1_3", "offered with final"), ("ALPN_HTTP2", "h2"), ("PFS", "offered")]
    {
        let found = findings.iter().find(|found| found["id"] == id);
        assert_eq!(found.map(|found| &found["finding"]), Some(&Value::from(finding)), "{said}");
    }
    scene.stop();
}
