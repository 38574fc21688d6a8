//! The HTTP ambassador.

pub(crate) mod access;
pub(crate) mod faults;

use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use serde_json::json;

use crate::destination::Destination;
use crate::scene::Scene;
use crate::support::canary::{assert_clean, canary};
use crate::support::client;
use crate::support::eventually;
use crate::support::tls::Authority;
use crate::support::trials::{CURL, Case};
use crate::support::vault::TestVault as _;
use crate::tcp::counted;
use crate::{curl, text};

pub(crate) const CASES: [Case; 8] = [
    ("http_adds_the_header_and_says_nothing", &[], adds_the_header),
    ("http_basic_and_custom_headers", &[], basic_and_custom),
    ("http_over_tls_to_the_right_name_alone", &[], over_tls),
    ("http_redirects_are_not_followed", &[], redirects),
    ("http_echoes_stay_behind", &[], echoes),
    ("http_bodies_stream_both_ways", &[CURL], bodies),
    ("http_over_the_unix_socket", &[CURL], unix_socket),
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
    // An answer before the end of the question, which waits for it.
    let length = large.len().to_string();
    let early = client::request(scene.addr(), "POST", "/early", &[("Content-Length", &length)]);
    assert_eq!((early.status, early.text()), (413, "enough".into()));
    // An upgrade to HTTP/2 on the side is passed over.
    assert_eq!(text(curl(&["--http2", &format!("{url}/")])), "hello");
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
