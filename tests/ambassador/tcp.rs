//! The TCP ambassador.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::curl;
use crate::peer::{Manner, Peer};
use crate::scene::Scene;
use crate::support::eventually;
use crate::support::tls::Authority;
use crate::support::trials::{CURL, Case, GO, ROOT};

pub(crate) const CASES: [Case; 12] = [
    ("tcp_bytes_both_ways_to_both_ends", &[], both_ways),
    ("tcp_over_tls_to_the_right_name_alone", &[], over_tls),
    ("tcp_to_a_server_of_post_quantum_key_exchange_alone", &[GO], post_quantum),
    ("tcp_destination_down", &[], down),
    ("tcp_what_breaks_off_is_reset", &[], breaks_off),
    ("tcp_who_says_nothing_is_let_go", &[], silent),
    ("tcp_most_connections", &[], most_connections),
    ("tcp_another_uid_is_refused", &[ROOT, CURL], another_uid),
    ("tcp_callers_that_are_not_allowed", &[], not_allowed),
    ("tcp_over_the_unix_socket", &[], unix_socket),
    ("tcp_stop_lets_streams_end", &[], stop_in_order),
    ("tcp_stop_cuts_what_does_not_end", &[], stop_and_cut),
];

pub(crate) fn connect(scene: &Scene) -> TcpStream {
    let stream = TcpStream::connect(scene.addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn plain(peer: &Peer, more: &str) -> Scene {
    Scene::tcp(&format!("destination = '{}'\n{more}", peer.addr), "")
}

/// A peer with TLS, and what to say of it. The folder has the trust anchor.
pub(crate) fn with_tls(manner: Manner) -> (Peer, String, tempfile::TempDir) {
    let authority = Authority::new("tcp test");
    let peer = Peer::start(manner, Some(Authority::settings(&authority.server(), None)));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let port = peer.addr.port();
    let lines =
        format!("destination = 'localhost:{port}'\ntls = true\nca_cert = '{}'\n", file.display());
    (peer, lines, folder)
}

/// What is read until the end, which has to be a reset.
pub(crate) fn assert_reset(stream: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    let error = stream.read_to_end(&mut heard).expect_err("no end that looks like one");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    heard
}

/// Waits for this outcome to be counted so often.
pub(crate) fn counted(scene: &Scene, outcome: &str, times: u32) {
    let line = format!(
        "sidekey_ambassador_uses_total{{ambassador=\"api\",outcome=\"{outcome}\"}} {times}"
    );
    eventually(&line, || scene.metrics().lines().any(|found| found == line).then_some(()));
}

/// A server, in Go as Vault is, that takes no other key exchange.
fn post_quantum() {
    let (authority, folder) = (Authority::new("hybrid test"), tempfile::tempdir().unwrap());
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let server = authority.server();
    let mut command = crate::support::go::hybrid().unwrap();
    command
        .arg("serve")
        .arg(file("cert.pem", &server.cert_chain))
        .arg(file("key.pem", &server.key));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut addr = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut addr).unwrap();
    let addr: SocketAddr = addr.trim().parse().unwrap();
    let ca = file("ca.pem", authority.pem().as_bytes());
    let (ca, port) = (ca.display(), addr.port());
    let scene = Scene::tcp(
        &format!("destination = 'localhost:{port}'\ntls = true\nca_cert = '{ca}'\n"),
        "",
    );
    let mut heard = String::new();
    connect(&scene).read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "agreed");
    scene.stop();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

fn both_ways() {
    let (tls, lines, _folder) = with_tls(Manner::Count);
    let peer = Peer::start(Manner::Count, None);
    for (scene, peer) in [(plain(&peer, ""), &peer), (Scene::tcp(&lines, ""), &tls)] {
        let mut stream = connect(&scene);
        let large = vec![b'x'; 3 << 20];
        stream.write_all(&large).unwrap();
        // The answer comes after the end of the question: each direction has its own.
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, large.len().to_string());
        counted(&scene, "ok", 1);
        counted(&scene, "closed", 1);
        assert_eq!(peer.connections(), 1);
        let said = scene.stop();
        let audit = said.lines().find(|line| line.contains("\"action\":\"connect\"")).expect(&said);
        for part in ["\"adapter\":\"api\"", "\"caller\":\"app\"", "\"outcome\":\"ok\""] {
            assert!(audit.contains(part), "{audit}");
        }
    }
    // All that it has to say is said before anybody has looked who it is.
    let peer = Peer::start(Manner::Count, None);
    let scene = plain(&peer, "");
    for _ in 0..50 {
        let mut stream = connect(&scene);
        stream.write_all(b"12345").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "5");
    }
    scene.stop();
    // A question and its answer, again and again.
    let peer = Peer::start(Manner::Echo, None);
    let scene = plain(&peer, "");
    let mut stream = connect(&scene);
    for round in 0..100_u8 {
        stream.write_all(&[round; 10]).unwrap();
        let mut answer = [0; 10];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [round; 10]);
    }
    drop(stream);
    counted(&scene, "closed", 1);
    scene.stop();
}

fn over_tls() {
    let (peer, lines, folder) = with_tls(Manner::Echo);
    let other = folder.path().join("other.pem");
    std::fs::write(&other, Authority::new("another").pem()).unwrap();
    let wrong_name = format!("{lines}server_name = 'other.invalid'");
    let untrusted = lines.lines().take(2).collect::<Vec<_>>().join("\n")
        + &format!("\nca_cert = '{}'", other.display());
    for lines in [wrong_name, untrusted] {
        let scene = Scene::tcp(&lines, "");
        assert!(assert_reset(&mut connect(&scene)).is_empty());
        counted(&scene, "destination_untrusted", 1);
        scene.sidecar.wait_for("destination out of reach");
        scene.stop();
    }
    assert_eq!(peer.connections(), 0);
}

fn down() {
    // An address at which nobody else takes the port in between.
    let listener = TcpListener::bind("127.0.0.79:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let scene = Scene::tcp(&format!("destination = '{addr}'"), "");
    for _ in 0..2 {
        assert!(assert_reset(&mut connect(&scene)).is_empty());
    }
    counted(&scene, "destination_unreachable", 2);
    let listener = TcpListener::bind(addr).unwrap();
    let mut stream = connect(&scene);
    let (mut accepted, _) = listener.accept().unwrap();
    accepted.write_all(b"there again").unwrap();
    drop(accepted);
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "there again");
    scene.sidecar.wait_for("destination answers again");
    scene.stop();
}

/// What came is not taken for all that there is; nor at the destination what the application
/// broke off.
fn breaks_off() {
    let (peer, lines, _folder) = with_tls(Manner::BreaksOff);
    let scene = Scene::tcp(&lines, "");
    let mut stream = connect(&scene);
    let mut some = [0; 4];
    stream.read_exact(&mut some).unwrap();
    stream.write_all(b"more").unwrap();
    assert_reset(&mut stream);
    counted(&scene, "broken", 1);
    assert_eq!(peer.connections(), 1);
    scene.stop();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let scene = Scene::tcp(&format!("destination = '{}'", listener.local_addr().unwrap()), "");
    let mut stream = connect(&scene);
    let (mut accepted, _) = listener.accept().unwrap();
    stream.write_all(b"half of").unwrap();
    accepted.read_exact(&mut [0; 7]).unwrap();
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    accepted.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert!(assert_reset(&mut accepted).is_empty());
    scene.stop();
}

fn silent() {
    let peer = Peer::start(Manner::Echo, None);
    let scene = plain(&peer, "idle_timeout = '300ms'");
    let mut stream = connect(&scene);
    let start = Instant::now();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "nothing was lost");
    assert!(start.elapsed() < Duration::from_secs(15));
    counted(&scene, "idle_timeout", 1);
    eventually("the end at the destination", || (peer.ended() == 1).then_some(()));
    scene.stop();
}

fn most_connections() {
    let peer = Peer::start(Manner::Echo, None);
    let scene = plain(&peer, "max_connections = 2");
    let mut first: Vec<_> = (0..2).map(|_| connect(&scene)).collect();
    for stream in &mut first {
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
    }
    // It waits in the kernel until there is a place.
    let mut third = connect(&scene);
    third.write_all(b"x").unwrap();
    third.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(third.read_exact(&mut [0; 1]).is_err());
    assert_eq!(peer.connections(), 2);
    drop(first.pop());
    third.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    third.read_exact(&mut [0; 1]).unwrap();
    scene.stop();
}

fn another_uid() {
    let peer = Peer::start(Manner::Echo, None);
    let scene = plain(&peer, "");
    let url = format!("http://{}/", scene.addr());
    let mut stranger = curl(&[&url]);
    stranger.uid(4_214).gid(4_214);
    assert!(!stranger.output().unwrap().status.success());
    counted(&scene, "caller_unknown", 1);
    assert_eq!(peer.connections(), 0);
    let said = scene.stop();
    let audit = said.lines().find(|line| line.contains("caller_unknown")).expect(&said);
    assert!(audit.contains("\"uid\":4214"), "{audit}");
}

fn not_allowed() {
    let peer = Peer::start(Manner::Echo, None);
    let lines = format!("listen = '127.0.0.1:0'\nallow = ['other']\ndestination = '{}'", peer.addr);
    let more = "[[callers]]\nname = 'other'\nuid = 4213\nallow = []";
    let scene = Scene::of("tcp", &lines, more, serde_json::json!({}));
    assert!(assert_reset(&mut connect(&scene)).is_empty());
    counted(&scene, "caller_unknown", 1);
    assert_eq!(peer.connections(), 0);
    scene.stop();
}

fn unix_socket() {
    let peer = Peer::start(Manner::Count, None);
    let name = format!("ambassador-tcp-{}", std::process::id());
    let lines = format!("listen = '@{name}'\nallow = ['app']\ndestination = '{}'", peer.addr);
    let scene = Scene::of("tcp", &lines, "", serde_json::json!({}));
    let addr = UnixAddr::from_abstract_name(name).unwrap();
    let mut stream = UnixStream::connect_addr(&addr).unwrap();
    stream.write_all(b"12345").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "5");
    scene.stop();
}

fn stop_in_order() {
    let peer = Peer::start(Manner::Dripping(1500), None);
    let quiet = Peer::start(Manner::Echo, None);
    let scene = plain(&peer, "");
    let mut stream = connect(&scene);
    stream.read_exact(&mut [0; 100]).unwrap();
    scene.sidecar.signal(15);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len(), 1400, "whole");
    assert!(TcpStream::connect(scene.addr()).is_err(), "and no other begins");
    scene.sidecar.stop_waiting();
    // One on which nothing moves holds nothing up.
    let scene = plain(&quiet, "");
    let mut stream = connect(&scene);
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
    let start = Instant::now();
    scene.sidecar.signal(15);
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    scene.sidecar.stop_waiting();
}

fn stop_and_cut() {
    let (_peer, lines, _folder) = with_tls(Manner::Endless);
    let scene = Scene::tcp(&lines, "[life]\nshutdown_deadline = '2s'");
    let mut stream = connect(&scene);
    stream.read_exact(&mut [0; 100]).unwrap();
    scene.sidecar.signal(15);
    assert_reset(&mut stream);
    scene.sidecar.stop_waiting();
}
