//! The HTTP ambassador.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use serde_json::json;

use crate::destination::Destination;
use crate::scene::Scene;
use crate::support::canary::{assert_clean, canary};
use crate::support::client;
use crate::support::eventually;
use crate::support::tls::Authority;
use crate::support::trials::{CURL, Case, ROOT};
use crate::support::vault::TestVault as _;
use crate::tcp::counted;
use crate::{curl, text};

/// Who may not.
const STRANGER: u32 = 4_212;

pub(crate) const CASES: [Case; 18] = [
    ("http_adds_the_header_and_says_nothing", &[], adds_the_header),
    ("http_basic_and_custom_headers", &[], basic_and_custom),
    ("http_over_tls_to_the_right_name_alone", &[], over_tls),
    ("http_redirects_are_not_followed", &[], redirects),
    ("http_echoes_stay_behind", &[], echoes),
    ("http_nothing_is_smuggled", &[], smuggling),
    ("http_web_pages_and_proxies_are_refused", &[], guards),
    ("http_methods_and_paths_are_limited", &[], scope),
    ("http_bodies_stream_both_ways", &[CURL], bodies),
    ("http_who_asks_nothing_holds_no_place", &[], no_place),
    ("http_over_the_unix_socket", &[CURL], unix_socket),
    ("http_another_uid_is_refused", &[ROOT, CURL], another_uid),
    ("http_caller_with_a_token", &[], caller_token),
    ("http_destination_down_and_back", &[], destination_down),
    ("http_destination_that_does_not_answer", &[], destination_silent),
    ("http_destination_that_stops_in_its_answer", &[], destination_stalls),
    ("http_expired_credential_is_not_used", &[], expired),
    ("http_rotation_under_load", &[], rotation),
];

const LISTEN: &str = "listen = '127.0.0.1:0'\nallow = ['app']\n";

fn bearer(destination: &Destination) -> Scene {
    let addr = destination.addr;
    Scene::http(&format!("{LISTEN}credential = 'bearer'\ndestination = 'http://{addr}'"), "")
}

fn adds_the_header() {
    let destination = Destination::plain();
    let scene = bearer(&destination);
    let headers = [("Authorization", "Bearer of-the-application"), ("X-Own", "1")];
    let answer = client::request(scene.addr(), "GET", "/a//b?c=%2f", &headers);
    assert_eq!((answer.status, answer.text()), (200, "hello".into()));
    let asked = destination.last();
    assert_eq!(asked.target, "/a//b?c=%2f");
    assert_eq!(asked.header("authorization"), [format!("Bearer {}", scene.token)]);
    assert_eq!(asked.header("host"), [destination.addr.to_string()]);
    assert_eq!(asked.header("x-own"), ["1"]);
    assert_eq!(asked.header("via"), ["1.1 sidekey"]);

    let metrics = scene.metrics();
    let line = "sidekey_ambassador_uses_total{ambassador=\"api\",outcome=\"ok\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    let said = scene.stop();
    let audit = said.lines().find(|line| line.contains("\"action\":\"forward\"")).expect(&said);
    for part in ["\"adapter\":\"api\"", "\"caller\":\"app\"", "\"outcome\":\"ok\""] {
        assert!(audit.contains(part), "{audit}");
    }
}

fn basic_and_custom() {
    let destination = Destination::plain();
    let addr = destination.addr;
    let lines = format!(
        "{LISTEN}credential = 'basic'\npassword_field = 'token'\ndestination = 'http://{addr}'"
    );
    let scene = Scene::http(&lines, "");
    scene.get("/");
    let encoded = destination.last().header("authorization")[0].to_owned();
    let expected = format!("canary-user:{}", scene.token);
    let expected = base64::engine::general_purpose::STANDARD.encode(expected);
    assert_eq!(encoded, format!("Basic {expected}"));
    scene.stop();

    let lines = format!(
        "{LISTEN}credential = 'header'\nheader = 'X-Api-Key'\nprefix = 'Key '\nfield = 'token'\n\
         destination = 'http://{addr}'"
    );
    let scene = Scene::http(&lines, "");
    let headers = [("X_Api_Key", "smuggled"), ("Authorization", "Bearer own")];
    client::request(scene.addr(), "GET", "/", &headers);
    let asked = destination.last();
    assert_eq!(asked.header("x-api-key"), [format!("Key {}", scene.token)]);
    assert_eq!(asked.header("x_api_key"), Vec::<&str>::new());
    assert_eq!(asked.header("authorization"), ["Bearer own"], "its own, under another name");
    scene.stop();
}

fn over_tls() {
    let authority = Authority::new("ambassador test");
    let destination = Destination::tls(&authority.server());
    let port = destination.addr.port();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let ca = format!("ca_cert = '{}'", file.display());
    let lines =
        format!("{LISTEN}credential = 'bearer'\ndestination = 'https://localhost:{port}'\n");
    let scene = Scene::http(&format!("{lines}{ca}"), "");
    assert_eq!(scene.get("/").text(), "hello");
    assert_eq!(destination.last().header("host"), [format!("localhost:{port}")]);
    scene.stop();

    let asked = destination.asked().len();
    let wrong = format!("{lines}{ca}\nserver_name = 'other.invalid'");
    let stranger = Authority::new("another");
    let other = folder.path().join("other.pem");
    std::fs::write(&other, stranger.pem()).unwrap();
    let untrusted = format!("{lines}ca_cert = '{}'", other.display());
    for lines in [wrong, untrusted] {
        let scene = Scene::http(&lines, "");
        let answer = scene.get("/");
        assert_eq!((answer.status, answer.code()), (502, "destination_untrusted".into()));
        counted(&scene, "destination_untrusted", 1);
        scene.sidecar.wait_for("destination out of reach");
        scene.stop();
    }
    assert_eq!(destination.asked().len(), asked, "the credential went nowhere");
}

fn redirects() {
    let (destination, elsewhere) = (Destination::plain(), Destination::plain());
    let url = format!("http://{}/other", elsewhere.addr);
    destination.redirects_to(&url);
    let scene = bearer(&destination);
    let answer = scene.get("/redirect");
    assert_eq!((answer.status, answer.header("location")), (302, Some(url.as_str())));
    assert!(elsewhere.asked().is_empty());
    scene.stop();
}

fn echoes() {
    let destination = Destination::plain();
    let scene = bearer(&destination);
    let answer = scene.get("/echo");
    assert_eq!((answer.status, answer.text()), (200, "echoed".into()));
    assert_eq!((answer.header("x-echo"), answer.header("x-hop")), (None, None));
    assert_eq!(answer.header("x-other"), Some("kept"));
    assert_clean("headers", &format!("{:?}", answer.headers));
    let line = "sidekey_ambassador_echoes_total{ambassador=\"api\"} 1";
    assert!(scene.metrics().contains(line));
    // A method that is an echo by itself.
    let answer = client::request(scene.addr(), "TRACE", "/", &[]);
    assert_eq!((answer.status, answer.code()), (405, "method_refused".into()));
    scene.stop();
}

fn smuggling() {
    let destination = Destination::plain();
    let scene = bearer(&destination);
    let addr = scene.addr();
    let refused = |head: &str| {
        let answers = client::raw(addr, head.replace("HOST", &addr.to_string()).as_bytes());
        let answer = answers.into_iter().next().map(|answer| answer.status);
        answer.unwrap_or_default()
    };
    let hidden = "GET /hidden HTTP/1.1\r\nHost: HOST\r\n\r\n";
    for (head, status) in [
        ("GET http://other.invalid/ HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n", 421),
        ("CONNECT other.invalid:443 HTTP/1.1\r\nHost: HOST\r\n\r\n", 421),
        ("OPTIONS * HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: other.invalid\r\nConnection: close\r\n\r\n", 421),
        ("GET / HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\nConnection: close\r\n\r\n", 421),
        ("GET / HTTP/1.1\r\nHost: HOST\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: HOST\r\nX-A: a\r\n b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : HOST\r\n\r\n", 400),
    ] {
        assert_eq!(refused(head), status, "{head}");
    }
    assert!(destination.asked().is_empty());

    // Whichever length counts, what follows is never a request of the pooled connection.
    let both = format!(
        "POST /both HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
    );
    let answers = client::raw(addr, both.replace("HOST", &addr.to_string()).as_bytes());
    let answers: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(answers, [200], "the chunked one counts, and nothing is read after it");
    assert_eq!(destination.last().target, "/both");
    // The application's own headers cannot be turned against ours.
    let own = "GET /own HTTP/1.1\r\nHost: HOST\r\nTransfer_Encoding: chunked\r\nContent_Length: 9\r\nSidekey_Token: t\r\nConnection: close, authorization, host\r\n\r\n";
    assert_eq!(refused(own), 200);
    let asked = destination.last();
    assert_eq!(asked.header("authorization"), [format!("Bearer {}", scene.token)]);
    assert_eq!(asked.header("host"), [destination.addr.to_string()]);
    for twin in ["transfer_encoding", "content_length", "sidekey_token"] {
        assert!(asked.header(twin).is_empty(), "{twin}");
    }
    for asked in destination.asked() {
        assert_eq!(asked.header("authorization").len(), 1, "{}", asked.target);
    }
    scene.stop();
}

fn scope() {
    let destination = Destination::plain();
    let lines = format!(
        "{LISTEN}credential = 'bearer'\ndestination = 'http://{}'\n\
         methods = ['GET', 'HEAD']\npaths = ['/v1/items/*', '/health']",
        destination.addr
    );
    let scene = Scene::http(&lines, "");
    let ask = |method: &str, path: &str, headers: &[(&str, &str)]| {
        let answer = client::request(scene.addr(), method, path, headers);
        let code = if answer.status == 200 { String::new() } else { answer.code() };
        (answer.status, code)
    };
    let fine = (200, String::new());
    assert_eq!(ask("GET", "/v1/items/7?q=/../x", &[]), fine);
    assert_eq!(destination.last().target, "/v1/items/7?q=/../x");
    assert_eq!(ask("GET", "/health", &[]), fine);
    let before = destination.asked().len();
    let denied = |code: &str| (403, code.to_owned());
    assert_eq!(ask("DELETE", "/v1/items/7", &[]), denied("out_of_scope"));
    assert_eq!(ask("GET", "/v1/users/7", &[]), denied("out_of_scope"));
    assert_eq!(ask("GET", "/v1/items", &[]), denied("out_of_scope"));
    let unclear = (400, "request_ambiguous".to_owned());
    for path in ["/v1/items/../users", "/v1/items/%2e%2e/users", "/v1/items/..%2fusers", "//health"]
    {
        assert_eq!(ask("GET", path, &[]), unclear, "{path}");
    }
    assert_eq!(ask("GET", "/health", &[("X-HTTP-Method-Override", "DELETE")]), unclear);
    assert_eq!(destination.asked().len(), before);
    scene.stop();
}

fn guards() {
    let destination = Destination::plain();
    let scene = bearer(&destination);
    for (header, value, status, code) in [
        ("Origin", "http://evil.invalid", 403, "cross_site_refused"),
        ("Sec-Fetch-Site", "cross-site", 403, "cross_site_refused"),
        ("X-Forwarded-For", "10.0.0.1", 400, "forwarded_refused"),
        ("X_Forwarded_For", "10.0.0.1", 400, "forwarded_refused"),
        ("X_Real_IP", "10.0.0.1", 400, "forwarded_refused"),
        ("Via", "1.1 proxy", 400, "forwarded_refused"),
    ] {
        let answer = client::request(scene.addr(), "GET", "/", &[(header, value)]);
        assert_eq!((answer.status, answer.code()), (status, code.into()), "{header}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    assert!(destination.asked().is_empty());
    scene.stop();
}

fn bodies() {
    let destination = Destination::plain();
    let scene = bearer(&destination);
    let url = format!("http://{}", scene.addr());
    let large = "x".repeat(3 << 20);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large");
    std::fs::write(&file, &large).unwrap();
    let data = format!("@{}", file.display());
    for framing in ["Content-Type: text/plain", "Transfer-Encoding: chunked"] {
        let posted = curl(&["--data-binary", &data, "-H", framing, &format!("{url}/post")]);
        assert_eq!(text(posted), "hello");
        let asked = destination.last();
        assert_eq!((asked.method.as_str(), asked.body.len()), ("POST", large.len()));
    }
    assert_eq!(text(curl(&[&format!("{url}/stream")])), "piece 0\npiece 1\npiece 2\n");
    let head = text(curl(&["--head", &format!("{url}/")]));
    assert!(head.to_ascii_lowercase().contains("content-length: 5"), "{head}");
    let status = ["-o", "/dev/null", "-w", "%{http_code}", "--data-binary"];
    let early = curl(&[&status[..], &[data.as_str(), &format!("{url}/early")]].concat());
    assert_eq!(text(early), "413", "an answer before the end of the question");
    // An upgrade to HTTP/2 on the side is passed over.
    assert_eq!(text(curl(&["--http2", &format!("{url}/")])), "hello");
    scene.stop();
}

/// Neither who is silent, nor who was refused.
fn no_place() {
    let destination = Destination::plain();
    let lines = format!(
        "listen = '127.0.0.1:0'\nallow = ['tester']\ncredential = 'bearer'\ndestination = 'http://{}'",
        destination.addr
    );
    let scene = Scene::http(&lines, "[limits]\nheader_timeout = '1s'");
    let addr = scene.addr();
    let request = format!("GET / HTTP/1.1\r\nHost: {addr}\r\n");
    for (asked, status) in
        [(String::new(), None), (request.clone(), None), (request + "\r\n", Some(401))]
    {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(asked.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it is closed");
        let told = answer.split(' ').nth(1).map(|status| status.parse().unwrap());
        assert_eq!(told, status, "{answer}");
    }
    counted(&scene, "idle_timeout", 2);
    scene.stop();
}

fn unix_socket() {
    let destination = Destination::plain();
    let name = format!("ambassador-test-{}", std::process::id());
    let lines = format!(
        "listen = '@{name}'\nallow = ['app']\ncredential = 'bearer'\ndestination = 'http://{}'",
        destination.addr
    );
    let scene = Scene::http(&lines, "");
    let asked = curl(&["--abstract-unix-socket", &name, "http://localhost/x"]);
    assert_eq!(text(asked), "hello");
    assert_eq!(destination.last().header("authorization"), [format!("Bearer {}", scene.token)]);
    scene.stop();
}

fn another_uid() {
    let destination = Destination::plain();
    let scene = bearer(&destination);
    let url = format!("http://{}/", scene.addr());
    let mut stranger = curl(&["-w", "%{http_code}", &url]);
    stranger.uid(STRANGER).gid(STRANGER);
    let answer = text(stranger);
    assert!(answer.contains("caller_unknown") && answer.ends_with("401"), "{answer}");
    assert!(destination.asked().is_empty());
    let said = scene.stop();
    let audit = said.lines().find(|line| line.contains("caller_unknown")).expect(&said);
    assert!(audit.contains(&format!("\"uid\":{STRANGER}")), "{audit}");
}

fn caller_token() {
    let destination = Destination::plain();
    let addr = destination.addr;
    let lines = format!(
        "listen = '127.0.0.1:0'\nallow = ['tester']\ncredential = 'bearer'\ndestination = 'http://{addr}'"
    );
    let scene = Scene::http(&lines, "");
    let ask = |headers: &[(&str, &str)]| client::request(scene.addr(), "GET", "/", headers).status;
    let bearer = format!("Bearer {}", scene.caller_token);
    let wrong = canary("wrong");
    assert_eq!(ask(&[]), 401, "the rule that the uid matches is not allowed here");
    assert_eq!(ask(&[("Sidekey-Token", &wrong)]), 401);
    assert_eq!(ask(&[("Authorization", &bearer)]), 401, "that is the destination's header");
    let right = ("Sidekey-Token", scene.caller_token.as_str());
    assert_eq!(ask(&[right, right]), 401);
    assert!(destination.asked().is_empty());
    assert_eq!(ask(&[right]), 200);
    assert!(destination.last().header("sidekey-token").is_empty(), "it goes no further");
    scene.stop();
}

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
    }
    counted(&scene, "destination_unreachable", 2);
    // There again, at the same place, and going away in the middle of a head.
    let listener = TcpListener::bind(addr).unwrap();
    let server = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
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

fn rotation() {
    let destination = Destination::plain();
    let scene = bearer(&destination);
    let done = AtomicBool::new(false);
    let addr = scene.addr();
    let mut tokens = vec![scene.token.clone()];
    std::thread::scope(|scope| {
        let load = || {
            let mut answered = 0;
            while !done.load(Ordering::Relaxed) {
                let answer = client::request(addr, "GET", "/", &[]);
                assert_eq!(answer.status, 200, "{}", answer.text());
                answered += 1;
            }
            answered
        };
        let loads: Vec<_> = (0..3).map(|_| scope.spawn(load)).collect();
        for _ in 0..4 {
            let next = canary("rotated");
            scene.vault.put("api", json!({ "token": next }));
            scene.refresh();
            // From here on nothing else may be used: asked after the refresh was answered.
            let before = destination.asked().len();
            eventually("requests", || (destination.asked().len() > before + 20).then_some(()));
            let expected = format!("Bearer {next}");
            let asked = destination.asked();
            let late = &asked[before + 10..];
            assert!(late.iter().all(|asked| asked.header("authorization") == [expected.as_str()]));
            tokens.push(next);
        }
        done.store(true, Ordering::Relaxed);
        let answered: usize = loads.into_iter().map(|load| load.join().unwrap()).sum();
        assert_eq!(answered, destination.asked().len(), "each was forwarded once");
    });
    for token in &tokens {
        let expected = format!("Bearer {token}");
        let asked = destination.asked();
        assert!(asked.iter().any(|asked| asked.header("authorization") == [expected.as_str()]));
    }
    scene.stop();
}
