//! The real binary, as a process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;
use tempfile::TempDir;

use super::client::{self, Response};
use super::{canary, eventually, eventually_or, limits};

/// How a sidecar is started.
pub struct Builder {
    command: Command,
    folder: TempDir,
}

/// A running sidecar. Killed when dropped; [`stop`](Self::stop) ends it properly.
pub struct Sidecar {
    child: Child,
    stderr: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    gate: Arc<Mutex<()>>,
    folder: TempDir,
}

/// Another binary than the one that cargo built with the tests, such as the release build.
pub const BINARY: &str = "SIDEKEY_TEST_BIN";

/// The binary under test with an empty environment.
pub fn binary() -> Command {
    clean(program())
}

/// The file of the binary under test.
pub fn program() -> PathBuf {
    let built = || env!("CARGO_BIN_EXE_sidekey").into();
    std::env::var_os(BINARY).unwrap_or_else(built).into()
}

/// Any program, with an empty environment and its output caught.
pub fn clean(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Builder {
    /// `sidekey serve`, logging JSON at debug level, with an otherwise empty environment.
    pub fn serve() -> Self {
        Self::of("serve")
    }

    /// Another of its commands.
    pub fn of(subcommand: &str) -> Self {
        Self::by(binary(), subcommand)
    }

    /// Another of its commands by another program.
    pub fn by(mut command: Command, subcommand: &str) -> Self {
        command.args(["--log-format", "json", "--log-level", "debug", subcommand]);
        let folder = tempfile::tempdir().unwrap();
        // Not the folder: of a home, the sandbox lets in the files that are there alone.
        command.env("HOME", "/nonexistent");
        Self { command, folder }
    }

    /// Listeners on free ports, by flags.
    pub fn on_free_ports(self) -> Self {
        self.args(&["--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"])
    }

    /// With this configuration file.
    pub fn config(mut self, toml: &str) -> Self {
        let file = self.folder.path().join("sidekey.toml");
        std::fs::write(&file, toml).unwrap();
        self.command.arg("--config").arg(file);
        self
    }

    pub fn arg(mut self, arg: &str) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// A file beside the configuration; returns its path.
    pub fn file(&self, name: &str, content: &str) -> String {
        let file = self.folder.path().join(name);
        std::fs::write(&file, content).unwrap();
        file.to_str().unwrap().to_owned()
    }

    /// Runs it by way of another program, such as `prlimit`.
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(self.command.get_program()).args(self.command.get_args());
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, value) in self.command.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        self.command = command;
        self
    }

    /// Where its files are.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Runs as another user (root only).
    pub fn uid(mut self, uid: u32) -> Self {
        self.command.uid(uid).gid(uid);
        std::os::unix::fs::chown(self.folder.path(), Some(uid), Some(uid)).unwrap();
        self
    }

    /// With this much memory that it may lock.
    pub fn memlock(mut self, bytes: u64) -> Self {
        limits::memlock(&mut self.command, bytes);
        self
    }

    /// On a kernel that refuses these system calls with `errno`.
    pub fn refused(mut self, calls: &[limits::Call], errno: i32) -> Self {
        limits::refuse(&mut self.command, calls, errno);
        self
    }

    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Starts it; nothing is waited for.
    pub fn spawn(mut self) -> Sidecar {
        let mut child = self.command.spawn().expect("the binary starts");
        let stderr: Arc<Mutex<Vec<String>>> = Arc::default();
        let gate: Arc<Mutex<()>> = Arc::default();
        let (lines, opened) = (Arc::clone(&stderr), Arc::clone(&gate));
        let pipe = BufReader::new(child.stderr.take().unwrap());
        let reader = std::thread::spawn(move || {
            for line in pipe.lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
                drop(opened.lock().unwrap());
            }
        });
        Sidecar { child, stderr, reader: Some(reader), gate, folder: self.folder }
    }

    /// Starts it and waits until it serves every required secret.
    pub fn start(self) -> Sidecar {
        let sidecar = self.spawn();
        sidecar.wait_for("ready");
        sidecar
    }
}

impl Sidecar {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory, in KiB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Path of a file beside the configuration.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// All of stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().join("\n")
    }

    /// While it is locked, nobody reads its stderr.
    pub fn reading(&self) -> Arc<Mutex<()>> {
        Arc::clone(&self.gate)
    }

    /// Log events so far, as JSON.
    pub fn events(&self) -> Vec<Value> {
        let lines = self.stderr.lock().unwrap().clone();
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The first event whose message is `message`, waiting for it.
    pub fn wait_for(&self, message: &str) -> Value {
        eventually_or(
            || format!("{message:?} in\n{}", self.stderr()),
            || self.events().into_iter().find(|event| event["message"] == message),
        )
    }

    /// The local door's TCP address.
    pub fn addr(&self) -> SocketAddr {
        let event = self.wait_for("listening");
        event["addr"].as_str().expect("a TCP listener first").parse().unwrap()
    }

    /// The health listener's address.
    pub fn health_addr(&self) -> SocketAddr {
        self.wait_for("health and metrics")["addr"].as_str().unwrap().parse().unwrap()
    }

    pub fn get(&self, path: &str, token: &str) -> Response {
        client::get(self.addr(), path, token)
    }

    pub fn health(&self, path: &str) -> Response {
        client::request(self.health_addr(), "GET", path, &[])
    }

    pub fn signal(&self, signal: i32) {
        let name = signal.to_string();
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", &name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Whether it ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let status = eventually("the sidecar's end", || self.child.try_wait().unwrap());
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }

    /// Waits for the clean end of what was told to stop.
    pub fn stop_waiting(mut self) {
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.stderr());
    }

    /// SIGTERM, a clean end, and nothing secret in what it said. Returns its stderr.
    pub fn stop(mut self) -> String {
        self.signal(15);
        let status = self.wait();
        let said = self.stderr();
        assert_eq!(status.code(), Some(0), "{said}");
        canary::assert_clean("stderr", &said);
        said
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            canary::assert_clean("stderr", &self.stderr());
        }
    }
}
