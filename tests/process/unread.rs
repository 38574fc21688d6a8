//! Nobody reads standard error.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::serve;
use crate::support::client;
use crate::support::eventually;

/// Whether a read was answered within a second.
fn is_answered(addr: SocketAddr, token: &str) -> bool {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let head =
        format!("GET /secrets/db/user HTTP/1.1\r\nHost: {addr}\r\nX-Vault-Token: {token}\r\n");
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).is_ok() && answer.starts_with(b"HTTP/1.1 200")
}

#[test]
fn reads_wait_for_their_audit_line_and_nothing_else_waits() {
    let mut served = serve(&[]);
    let (addr, health) = (served.sidecar.addr(), served.sidecar.health_addr());
    let token = served.token.clone();
    let reading = served.sidecar.reading();
    let unread = reading.lock().unwrap();
    // A pipe, a buffer here and one there take thousands of lines.
    let answered = (0..100_000).take_while(|_| is_answered(addr, &token)).count();
    assert!(answered > 1000, "{answered}");
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(client::request(health, "GET", path, &[]).status, 200, "{path}");
    }
    // A reload writes to the log, and goes on.
    served.sidecar.signal(1);
    assert_eq!(client::request(health, "GET", "/livez", &[]).status, 200);
    let since = Instant::now();
    served.sidecar.signal(15);
    eventually("its end", || served.sidecar.has_ended().then_some(()));
    assert!(since.elapsed() < Duration::from_secs(9), "{:?}", since.elapsed());
    drop(unread);
    assert_eq!(served.sidecar.wait().code(), Some(0));
}

#[test]
fn once_it_is_read_again_no_audit_line_is_missing() {
    let served = serve(&[]);
    let (addr, token) = (served.sidecar.addr(), served.token.clone());
    let reading = served.sidecar.reading();
    let unread = reading.lock().unwrap();
    let answered = (0..100_000).take_while(|_| is_answered(addr, &token)).count();
    drop(unread);
    eventually("answers again", || is_answered(addr, &token).then_some(()));
    // All that were answered, and at least the one that waited.
    let reads = || {
        let lines = served.sidecar.events();
        lines.iter().filter(|line| line["kind"] == "audit" && line["action"] == "read").count()
    };
    eventually("every line", || (reads() >= answered + 2).then_some(()));
    served.sidecar.stop();
}
