//! A destination that fails, and a credential that ends.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::LISTEN;
use crate::destination::Destination;
use crate::scene::Scene;
use crate::support::eventually;
use crate::support::trials::Case;
use crate::tcp::counted;

pub(crate) const CASES: [Case; 4] = [
    ("http_destination_down_and_back", &[], destination_down),
    ("http_destination_that_does_not_answer", &[], destination_silent),
    ("http_destination_that_stops_in_its_answer", &[], destination_stalls),
    ("http_expired_credential_is_not_used", &[], expired),
];

fn destination_down() {
    // An address at which nobody else takes the port in between.
    let listener = TcpListener::bind("127.0.0.78:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let lines = format!("{LISTEN}credential = 'bearer'\ndestination = 'http://{addr}'");
    let scene = Scene::http(&lines, "");
    for _ in 0..2 {
        let answer = scene.get("/");
        assert_eq!((answer.status, answer.code()), (502, "destination_unreachable".into()));
        assert!(answer.json()["detail"].as_str().unwrap().contains("`destination`"));
    }
    counted(&scene, "destination_unreachable", 2);
    let lost = scene.sidecar.wait_for("destination out of reach");
    let why = lost["error"].as_str().unwrap();
    assert!(why.starts_with("it cannot be connected to: "), "{why}");
    // There again, at the same place, and going away in the middle of a head.
    let listener = TcpListener::bind(addr).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Len").unwrap();
        drop(stream);
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]);
        stream.write_all(b"HTTP/1.1 200 Bearer\r\nContent-Length: 2\r\n\r\nok").unwrap();
    });
    let answer = scene.get("/");
    assert_eq!((answer.status, answer.code()), (502, "destination_failed".into()));
    let answer = scene.get("/");
    assert_eq!((answer.status, answer.text()), (200, "ok".into()));
    server.join().unwrap();
    scene.sidecar.wait_for("destination answers again");
    let lost = scene.sidecar.events();
    let lost = lost.iter().filter(|event| event["message"] == "destination out of reach").count();
    assert_eq!(lost, 1, "said once");
    scene.stop();
}

fn destination_silent() {
    let destination = Destination::plain();
    let lines = format!(
        "{LISTEN}credential = 'bearer'\nresponse_timeout = '200ms'\ndestination = 'http://{}'",
        destination.addr
    );
    let scene = Scene::http(&lines, "");
    let answer = scene.get("/silent");
    assert_eq!((answer.status, answer.code()), (504, "destination_timeout".into()));
    counted(&scene, "destination_timeout", 1);
    scene.stop();
}

/// Half of an answer, and then nothing: the application sees that it is not whole. A stream of
/// events may be as silent as it likes.
fn destination_stalls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let lines = format!(
        "{LISTEN}credential = 'bearer'\nresponse_timeout = '300ms'\ndestination = 'http://{addr}'"
    );
    let scene = Scene::http(&lines, "");
    let ask = |kind: &str| {
        let mut stream = TcpStream::connect(scene.addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET / HTTP/1.1\r\nHost: {}\r\n\r\n", scene.addr()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let _ = server.read(&mut [0; 1024]).unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: 10"
        );
        write!(server, "{head}\r\n\r\nfirst").unwrap();
        (stream, server)
    };
    let (mut application, mut server) = ask("text/plain");
    let mut answer = String::new();
    let ended = application.read_to_string(&mut answer);
    assert!(answer.contains("content-length: 10") && answer.ends_with("\r\n\r\nfirst"), "{answer}");
    // With an end or a reset, but before its time.
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    counted(&scene, "answer_timeout", 1);
    server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(server.read(&mut [0; 1]).unwrap_or(0), 0, "it is let go as well");

    let (mut application, mut server) = ask("text/event-stream; charset=utf-8");
    application.set_read_timeout(Some(Duration::from_millis(900))).unwrap();
    let mut heard = Vec::new();
    let silent = application.read_to_end(&mut heard).unwrap_err();
    assert_eq!(silent.kind(), ErrorKind::WouldBlock, "{}", String::from_utf8_lossy(&heard));
    server.write_all(b" last").unwrap();
    application.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut rest = [0; 5];
    application.read_exact(&mut rest).unwrap();
    assert_eq!(&rest, b" last");

    // One that breaks off is counted as well.
    let (mut application, server) = ask("text/plain");
    drop(server);
    let _ = application.read_to_string(&mut String::new());
    counted(&scene, "broken", 1);
    counted(&scene, "answer_timeout", 1);
    scene.stop();
}

fn expired() {
    let destination = Destination::plain();
    let lines = format!(
        "{LISTEN}secret = 'short'\ncredential = 'bearer'\ndestination = 'http://{}'",
        destination.addr
    );
    let short = "[secrets.short]\npath = 'secret/data/api'\nrefresh = '1s'\nmax_stale = '0s'";
    let scene = Scene::http(&lines, short);
    assert_eq!(scene.get("/").status, 200);
    scene.vault.server.seal();
    let answer = eventually("the end of the value", || {
        let answer = scene.get("/");
        (answer.status != 200).then_some(answer)
    });
    assert_eq!((answer.status, answer.code()), (503, "credential_unavailable".into()));
    assert!(answer.header("retry-after").is_some());
    let asked = destination.asked().len();
    assert_eq!(scene.get("/").status, 503);
    assert_eq!(destination.asked().len(), asked);
}
