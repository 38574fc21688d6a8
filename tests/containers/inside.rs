//! What the test program does when it is started again inside a network namespace, as a user
//! of choice: one request, over the sidecar's abstract socket or to an address.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::client;

const WHERE: &str = "SIDEKEY_TEST_WHERE";
const WHAT: &str = "SIDEKEY_TEST_WHAT";

/// Whether this is such a start.
pub fn run_if_asked() -> Option<ExitCode> {
    let (place, what) = (std::env::var(WHERE).ok()?, std::env::var(WHAT).ok()?);
    let answer = request(&place, &what).unwrap_or_else(|error| format!("0\n{error}"));
    std::io::stdout().write_all(answer.as_bytes()).unwrap();
    Some(ExitCode::SUCCESS)
}

fn request(place: &str, what: &str) -> std::io::Result<String> {
    let host = if place.starts_with('@') { "localhost" } else { place };
    let (line, more) = what.split_once('\n').unwrap_or((what, ""));
    let own = if more.contains("Host: ") { String::new() } else { format!("Host: {host}\r\n") };
    let more: String = more.lines().flat_map(|header| [header, "\r\n"]).collect();
    let head = format!("{line} HTTP/1.1\r\nConnection: close\r\n{own}{more}\r\n");
    let answers = if place.starts_with('@') {
        client::raw_unix(place, head.as_bytes())
    } else {
        let address = place.parse().expect("an address");
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        client::parse(&answer)
    };
    let answer = answers.first().expect("an answer");
    Ok(format!("{}\n{}", answer.status, answer.text()))
}

/// `what`, such as `GET /secrets`, with headers on lines of their own, asked as `uid` in the network of process `pid`, of the
/// abstract socket or the address `place`: status and body; 0 and why when nobody answers.
pub fn ask_at(pid: &str, uid: u32, place: &str, what: &str) -> (u16, String) {
    let uid = uid.to_string();
    let output = Command::new("nsenter")
        .args(["--net", "--target", pid, "--setuid", &uid, "--setgid", &uid, "--"])
        .arg(program())
        .envs([(WHERE, place), (WHAT, what)])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let (status, body) = text.split_once('\n').unwrap_or_else(|| panic!("no answer: {said}"));
    (status.parse().unwrap(), body.to_owned())
}

/// [`ask_at`] the sidecar's abstract socket.
pub fn ask(pid: &str, uid: u32, what: &str) -> (u16, String) {
    ask_at(pid, uid, "@sidekey", what)
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
