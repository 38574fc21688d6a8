//! The server of the page that attacks, which also answers everybody: the control.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::Value;

/// Runs until the test ends.
pub(crate) struct Server {
    port: u16,
    found: Receiver<Value>,
}

impl Server {
    /// Whose page attacks the door at `port`, and finds `marker` where it is let in.
    pub(crate) fn start(marker: &str, port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let page = include_str!("page.html");
        let page = page.replace("DOOR", &port.to_string()).replace("CONTROL", &own.to_string());
        let marker = marker.to_owned();
        let (report, found) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (page, marker, report) = (page.clone(), marker.clone(), report.clone());
                std::thread::spawn(move || answer(stream.unwrap(), &page, &marker, &report));
            }
        });
        Self { port: own, found }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What the page got, by the way in which it tried.
    pub(crate) fn found(&self) -> Value {
        self.found.recv_timeout(Duration::from_secs(30)).expect("the page reports")
    }
}

fn answer(stream: TcpStream, page: &str, marker: &str, report: &Sender<Value>) {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    if reader.read_line(&mut line).unwrap_or_default() == 0 {
        return;
    }
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).unwrap_or_default() <= 2 {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let (kind, body) = match line.split(' ').nth(1) {
        Some("/") => ("text/html", page),
        Some("/report") => {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let _ = report.send(serde_json::from_slice(&body).unwrap());
            ("text/plain", "")
        }
        _ => ("text/plain", marker),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Access-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = reader.get_mut().write_all([head.as_bytes(), body.as_bytes()].concat().as_slice());
}
