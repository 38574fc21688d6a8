//! `GET /events` about certificates: one event for each replacement.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::case::{Case, case};
use crate::certificates::{engine, web};
use crate::setup::{Running, Setup};
use crate::support::eventually;
use crate::vault::Vault;

pub const CASES: &[Case] =
    &[case!(a_certificate_that_is_issued_again), case!(a_certificate_that_is_replaced_in_time)];

/// The stream, once the sidecar listens to itself.
fn open(sidecar: &Running, last: Option<&str>) -> BufReader<TcpStream> {
    let addr = sidecar.sidecar.addr();
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
    let token = sidecar.token();
    write!(stream, "GET /events HTTP/1.1\r\nHost: {addr}\r\nX-Vault-Token: {token}\r\n{last}\r\n")
        .unwrap();
    let mut stream = BufReader::new(stream);
    while !line(&mut stream).starts_with(": connected") {}
    stream
}

fn line(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    assert!(stream.read_line(&mut line).unwrap() > 0, "the stream ended");
    line
}

/// The next event: its id, and what it says.
fn next(stream: &mut BufReader<TcpStream>) -> (String, Value) {
    let mut id = String::new();
    loop {
        let line = line(stream);
        if let Some(value) = line.strip_prefix("id: ") {
            value.trim().clone_into(&mut id);
        }
        if let Some(data) = line.strip_prefix("data: ") {
            return (id, serde_json::from_str(data).unwrap());
        }
    }
}

/// What an event has to say of the issuance that is served now.
fn expected(sidecar: &Running) -> Value {
    let served = sidecar.get("/certificates/web");
    let version: u64 = served.header("sidekey-version").unwrap().parse().unwrap();
    json!({ "name": "web", "version": version, "etag": served.header("etag").unwrap() })
}

/// Once a second at most.
fn issue_again(sidecar: &Running) {
    eventually("another issuance", || {
        let status = sidecar.post("/certificates/web/refresh").status;
        assert!(matches!(status, 200 | 429), "{status}");
        (status == 200).then_some(())
    });
}

fn a_certificate_that_is_issued_again(vault: &Vault) {
    engine(vault, json!({}));
    let sidecar = Setup::as_root(vault).certificate("web", &web("")).start();
    let mut stream = open(&sidecar, None);
    issue_again(&sidecar);
    // The first thing that is told: that it was issued at all is no rotation.
    let (id, said) = next(&mut stream);
    assert_eq!(said, expected(&sidecar));
    assert_eq!(said["version"], 2);
    drop(stream);

    issue_again(&sidecar);
    let (_, missed) = next(&mut open(&sidecar, Some(&id)));
    assert_eq!(missed, expected(&sidecar));
    assert_eq!(missed["version"], 3);
    sidecar.stop();
}

fn a_certificate_that_is_replaced_in_time(vault: &Vault) {
    engine(vault, json!({}));
    let lines = web("ttl = \"20s\"\nrenew_at_percent = 10");
    let sidecar = Setup::as_root(vault).certificate("web", &lines).start();
    let mut stream = open(&sidecar, None);
    let (_, said) = next(&mut stream);
    assert_eq!(said["name"], "web");
    assert!(said["version"].as_u64().unwrap() >= 2, "{said}");
    sidecar.stop();
}
