//! Foreign suites: h2spec for HTTP/2, testssl.sh for TLS.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

use crate::application::Application;
use crate::scene::Scene;
use crate::support::programs::has;
use crate::support::trials::{Case, Component};

const H2SPEC: Component =
    Component::new("h2spec (Go and a network build it)", || h2spec().is_some());
const TESTSSL: Component = Component::new("testssl.sh", || has("testssl"));

pub(crate) const CASES: [Case; 2] = [
    ("conformance_http2_by_h2spec", &[H2SPEC], http2),
    ("conformance_tls_by_testssl", &[TESTSSL], tls),
];

/// The program of `tests/h2spec`, built where it is not in the cache yet; `None` where that takes
/// a Go or a network that is not there.
pub(crate) fn h2spec() -> Option<&'static Path> {
    static BUILT: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let build = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/h2spec/build.sh");
        let output = Command::new(build).output().ok()?;
        let said = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| said.lines().last().map(PathBuf::from))?
    });
    BUILT.as_deref()
}

/// The suite asks, resets the stream and asks on it again, and takes the first frame for the
/// verdict. Where the answer to the first question was on its way already, that is its data.
const CROSSED: &str = "closed: Sends a HEADERS frame after sending RST_STREAM frame";

/// Whether the one case that failed is that one, for that reason.
fn crossed(said: &str) -> bool {
    let lines = |mark: &str| said.lines().filter(|line| line.contains(mark)).collect::<Vec<_>>();
    lines("×").iter().all(|line| line.ends_with(CROSSED))
        && lines("Actual:").iter().all(|line| line.contains("DATA Frame"))
}

fn http2() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    let port = scene.addr().port().to_string();
    let mut command = Command::new(h2spec().unwrap());
    let output = command.args(["--tls", "--insecure", "--port", &port]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let sum = said.lines().rev().find(|line| line.contains(" tests, ")).unwrap_or_default();
    let count = |word: &str| -> Option<u32> {
        let counted = sum.split(", ").find(|counted| counted.ends_with(word))?;
        counted.split(' ').next()?.parse().ok()
    };
    let failed = count("failed").filter(|failed| !(*failed == 1 && crossed(&said)));
    assert!(matches!(failed, Some(0) | None) && count("skipped") == Some(0), "{said}");
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
