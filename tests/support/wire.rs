//! As much of an HTTP server as the fake Kubernetes API and the proxy need.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// A request, read to its end.
pub struct Request {
    pub method: String,
    pub target: String,
    /// The header lines, each with its end.
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Request {
    /// The next request on a connection, unless it was closed.
    pub fn read(reader: &mut BufReader<TcpStream>) -> Option<Self> {
        let mut line = String::new();
        let mut next = || {
            line.clear();
            reader.read_line(&mut line).ok().filter(|length| *length > 0).map(|_| line.clone())
        };
        let start = next()?;
        let mut words = start.split_whitespace().map(str::to_owned);
        let (method, target) = (words.next()?, words.next()?);
        let mut headers = Vec::new();
        loop {
            match next()?.as_str() {
                "\r\n" => break,
                header => headers.push(header.to_owned()),
            }
        }
        let length = headers.iter().find_map(|header| {
            let (name, value) = header.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).ok()?;
        Some(Self { method, target, headers, body })
    }
}

/// Listens on a free port of `ip` and hands every connection to a thread of its own.
pub fn listen(ip: [u8; 4], serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind(SocketAddr::from((ip, 0))).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    addr
}

/// Carries bytes both ways until either side closes.
pub fn join(one: TcpStream, other: TcpStream) {
    let (mut from, mut to) = (one.try_clone().unwrap(), other.try_clone().unwrap());
    let back = std::thread::spawn(move || copy(&mut from, &mut to));
    let (mut from, mut to) = (other, one);
    copy(&mut from, &mut to);
    let _ = back.join();
}

fn copy(from: &mut TcpStream, to: &mut TcpStream) {
    let _ = std::io::copy(from, to);
    let _ = to.flush();
    let _ = to.shutdown(std::net::Shutdown::Write);
}
