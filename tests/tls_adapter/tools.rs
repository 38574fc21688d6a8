//! What curl and openssl see.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::application::Application;
use crate::scene::{NAME, Scene, Setting};
use crate::support::trials::{CURL_WITH_HTTP2, Case, GO, OPENSSL};

pub(crate) const CASES: [Case; 5] = [
    ("curl_speaks_both_versions_of_http", &[CURL_WITH_HTTP2], both_versions),
    ("openssl_speaks_tls_1_2_and_1_3_and_no_older", &[OPENSSL], versions),
    ("openssl_resumes_no_session", &[OPENSSL], no_resumption),
    ("go_agrees_on_the_post_quantum_key_exchange", &[GO], post_quantum),
    ("check_counts_adapters", &[], check),
];

/// The body that curl got, and the version of HTTP with the status.
pub(crate) fn curl(scene: &Scene, arguments: &[&str], path: &str) -> (String, String) {
    let (file, port) = (scene.authority_file(), scene.addr().port());
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
        .arg(file)
        .args(["--resolve", &format!("{NAME}:{port}:127.0.0.1")])
        .args(["--write-out", "\n%{http_version} %{response_code}"])
        .args(arguments)
        .arg(format!("https://{NAME}:{port}{path}"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, outcome) = text.rsplit_once('\n').unwrap();
    (body.to_owned(), outcome.to_owned())
}

fn both_versions() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    let port = scene.addr().port();
    for (flag, outcome, via) in
        [("--http1.1", "1.1 200", "1.1 sidekey"), ("--http2", "2 200", "2.0 sidekey")]
    {
        let spoofed = ["X-Forwarded-For: 6.6.6.6", "X_Forwarded_Proto: gopher", "Forwarded: for=x"];
        let mut arguments = vec![flag, "--data-binary", "body of curl"];
        arguments.extend(spoofed.iter().flat_map(|header| ["--header", header]));
        assert_eq!(curl(&scene, &arguments, "/a?b=c"), ("hello".into(), outcome.into()));
        let asked = application.last();
        assert_eq!((asked.target.as_str(), &asked.body[..]), ("/a?b=c", &b"body of curl"[..]));
        let authority = format!("{NAME}:{port}");
        assert_eq!(asked.header("host"), [authority.as_str()]);
        assert_eq!(asked.header("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(asked.header("x-forwarded-proto"), ["https"]);
        assert_eq!(asked.header("x_forwarded_proto"), Vec::<&str>::new());
        assert_eq!(asked.header("x-forwarded-port"), [port.to_string()]);
        assert_eq!(asked.header("x-forwarded-host"), [authority.as_str()]);
        let forwarded = format!("for=127.0.0.1;host=\"{authority}\";proto=https");
        assert_eq!(asked.header("forwarded"), [forwarded]);
        assert_eq!(asked.header("via"), [via]);
        assert_eq!(asked.header("content-length"), ["12"]);
    }
    scene.counted("sidekey_tls_requests_total{adapter=\"web\",status=\"2xx\"}", 2);
    scene.counted("sidekey_tls_handshakes_total{adapter=\"web\",outcome=\"ok\"}", 2);
    scene.stop();
}

/// What `openssl s_client` says, and whether it was let in.
fn s_client(scene: &Scene, arguments: &[&str], input: &str) -> (String, bool) {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &scene.addr().to_string(), "-servername", NAME])
        .args(["-verify_return_error", "-CAfile"])
        .arg(scene.authority_file())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Refused, it may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&said).into_owned(), output.status.success())
}

fn versions() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    let http2 = ["-alpn", "h2,http/1.1"];
    for (arguments, expected) in [
        (["-tls1_2", "-brief"], "Protocol version: TLSv1.2"),
        (["-tls1_3", "-brief"], "Protocol version: TLSv1.3"),
    ] {
        let (said, ok) = s_client(&scene, &arguments, "");
        assert!(ok && said.contains(expected) && said.contains("Verification: OK"), "{said}");
    }
    for arguments in
        [["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], ["-tls1", "-cipher", "ALL:@SECLEVEL=0"]]
    {
        let (said, ok) = s_client(&scene, &arguments, "");
        assert!(!ok && said.contains("alert handshake failure"), "{said}");
    }
    scene.counted("sidekey_tls_handshakes_total{adapter=\"web\",outcome=\"incompatible\"}", 2);
    let (said, _) = s_client(&scene, &http2, "");
    assert!(said.contains("ALPN protocol: h2"), "{said}");
    let (said, ok) = s_client(&scene, &["-alpn", "gopher"], "");
    assert!(!ok && said.contains("no application protocol"), "{said}");
    // Without ALPN it is HTTP/1.1.
    let get = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    let (said, _) = s_client(&scene, &["-ign_eof"], &get);
    assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
    scene.stop();

    let scene = Scene::http(application.addr, "min_version = '1.3'");
    let (said, ok) = s_client(&scene, &["-tls1_2"], "");
    assert!(!ok && said.contains("alert protocol version"), "{said}");
    assert!(s_client(&scene, &["-tls1_3", "-brief"], "").1);
    scene.stop();
}

fn no_resumption() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    let session = scene.sidecar.path("session.pem");
    let session = session.to_str().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let get = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
        let arguments = [version, "-ign_eof", "-sess_out", session];
        let (said, _) = s_client(&scene, &arguments, &get);
        assert!(said.contains("200 OK") && !said.contains("New Session Ticket arrived"), "{said}");
        if std::path::Path::new(session).exists() {
            let (said, _) = s_client(&scene, &[version, "-ign_eof", "-sess_in", session], &get);
            assert!(said.contains("New, TLSv1") && !said.contains("Reused"), "{said}");
            std::fs::remove_file(session).unwrap();
        }
    }
    scene.stop();
}

/// A client that takes no other.
fn post_quantum() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    let mut command = crate::support::go::hybrid().unwrap();
    command.args(["ask", &scene.addr().to_string(), NAME]).arg(scene.authority_file());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said} {complaint}");
    scene.stop();
}

fn check() {
    let application = Application::start();
    let scene =
        Setting { forward: &application.addr.to_string(), lines: "", certificate: "", more: "" }
            .start();
    let mut command = crate::support::sidecar::binary();
    command.args(["check", "--config"]).arg(scene.sidecar.path("sidekey.toml"));
    command.env("VAULT_TOKEN", "t");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = "configuration: ok: 0 secrets, 1 certificate, 1 caller, 1 TLS adapter";
    assert!(said.lines().any(|line| line == expected), "{said}");
    scene.stop();
}
