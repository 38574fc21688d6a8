//! A browser that trusts Vault's authority, in front of an application on Node.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::scene::{NAME, Scene};
use crate::support::eventually;
use crate::support::programs::chromium;
use crate::support::trials::{CHROMIUM, Case, NODE, NSS};

pub(crate) const CASES: [Case; 2] = [
    ("browser_uses_the_application_behind_it", &[CHROMIUM, NSS, NODE], page),
    ("browser_refuses_it_without_the_authority", &[CHROMIUM, NSS, NODE], stranger),
];

/// `tests/tls_adapter/browser/application.js`, killed in the end.
struct Node {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    addr: SocketAddr,
}

impl Node {
    fn start() -> Self {
        let script =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls_adapter/browser/application.js");
        let mut child = Command::new("node").arg(script).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port: u16 = lines.next().unwrap().unwrap().parse().unwrap();
        Self { child, lines, addr: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// What a page found.
    fn found(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().expect("the application goes on").unwrap()).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn page_of(scene: &Scene) -> String {
    format!("https://{NAME}:{}/", scene.addr().port())
}

/// A home whose database of authorities has that of the adapter's certificate.
fn home_that_trusts(scene: &Scene) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let database = home.path().join(".pki/nssdb");
    std::fs::create_dir_all(&database).unwrap();
    let database = format!("sql:{}", database.display());
    for arguments in [&["-N", "--empty-password"][..], &["-A", "-n", "root", "-t", "C,,", "-i"]] {
        let mut command = Command::new("certutil");
        command.args(["-d", &database]).args(arguments);
        if arguments.contains(&"-i") {
            command.arg(scene.authority_file());
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    home
}

/// Ends the browser with all that it started.
struct Open(Child);

impl Open {
    fn start(command: &mut Command) -> Self {
        use std::os::unix::process::CommandExt as _;
        Self(command.stdout(Stdio::null()).process_group(0).spawn().unwrap())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

fn page() {
    let mut node = Node::start();
    let scene = Scene::http(node.addr, "");
    let home = home_that_trusts(&scene);
    let browser = Open::start(&mut chromium(home.path(), NAME, &[&page_of(&scene)]));
    let found = node.found();
    assert_eq!(found["error"], Value::Null, "{found}");
    assert_eq!(found["secure"], true, "{found}");
    assert_eq!(found["echo"], true, "{found}");
    assert_eq!(found["protocol"], "h2", "{found}");
    assert_eq!(found["event"], "3", "{found}");
    assert_eq!(found["socket"], "over and back", "{found}");
    assert_eq!(found["headers"]["x-forwarded-proto"], "https", "{found}");
    assert_eq!(found["headers"]["via"], "2.0 sidekey", "{found}");
    drop(browser);
    // The socket ends with its browser.
    let line = "sidekey_tls_open_connections{adapter=\"web\"}";
    eventually("the end of its connections", || (scene.count(line) == Some(0)).then_some(()));
    scene.stop();
}

fn stranger() {
    let node = Node::start();
    let scene = Scene::http(node.addr, "");
    let home = tempfile::tempdir().unwrap();
    let output = chromium(home.path(), NAME, &["--dump-dom", &page_of(&scene)]).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(!shown.contains("the application"), "{shown}");
    let line = "sidekey_tls_handshakes_total{adapter=\"web\",outcome=\"refused_by_client\"}";
    eventually("the alert", || scene.count(line).filter(|count| *count > 0));
    assert!(
        scene
            .count("sidekey_tls_requests_total{adapter=\"web\",status=\"2xx\"}")
            .is_none_or(|n| n == 0)
    );
    scene.stop();
}
