//! Things between the sidecar and Vault: a proxy that records, and a plain relay.

use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use crate::wire::{self, Request};

/// An HTTP proxy that leads every name to one port of this machine.
pub struct Proxy {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub fn to(port: u16) -> Self {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let record = Arc::clone(&asked);
        let addr = wire::listen([127, 0, 0, 1], move |stream| serve(stream, port, &record));
        Self { addr, asked }
    }

    /// What goes into `HTTP_PROXY`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Method and target of every request so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, port: u16, record: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let Some(request) = Request::read(&mut reader) else { return };
    record.lock().unwrap().push(format!("{} {}", request.method, request.target));
    let mut upstream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    if request.method == "CONNECT" {
        (&stream).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
    } else {
        let (_, rest) = request.target.split_once("://").expect("an absolute target");
        let path = rest.find('/').map_or("/", |at| &rest[at..]);
        let mut head = format!("{} {path} HTTP/1.1\r\nConnection: close\r\n", request.method);
        let kept = request.headers.iter().filter(|header| {
            let name = header.split(':').next().unwrap_or_default();
            !name.to_ascii_lowercase().ends_with("connection")
        });
        head.extend(kept.map(String::as_str));
        head.push_str("\r\n");
        upstream.write_all(head.as_bytes()).unwrap();
        upstream.write_all(&request.body).unwrap();
    }
    wire::join(stream, upstream);
}

/// Leads to `port` from another loopback address, for which no certificate is made out.
pub fn relay(port: u16) -> SocketAddr {
    wire::listen([127, 0, 0, 2], move |stream| {
        wire::join(stream, TcpStream::connect(("127.0.0.1", port)).unwrap());
    })
}
