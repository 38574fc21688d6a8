//! What the test program does when it is started again inside a network namespace: it asks the
//! sidecar over its abstract socket, as a user of choice.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;

use crate::support::client;

const ASK: &str = "SIDEKEY_TEST_ASK";

/// Whether this is such a start.
pub fn run_if_asked() -> Option<ExitCode> {
    let ask = std::env::var(ASK).ok()?;
    let head = format!("{ask} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = client::raw_unix("@sidekey", head.as_bytes()).into_iter().next();
    let answer = answer.expect("an answer");
    assert_eq!(answer.text().find('\0'), None);
    print(&format!("{}\n{}", answer.status, answer.text()));
    Some(ExitCode::SUCCESS)
}

fn print(text: &str) {
    use std::io::Write as _;
    std::io::stdout().write_all(text.as_bytes()).unwrap();
}

/// `ask`, such as `GET /secrets`, in the network of process `pid`: status and body.
pub fn ask(pid: &str, uid: u32, ask: &str) -> (u16, String) {
    let uid = uid.to_string();
    let output = Command::new("nsenter")
        .args(["--net", "--target", pid, "--setuid", &uid, "--setgid", &uid, "--"])
        .arg(program())
        .env(ASK, ask)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (status, body) = text
        .split_once('\n')
        .unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(&output.stderr)));
    (status.parse().unwrap(), body.to_owned())
}

/// This program, where every user can run it.
fn program() -> PathBuf {
    static COPY: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = COPY.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::copy(std::env::current_exe().unwrap(), folder.path().join("inside")).unwrap();
        folder
    });
    folder.path().join("inside")
}
