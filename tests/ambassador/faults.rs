//! Destinations and applications that do not behave, for each protocol alike: each has its
//! answer, its number, and an end.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::destination::Destination;
use crate::peer::{Manner, Peer};
use crate::postgres::{destination, shared};
use crate::scene::Scene;
use crate::support::canary::canary;
use crate::support::eventually;
use crate::support::postgres::said;
use crate::support::tls::Authority;
use crate::support::trials::{Case, POSTGRES};
use crate::tcp::{assert_reset, connect, counted, with_tls};

pub(crate) const CASES: [Case; 10] = [
    ("fault_http_and_tcp_certificate_out_of_date", &[], expired),
    ("fault_postgres_certificate_out_of_date", &[], postgres_expired),
    ("fault_postgres_peer_vanishes", &[POSTGRES], postgres_vanishes),
    ("fault_postgres_half_open_application", &[POSTGRES], postgres_half_open),
    ("fault_http_peer_vanishes", &[], http_vanishes),
    ("fault_tcp_peer_vanishes", &[], tcp_vanishes),
    ("fault_http_slow_reader", &[], http_slow_reader),
    ("fault_tcp_slow_reader", &[], tcp_slow_reader),
    ("fault_postgres_slow_reader", &[POSTGRES], postgres_slow_reader),
    ("fault_http_stop_while_streaming", &[], http_stop),
];

const LISTEN: &str = "listen = '127.0.0.1:0'\nallow = ['app']\n";

fn expired() {
    let authority = Authority::new("expired test");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let settings = Authority::settings(&authority.expired_server(), None);
    let peer = Peer::start(Manner::Echo, Some(settings));
    let port = peer.addr.port();
    let ca = format!("ca_cert = '{}'\n", file.display());

    let lines =
        format!("{LISTEN}credential = 'bearer'\ndestination = 'https://localhost:{port}'\n");
    let scene = Scene::http(&(lines + &ca), "");
    let answer = scene.get("/");
    assert_eq!((answer.status, answer.code()), (502, "destination_untrusted".into()));
    counted(&scene, "destination_untrusted", 1);
    let lost = scene.sidecar.wait_for("destination out of reach").to_string();
    assert!(lost.contains("xpired"), "{lost}");
    scene.stop();

    let scene = Scene::tcp(&format!("destination = 'localhost:{port}'\ntls = true\n{ca}"), "");
    assert!(assert_reset(&mut connect(&scene)).is_empty());
    counted(&scene, "destination_untrusted", 1);
    scene.stop();
    assert_eq!(peer.connections(), 0);
}

/// What a client of PostgreSQL begins with: length, version 3.0, a user and a database.
const STARTUP: &[u8] = b"\0\0\0\x20\0\x03\0\0user\0me\0database\0scram\0\0";

fn postgres_expired() {
    let authority = Authority::new("expired test");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let settings = Authority::settings(&authority.expired_server(), None);
    let peer = Peer::start(Manner::Postgres, Some(settings));
    let lines = format!(
        "{LISTEN}destination = 'localhost:{}'\ntls = true\nca_cert = '{}'",
        peer.addr.port(),
        file.display()
    );
    let fields = serde_json::json!({ "username": "u", "password": canary("expired") });
    let scene = Scene::of("postgres", &lines, "", fields);
    let mut stream = connect(&scene);
    stream.write_all(STARTUP).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("destination_untrusted"), "{answer}");
    counted(&scene, "destination_untrusted", 1);
    let lost = scene.sidecar.wait_for("destination out of reach").to_string();
    assert!(lost.contains("xpired"), "{lost}");
    assert_eq!(peer.connections(), 0);
    scene.stop();
}

/// A session through a peer that can vanish, with a query under way.
fn postgres_vanishes() {
    let postgres = shared();
    let password = canary("vanish");
    postgres.role("by_vanish", &password, false);
    let peer = Peer::start(Manner::Before(([127, 0, 0, 1], postgres.port).into()), None);
    let lines = format!("{LISTEN}destination = '{}'\nkeepalive = '1s'", peer.addr);
    let fields = serde_json::json!({ "username": "by_vanish", "password": password });
    let scene = Scene::of("postgres", &lines, "", fields);
    let mut psql = postgres.psql(scene.addr().port(), "me", "scram", "select pg_sleep(60)");
    let psql = psql.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let asked = "select count(*) from pg_stat_activity where usename = 'by_vanish' and query like '%pg_sleep%' and state = 'active'";
    eventually("the query", || (postgres.admin(asked) == "1").then_some(()));
    peer.vanish();
    let start = Instant::now();
    let output = psql.wait_with_output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    assert!(!output.status.success());
    counted(&scene, "ok", 1);
    counted(&scene, "broken", 1);
    let none = "sidekey_ambassador_connections{ambassador=\"api\"} 0";
    eventually("the end of the connection", || scene.metrics().contains(none).then_some(()));
    scene.stop();
}

/// An application that says that it sends no more still gets what it asked for, and leaves no
/// session behind.
fn postgres_half_open() {
    let postgres = shared();
    let password = canary("half");
    postgres.role("by_half", &password, false);
    let lines = format!("{LISTEN}{}", destination(postgres, true));
    let fields = serde_json::json!({ "username": "by_half", "password": password });
    let scene = Scene::of("postgres", &lines, "", fields);
    let mut stream = connect(&scene);
    stream.write_all(STARTUP).unwrap();
    let query = b"select 'half' || 'open'\0";
    stream
        .write_all(&[b"Q", &u32::try_from(query.len() + 4).unwrap().to_be_bytes()[..]].concat())
        .unwrap();
    stream.write_all(query).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("halfopen"), "{answer:?}");
    let gone = "select count(*) from pg_stat_activity where usename = 'by_half'";
    eventually("the end of the session", || (postgres.admin(gone) == "0").then_some(()));
    scene.stop();
}

/// Nothing is heard of it any more, and nothing arrives at it.
fn http_vanishes() {
    let peer = Peer::start(Manner::Deaf, None);
    let lines = format!(
        "{LISTEN}credential = 'bearer'\nkeepalive = '1s'\ndestination = 'http://{}'",
        peer.addr
    );
    let scene = Scene::http(&lines, "");
    let addr = scene.addr();
    let asking = std::thread::spawn(move || {
        let start = Instant::now();
        let answer = crate::support::client::request(addr, "GET", "/", &[]);
        (answer, start.elapsed())
    });
    eventually("the connection", || (peer.connections() == 1).then_some(()));
    peer.vanish();
    let (answer, took) = asking.join().unwrap();
    assert_eq!((answer.status, answer.code()), (502, "destination_failed".into()));
    assert!(took < Duration::from_secs(9), "{took:?}, long before response_timeout");
    counted(&scene, "destination_failed", 1);
    scene.stop();
}

fn tcp_vanishes() {
    for writes in [false, true] {
        let (peer, lines, _folder) = with_tls(Manner::Deaf);
        let scene = Scene::tcp(&format!("{lines}keepalive = '1s'"), "");
        let mut stream = connect(&scene);
        eventually("the connection", || (peer.connections() == 1).then_some(()));
        peer.vanish();
        let start = Instant::now();
        if writes {
            stream.write_all(b"is anybody there?").unwrap();
        }
        assert!(assert_reset(&mut stream).is_empty());
        let took = start.elapsed();
        assert!(took < Duration::from_secs(9), "{took:?}, writing: {writes}");
        counted(&scene, "broken", 1);
        scene.stop();
    }
}

/// What kernels hold of one stream, both sockets of both connections together, is a few MiB.
const KERNELS_SHARE: usize = 48 << 20;
const READERS: usize = 4;
/// 16 KiB each way, and what TLS holds, for each of them; with room for the allocator.
const OUR_SHARE: u64 = 8 << 10;

/// Waits until `sent` stands still: everything on the way is full.
fn until_full(sent: impl Fn() -> usize) -> usize {
    let mut last = (sent(), Instant::now());
    eventually("the stream to stand still", || {
        let now = sent();
        if now != last.0 {
            last = (now, Instant::now());
        }
        (now > 0 && last.1.elapsed() > Duration::from_millis(500)).then_some(now)
    })
}

fn tcp_slow_reader() {
    let (peer, lines, _folder) = with_tls(Manner::Endless);
    let scene = Scene::tcp(&format!("{lines}idle_timeout = '4s'"), "");
    let before = scene.sidecar.resident();
    let mut readers: Vec<_> = (0..READERS).map(|_| connect(&scene)).collect();
    for reader in &mut readers {
        reader.read_exact(&mut [0; 1000]).unwrap();
    }
    let sent = until_full(|| peer.sent());
    assert!(sent < READERS * KERNELS_SHARE, "{sent} bytes went somewhere");
    let grown = scene.sidecar.resident().saturating_sub(before);
    assert!(grown < OUR_SHARE, "{grown} KiB more, with {sent} bytes on the way");
    counted(&scene, "stuck", u32::try_from(READERS).unwrap());
    eventually("the end at the destination", || (peer.ended() == READERS).then_some(()));
    scene.stop();
}

fn http_slow_reader() {
    let destination = Destination::plain();
    let lines =
        format!("{LISTEN}credential = 'bearer'\ndestination = 'http://{}'", destination.addr);
    let scene = Scene::http(&lines, "[limits]\nwrite_timeout = '3s'");
    let addr = scene.addr();
    let before = scene.sidecar.resident();
    let mut readers: Vec<_> = (0..READERS).map(|_| TcpStream::connect(addr).unwrap()).collect();
    for reader in &mut readers {
        write!(reader, "GET /endless HTTP/1.1\r\nHost: {addr}\r\n\r\n").unwrap();
        reader.read_exact(&mut [0; 1000]).unwrap();
    }
    let open = format!("sidekey_ambassador_connections{{ambassador=\"api\"}} {READERS}");
    assert!(scene.metrics().contains(&open));
    std::thread::sleep(Duration::from_secs(1));
    let grown = scene.sidecar.resident().saturating_sub(before);
    assert!(grown < OUR_SHARE, "{grown} KiB more");
    // Who reads nothing is let go.
    counted(&scene, "stuck", u32::try_from(READERS).unwrap());
    eventually("the end of the readers", || {
        scene
            .metrics()
            .contains("sidekey_ambassador_connections{ambassador=\"api\"} 0")
            .then_some(())
    });
    scene.stop();
}

fn postgres_slow_reader() {
    let postgres = shared();
    let password = canary("slow");
    postgres.role("by_slow", &password, false);
    let lines = format!("{LISTEN}{}", destination(postgres, true));
    let fields = serde_json::json!({ "username": "by_slow", "password": password });
    let scene = Scene::of("postgres", &lines, "", fields);
    let port = scene.addr().port();
    let before = scene.sidecar.resident();
    // 400 MB of rows, of which psql passes on what its own reader takes: nothing.
    let rows = "copy (select repeat('x', 1000) from generate_series(1, 400000)) to stdout";
    let mut psql = postgres.psql(port, "me", "scram", rows);
    let mut psql = psql.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let waits = "select count(*) from pg_stat_activity where usename = 'by_slow' and wait_event = 'ClientWrite'";
    eventually("the server to wait for its client", || {
        (postgres.admin(waits) == "1").then_some(())
    });
    let grown = scene.sidecar.resident().saturating_sub(before);
    assert!(grown < OUR_SHARE, "{grown} KiB more");
    psql.kill().unwrap();
    psql.wait().unwrap();
    counted(&scene, "broken", 1);
    let gone = "select count(*) from pg_stat_activity where usename = 'by_slow'";
    eventually("the end of the session", || (postgres.admin(gone) == "0").then_some(()));
    assert_eq!(said(postgres.psql(port, "me", "scram", "select 1")), Ok("1".into()));
    counted(&scene, "closed", 1);
    scene.stop();
}

/// The answer under way ends; the connection says that it is the last one.
fn http_stop() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let lines = format!("{LISTEN}credential = 'bearer'\ndestination = 'http://{addr}'");
    let scene = Scene::http(&lines, "");
    let mut reader = TcpStream::connect(scene.addr()).unwrap();
    reader.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(reader, "GET / HTTP/1.1\r\nHost: {}\r\n\r\n", scene.addr()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let _ = server.read(&mut [0; 1024]).unwrap();
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst").unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"first") {
        let mut byte = [0; 1];
        reader.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    scene.sidecar.signal(15);
    scene.sidecar.wait_for("stopping");
    server.write_all(b" last").unwrap();
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, " last");
    scene.sidecar.stop_waiting();
}
