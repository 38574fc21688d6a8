//! A caller under the test's control.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

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

    pub fn send_with_body(&mut self, method: &str, host: &str, path: &str, more: &str, body: &str) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n{more}\r\n",
            self.token
        );
        self.stream.get_mut().write_all((head + body).as_bytes()).unwrap();
    }

    /// The status of the answer that comes; 0 when the connection ends before one.
    pub fn read_answer(&mut self) -> u16 {
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
