//! Lets a network namespace reach one port of the host's loopback, so that a pod can ask a Vault
//! that nobody else can reach: TCP there, a unix socket in a folder, TCP here.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use tempfile::TempDir;

use crate::support::eventually;

const SOCKET: &str = "SIDEKEY_TEST_RELAY";

/// Where the relay listens in the namespace.
pub const PORT: u16 = 8200;

/// The half in the namespace. Killed when dropped.
pub struct Relay {
    child: Child,
    _folder: TempDir,
}

impl Relay {
    /// From [`PORT`] in the network of process `pid` to `target`.
    pub fn start(pid: &str, target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("relay");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let Ok(far) = TcpStream::connect(target) else { continue };
                let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                std::thread::spawn(move || copy(near, &far_too, |to| to.shutdown(Shutdown::Write)));
                std::thread::spawn(move || copy(far, &near_too, |to| to.shutdown(Shutdown::Write)));
            }
        });
        let child = Command::new("nsenter")
            .args(["--net", "--target", pid, "--"])
            .arg(std::env::current_exe().unwrap())
            .env(SOCKET, &socket)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let ready = folder.path().join("ready");
        eventually("the relay", || ready.exists().then_some(()));
        Self { child, _folder: folder }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether this start of the test program is the half in the namespace.
pub fn run_if_asked() -> Option<ExitCode> {
    let socket = PathBuf::from(std::env::var_os(SOCKET)?);
    serve(&socket);
    Some(ExitCode::SUCCESS)
}

fn serve(socket: &Path) {
    let listener = TcpListener::bind(("127.0.0.1", PORT)).unwrap();
    std::fs::write(socket.with_file_name("ready"), "").unwrap();
    while let Ok((near, _)) = listener.accept() {
        let Ok(far) = UnixStream::connect(socket) else { return };
        let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        std::thread::spawn(move || copy(near, &far_too, |to| to.shutdown(Shutdown::Write)));
        std::thread::spawn(move || copy(far, &near_too, |to| to.shutdown(Shutdown::Write)));
    }
}

fn copy<T>(mut from: impl Read, to: &T, end: impl Fn(&T) -> std::io::Result<()>)
where
    for<'a> &'a T: Write,
{
    let mut writer = to;
    let _ = std::io::copy(&mut from, &mut writer);
    let _ = end(to);
}
