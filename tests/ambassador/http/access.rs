//! Who may ask, and for what.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use super::{LISTEN, bearer};
use crate::destination::Destination;
use crate::scene::Scene;
use crate::support::canary::canary;
use crate::support::client;
use crate::support::trials::{CURL, Case, ROOT};
use crate::tcp::counted;
use crate::{curl, text};

/// Who may not.
const STRANGER: u32 = 4_212;

pub(crate) const CASES: [Case; 6] = [
    ("http_nothing_is_smuggled", &[], smuggling),
    ("http_web_pages_and_proxies_are_refused", &[], guards),
    ("http_methods_and_paths_are_limited", &[], scope),
    ("http_who_asks_nothing_holds_no_place", &[], no_place),
    ("http_another_uid_is_refused", &[ROOT, CURL], another_uid),
    ("http_caller_with_a_token", &[], caller_token),
];

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
