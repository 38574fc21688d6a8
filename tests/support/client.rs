//! A client that writes exactly the bytes it is given.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

/// An answer, taken apart.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The one header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} repeats");
        first
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The `code` of a problem document.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// `GET path` with a bearer token, over a connection of its own.
pub fn get(addr: SocketAddr, path: &str, token: &str) -> Response {
    request(addr, "GET", path, &[("Authorization", &format!("Bearer {token}"))])
}

/// One request with the right Host and `headers`, over a connection of its own.
pub fn request(addr: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    let answers = raw(addr, head.as_bytes());
    answers.into_iter().next().unwrap_or_else(|| panic!("no answer to {method} {path}"))
}

/// Writes `bytes`, reads until the other side closes (or 10 s pass), returns every answer.
pub fn raw(addr: SocketAddr, bytes: &[u8]) -> Vec<Response> {
    let stream = TcpStream::connect(addr).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    exchange(stream, bytes)
}

/// The same over an abstract unix socket.
pub fn raw_unix(name: &str, bytes: &[u8]) -> Vec<Response> {
    let name = name.trim_start_matches('@');
    let addr = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    let stream = UnixStream::connect_addr(&addr).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    exchange(stream, bytes)
}

/// `GET path` over an abstract unix socket.
pub fn get_unix(name: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    raw_unix(name, head.as_bytes()).into_iter().next().expect("an answer")
}

fn exchange(mut stream: impl Read + Write, bytes: &[u8]) -> Vec<Response> {
    // A refused request may be answered before all of it is written.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    parse(&answer)
}

/// Every complete answer in `bytes`.
pub fn parse(mut bytes: &[u8]) -> Vec<Response> {
    let mut answers = Vec::new();
    while let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap_or_default();
        let status = status.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length: usize = length.and_then(|(_, v)| v.parse().ok()).unwrap_or(0);
        bytes = &bytes[end + 4..];
        let body = bytes[..length.min(bytes.len())].to_vec();
        bytes = &bytes[body.len()..];
        answers.push(Response { status, headers, body });
    }
    answers
}
