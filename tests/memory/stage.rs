//! A sidecar under observation, and what callers do to it.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::support::eventually;
use super::support::needle::Needles;
use super::support::scan::{self, Scan};
use super::support::sidecar::Sidecar;

/// A running sidecar and what must not be found in it.
pub struct Stage {
    name: &'static str,
    pub sidecar: Sidecar,
    pub needles: RefCell<Needles>,
    failures: RefCell<Vec<String>>,
}

impl Stage {
    pub fn new(name: &'static str, sidecar: Sidecar, needles: Needles) -> Self {
        let (needles, failures) = (RefCell::new(needles), RefCell::default());
        Self { name, sidecar, needles, failures }
    }

    /// Searches now, whatever the process does, and prints a line.
    pub fn look(&self, moment: &str) -> Scan {
        let found = scan::process(self.sidecar.pid(), &self.needles.borrow());
        let (copies, fragments) = found.copies_and_fragments();
        let (name, secret) = (self.name, found.secret_bytes() >> 10);
        eprintln!(
            "{name:12} {moment:44} {copies:3} copies {fragments:3} fragments, {} KiB searched, {secret} KiB secret",
            found.bytes >> 10
        );
        found
    }

    /// Searches when the process is at rest: nothing may be found, which [`end`](Self::end)
    /// asserts, so that one run shows all there is.
    pub fn at_rest(&self, moment: &str) {
        settle(self.sidecar.pid());
        let found = self.look(moment);
        assert!(found.bytes > 1 << 20, "{moment}: nothing was read");
        if !found.hits.is_empty() {
            eprintln!("{found}");
            self.failures.borrow_mut().push(format!("{moment}: {found}"));
        }
        assert_no_secret_descriptor(self.sidecar.pid());
    }

    pub fn addr(&self) -> SocketAddr {
        self.sidecar.addr()
    }

    /// Fails for everything that was found.
    pub fn end(self) -> Sidecar {
        let failures = self.failures.into_inner();
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        self.sidecar
    }
}

/// Waits until every thread sleeps and none did anything for a while.
pub fn settle(pid: u32) {
    let mut last = String::new();
    eventually("the process to come to rest", || {
        std::thread::sleep(Duration::from_millis(150));
        let mut all_sleep = true;
        let mut now = String::new();
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            let after_name = stat.rsplit(')').next().unwrap_or_default();
            let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
            assert_ne!(fields.first(), Some(&"Z"), "the process is gone");
            all_sleep &= fields.first() == Some(&"S");
            now += &fields.get(11..13).unwrap_or_default().join("+");
            now += " ";
        }
        let calm = all_sleep && now == last;
        last = now;
        calm.then_some(())
    });
}

/// Whoever can open or take such a descriptor can map what it stands for.
fn assert_no_secret_descriptor(pid: u32) {
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        assert!(!target.to_string_lossy().contains("secretmem"), "{} is open", target.display());
    }
}

/// A connection that stays open.
pub struct Client {
    stream: BufReader<Box<dyn Connection>>,
    token: String,
    /// Bytes of the last body.
    pub body: Vec<u8>,
}

trait Connection: Read + Write + Send {}
impl<T: Read + Write + Send> Connection for T {}

impl Client {
    pub fn tcp(addr: SocketAddr, token: &str) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(Box::new(stream), token)
    }

    /// With little room for what arrives, so that the other side has to wait with it.
    pub fn narrow(addr: SocketAddr, token: &str) -> Self {
        use socket2::{Domain, Socket, Type};
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&addr.into()).unwrap();
        Self::over(Box::new(TcpStream::from(socket)), token)
    }

    pub fn unix(name: &str, token: &str) -> Self {
        let name = name.trim_start_matches('@');
        let addr = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
        Self::over(Box::new(UnixStream::connect_addr(&addr).unwrap()), token)
    }

    fn over(stream: Box<dyn Connection>, token: &str) -> Self {
        Self { stream: BufReader::new(stream), token: token.to_owned(), body: Vec::new() }
    }

    /// Asks and reads the answer; its status.
    pub fn get(&mut self, host: &str, path: &str) -> u16 {
        self.send("GET", host, path, "")
    }

    pub fn send(&mut self, method: &str, host: &str, path: &str, more: &str) -> u16 {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n{more}\r\n",
            self.token
        );
        self.stream.get_mut().write_all(head.as_bytes()).unwrap();
        self.read_answer()
    }

    /// Asks, and leaves the answer where it is.
    pub fn ask_only(&mut self, host: &str, path: &str) {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\r\n",
            self.token
        );
        self.stream.get_mut().write_all(head.as_bytes()).unwrap();
    }

    /// Writes these bytes.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// Reads part of what was asked for.
    pub fn read_some(&mut self, len: usize) {
        self.body.resize(len, 0);
        self.stream.read_exact(&mut self.body).unwrap();
    }

    fn read_answer(&mut self) -> u16 {
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).unwrap_or(0) == 0 {
                return status;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest.get(..3).and_then(|s| s.parse().ok()).unwrap_or(0);
            } else if let Some(n) = line.strip_prefix("content-length:") {
                length = n.trim().parse().unwrap();
            }
        }
        self.read_some(length);
        status
    }
}
