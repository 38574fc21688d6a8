//! The forbidden things, tried by a thread of the running sidecar itself: a debugger has it make
//! the system calls, and the kernel judges them as its own.

use std::net::TcpListener;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixListener;

use serde_json::json;

use super::support::canary::canary;
use super::support::ptrace::Stopped;
use super::support::sidecar::{Builder, Sidecar};
use super::support::vault::{Dev, TestVault};

/// Below the stack of the thread, deeper than anything that it uses.
const SCRATCH: u64 = 256 << 10;
const NONE: u64 = u64::MAX;
const MPTCP: u64 = 262;

struct Inside<'s> {
    stopped: Stopped,
    sidecar: &'s Sidecar,
}

impl Inside<'_> {
    fn call(&self, number: i64, arguments: [u64; 6]) -> i64 {
        let returned = self.stopped.call("serve", number, arguments);
        returned.expect("the thread waits in a system call")
    }

    /// Puts bytes into the process; where they are.
    fn put(&self, bytes: &[u8]) -> u64 {
        let thread = self.stopped.threads().find(|(_, registers)| registers.name == "serve");
        let at = thread.unwrap().1.stack_pointer - SCRATCH;
        let memory = format!("/proc/{}/mem", self.sidecar.pid());
        let memory = std::fs::OpenOptions::new().write(true).open(memory).unwrap();
        memory.write_all_at(bytes, at).unwrap();
        at
    }

    fn open(&self, path: &str, flags: i32) -> i64 {
        let path = self.put(format!("{path}\0").as_bytes());
        let folder = i64::from(libc::AT_FDCWD).cast_unsigned();
        self.call(libc::SYS_openat, [folder, path, flags.unsigned_abs().into(), 0o600, 0, 0])
    }

    fn socket(&self, family: i32, protocol: u64) -> i64 {
        let stream = libc::SOCK_STREAM.unsigned_abs().into();
        self.call(libc::SYS_socket, [family.unsigned_abs().into(), stream, protocol, 0, 0, 0])
    }

    /// What the call that connects returns; or that for a socket, if there is none.
    fn with_socket(&self, socket: i64, connect: impl FnOnce(u64) -> i64) -> i64 {
        if socket < 0 {
            return socket;
        }
        let socket = socket.cast_unsigned();
        let returned = connect(socket);
        self.call(libc::SYS_close, [socket, 0, 0, 0, 0, 0]);
        returned
    }

    /// What connecting to a port of this host comes to, by TCP or by a protocol like it.
    fn connect(&self, port: u16, protocol: u64) -> i64 {
        let socket = self.socket(libc::AF_INET, protocol);
        let at = self.put(&loopback(port));
        let connect = |socket| self.call(libc::SYS_connect, [socket, at, 16, 0, 0, 0]);
        self.with_socket(socket, connect)
    }

    /// The same, by a first byte that is sent before there is a connection.
    fn connect_fast(&self, port: u16) -> i64 {
        let socket = self.socket(libc::AF_INET, 0);
        let at = self.put(&loopback(port));
        let flags = (libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT).unsigned_abs();
        let send = |socket| self.call(libc::SYS_sendto, [socket, at, 1, flags.into(), at, 16]);
        self.with_socket(socket, send)
    }

    fn connect_unix(&self, path: &str) -> i64 {
        let socket = self.socket(libc::AF_UNIX, 0);
        let mut address = u16::try_from(libc::AF_UNIX).unwrap().to_ne_bytes().to_vec();
        address.extend(path.as_bytes());
        address.push(0);
        let (at, len) = (self.put(&address), address.len() as u64);
        let connect = |socket| self.call(libc::SYS_connect, [socket, at, len, 0, 0, 0]);
        self.with_socket(socket, connect)
    }

    fn chmod(&self, path: &str) -> i64 {
        let path = self.put(format!("{path}\0").as_bytes());
        let folder = i64::from(libc::AT_FDCWD).cast_unsigned();
        self.call(libc::SYS_fchmodat, [folder, path, 0o600, 0, 0, 0])
    }
}

/// An address of IPv4 as the kernel takes it.
fn loopback(port: u16) -> Vec<u8> {
    let mut address = u16::try_from(libc::AF_INET).unwrap().to_ne_bytes().to_vec();
    address.extend(port.to_be_bytes());
    address.extend([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    address
}

fn start(vault: &Dev, config: &str) -> Sidecar {
    vault.put("app", json!({ "password": canary("value") }));
    let token = canary("token");
    let builder = Builder::serve();
    let home = builder.folder().to_str().unwrap().to_owned();
    builder
        .config(config)
        .env("HOME", &home)
        .args(&["--secret", "app=secret/data/app"])
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("SIDEKEY_TOKEN", &token)
        .start()
}

/// What each attempt returns, by name.
fn attempts(vault: &Dev, sidecar: &Sidecar) -> Vec<(&'static str, i64)> {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = elsewhere.local_addr().unwrap().port();
    let own: u16 = vault.url().rsplit(':').next().unwrap().parse().unwrap();
    let socket = sidecar.path("stranger.sock");
    let _stranger = UnixListener::bind(&socket).unwrap();
    let pid = u64::from(sidecar.pid());
    let parent = u64::from(std::process::id());
    let stopped = Stopped::all_threads(sidecar.pid()).unwrap();
    let inside = Inside { stopped, sidecar };
    assert_eq!(inside.call(libc::SYS_getpid, [0; 6]).cast_unsigned(), pid, "a call is a call");
    let neighbor = sidecar.path("neighbor");
    std::fs::write(&neighbor, "of the home, and not ours").unwrap();
    let config = sidecar.path("sidekey.toml");
    let config = config.to_str().unwrap();
    vec![
        ("read the configuration", inside.open(config, libc::O_RDONLY)),
        ("connect to Vault", inside.connect(own, 0)),
        ("write a file", inside.open(config, libc::O_WRONLY)),
        ("make a file", inside.open(&format!("{config}.new"), libc::O_WRONLY | libc::O_CREAT)),
        ("read a file of others", inside.open("/etc/shadow", libc::O_RDONLY)),
        ("read what is beside it", inside.open(neighbor.to_str().unwrap(), libc::O_RDONLY)),
        ("connect elsewhere", inside.connect(other, 0)),
        ("connect elsewhere, by MPTCP", inside.connect(other, MPTCP)),
        ("connect elsewhere, while sending", inside.connect_fast(other)),
        ("connect to a unix socket", inside.connect_unix(socket.to_str().unwrap())),
        ("change a file's mode", inside.chmod(config)),
        ("become dumpable", inside.call(libc::SYS_prctl, [4, 1, 0, 0, 0, 0])),
        ("look at another's limits", inside.call(libc::SYS_prlimit64, [parent, 0, 0, 0, 0, 0])),
        ("signal another process", inside.call(libc::SYS_kill, [parent, 0, 0, 0, 0, 0])),
        ("run a program", inside.call(libc::SYS_execve, [0; 6])),
        #[cfg(target_arch = "x86_64")]
        ("run a program, by the x32 ABI", inside.call(0x4000_0000 + 520, [0; 6])),
        ("listen on a port", inside.call(libc::SYS_bind, [NONE, 0, 0, 0, 0, 0])),
        ("trace a process", inside.call(libc::SYS_ptrace, [0x4206, NONE, 0, 0, 0, 0])),
        ("read another's memory", inside.call(libc::SYS_process_vm_readv, [NONE, 0, 0, 0, 0, 0])),
        ("take a descriptor", inside.call(libc::SYS_pidfd_getfd, [NONE, NONE, 0, 0, 0, 0])),
        ("make code without a file", inside.call(libc::SYS_memfd_create, [0; 6])),
    ]
}

/// Refused in the process that serves, which then goes on serving; and not, by the same means,
/// in one without the sandbox.
pub fn refused_in_the_running_process() {
    let vault = Dev::start();
    let sidecar = start(&vault, "");
    let inside = attempts(&vault, &sidecar);
    assert_eq!(sidecar.health("/livez").status, 200);
    sidecar.stop();
    let open = start(&vault, "[sandbox]\nenabled = false");
    let outside = attempts(&vault, &open);
    let refusals = [-i64::from(libc::EPERM), -i64::from(libc::EACCES)];
    for ((what, inside), (_, outside)) in inside.into_iter().zip(outside) {
        eprintln!("{what:34} inside: {inside:4} outside: {outside:4}");
        let needed = ["read the configuration", "connect to Vault"].contains(&what);
        assert_eq!(refusals.contains(&inside), !needed, "{what} inside: {inside}");
        assert!(!refusals.contains(&outside), "{what} outside: {outside}");
    }
    open.stop();
}
