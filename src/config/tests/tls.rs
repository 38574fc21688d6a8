//! `[adapters.tls.NAME]`.

use super::super::{
    ClientAuth, ClientAuthority, ClientTrust, Forward, RevocationSource, TlsMode, TlsSpec,
    TlsVersion,
};
use super::{REST, config, load_file, problems};

const CERTIFICATE: &str =
    "[certificates.web]\nmount = 'pki/eu'\nrole = 'web'\ncommon_name = 'a.example.io'\n";
const WEB: &str = "[adapters.tls.web]\nlisten = '0.0.0.0:8443'\nforward = '127.0.0.1:8080'\n\
                   certificate = 'web'\n";

fn with(lines: &str) -> String {
    format!("{WEB}{lines}\n{CERTIFICATE}{REST}")
}

fn spec(lines: &str) -> TlsSpec {
    config(&with(lines)).tls.remove(0)
}

#[test]
fn defaults() {
    let web = spec("");
    assert_eq!(web.listen, ["0.0.0.0:8443".parse().unwrap()]);
    assert_eq!(web.forward.to_string(), "127.0.0.1:8080");
    assert_eq!(web.min_version, TlsVersion::Tls12);
    assert_eq!(web.clients, ClientAuth::None);
    assert!(matches!(&web.mode, TlsMode::Http(http) if http.max_request_body.is_none()));
    assert!(web.accept_proxy_from.is_empty());
    let tcp = spec("mode = 'tcp'");
    assert_eq!(tcp.mode, TlsMode::Tcp { proxy_protocol: false, alpn: Vec::new() });
    assert_eq!(tcp.limits.idle_timeout.as_secs(), 3600);
    assert_eq!(spec("mode = 'tcp'\nproxy_protocol = 'v2'").mode.as_str(), "tcp");
    assert_eq!((web.limits.keepalive.as_secs(), web.limits.idle_timeout.as_secs()), (30, 60));
    let TlsMode::Tcp { alpn, .. } = spec("mode = 'tcp'\nalpn = ['h2', 'http/1.1']").mode else {
        panic!("not tcp")
    };
    assert_eq!(alpn, ["h2".into(), "http/1.1".into()]);
}

#[test]
fn places_to_forward_to() {
    let forward = |to: &str| {
        spec("").forward == config(&with("").replace("127.0.0.1:8080", to)).tls[0].forward
    };
    assert!(!forward("@app") && !forward("unix:/run/app.sock") && !forward("[::1]:8080"));
    let text = with("").replace("127.0.0.1:8080", "unix:/run/app.sock");
    assert_eq!(config(&text).tls[0].forward, Forward::Socket("/run/app.sock".into()));
}

#[test]
fn networks_of_load_balancers() {
    let web = spec("accept_proxy_from = ['10.0.0.0/8', 'fd00::/8', '192.0.2.1']");
    let shown: Vec<_> = web.accept_proxy_from.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"]);
}

#[test]
fn clients_that_show_certificates() {
    let ClientAuth::Required(ClientTrust { authority, revocation }) =
        spec("client_auth = 'required'\nclient_ca = 'vault'").clients
    else {
        panic!("not required")
    };
    assert_eq!(authority, ClientAuthority::Issuer);
    let source = revocation.unwrap().source;
    assert!(matches!(source, RevocationSource::Vault(mount) if mount.as_str() == "pki/eu"));

    let lines = "client_auth = 'optional'\nclient_ca = '/ca.pem'\nclient_crl = 'none'";
    let loaded = load_file(&with(lines)).unwrap();
    assert!(loaded.warnings.join("\n").contains("revoked certificates of clients are let in"));
    let ClientAuth::Optional(trust) = &loaded.config.tls[0].clients else { panic!("not optional") };
    assert_eq!(trust.revocation, None);
    assert_eq!(trust.authority, ClientAuthority::File("/ca.pem".into()));
}

#[test]
fn each_mistake_is_named() {
    let at =
        |line: u32, key: &str, message: &str| format!("{line}: adapters.tls.web.{key}: {message}");
    for (from, to, expected) in [
        ("0.0.0.0:8443", "localhost:8443", at(2, "listen", "expected an address")),
        ("'0.0.0.0:8443'", "[]", at(2, "listen", "nothing to listen on")),
        ("0.0.0.0:8443", "0.0.0.0:7433", at(2, "listen", "0.0.0.0:7433 is listened on already")),
        (
            "0.0.0.0:8443",
            "127.0.0.1:7434",
            at(2, "listen", "127.0.0.1:7434 is listened on already"),
        ),
        (
            "'0.0.0.0:8443'",
            "['127.0.0.1:8443', '0.0.0.0:8443']",
            at(2, "listen[1]", "0.0.0.0:8443 is listened on already"),
        ),
        ("127.0.0.1:8080", "10.0.0.1:8080", at(3, "forward", "10.0.0.1:8080 is not on loopback")),
        ("127.0.0.1:8080", "localhost:8080", "hint: write 127.0.0.1:8080".into()),
        ("127.0.0.1:8080", "127.0.0.1:0", at(3, "forward", "127.0.0.1:0 is no port to connect to")),
        ("127.0.0.1:8080", "unix:app.sock", at(3, "forward", "expected the whole path")),
        (
            "127.0.0.1:8080",
            "127.0.0.1:7433",
            at(3, "forward", "127.0.0.1:7433 is a listener of the sidecar"),
        ),
        (
            "127.0.0.1:8080",
            "127.0.0.1:8443",
            at(3, "forward", "127.0.0.1:8443 is a listener of the sidecar"),
        ),
        (
            "'web'\n",
            "'wbe'\n",
            at(4, "certificate", "no certificate \"wbe\" is declared\n  hint: did you mean `web`?"),
        ),
        ("'web'\n", "'db'\n", at(4, "certificate", "no certificate \"db\" is declared")),
        ("mode", "mode = 'tpc'", at(5, "mode", "expected one of http, tcp, found \"tpc\"")),
        ("mode", "min_version = '1.1'", at(5, "min_version", "expected one of 1.2, 1.3")),
        (
            "mode",
            "proxy_protocol = 'v2'",
            at(5, "proxy_protocol", "there is no such thing in mode http"),
        ),
        ("mode", "alpn = ['h2']", at(5, "alpn", "there is no such thing in mode http")),
        (
            "mode",
            "mode = 'tcp'\nalpn = ['h2', 'a b']",
            at(6, "alpn[1]", "expected the name of a protocol, found \"a b\""),
        ),
        ("mode", "mode = 'tcp'\nalpn = ['h2', 'h2']", at(6, "alpn[1]", "\"h2\" is named twice")),
        ("mode", "keepalive = '10ms'", at(5, "keepalive", "")),
        (
            "mode",
            "mode = 'tcp'\nmax_request_body = 1",
            at(6, "max_request_body", "there is no such thing in mode tcp"),
        ),
        (
            "mode",
            "accept_proxy_from = ['10.0.0.0/33']",
            at(5, "accept_proxy_from[0]", "expected a network, found \"10.0.0.0/33\""),
        ),
        ("mode", "client_auth = 'required'", at(1, "client_ca", "is missing")),
        (
            "mode",
            "client_auth = 'required'\nclient_ca = '/ca.pem'",
            at(1, "client_crl", "is missing"),
        ),
        (
            "mode",
            "client_ca = 'vault'",
            at(5, "client_ca", "clients are not asked for a certificate"),
        ),
        ("mode", "client_auth = 'requierd'", at(5, "client_auth", "expected one of none,")),
        ("mode", "header_timeout = 5", at(5, "header_timeout", "expected a duration")),
        ("mode", "forwards = 1", at(5, "forwards", "unknown key\n  hint: did you mean `forward`?")),
    ] {
        let text = format!("{WEB}mode\n{CERTIFICATE}{REST}");
        let text = text.replacen(from, to, 1).replacen("\nmode\n", "\n\n", 1);
        let found = problems(&text);
        assert!(found.contains(&expected), "{to}: {expected}\n{found}");
    }
}

#[test]
fn all_that_is_missing_is_said_at_once() {
    let found = problems(&format!("[adapters.tls.web]\n{REST}"));
    for key in ["listen", "forward", "certificate"] {
        assert!(found.contains(&format!("adapters.tls.web.{key}: ")), "{key} in {found}");
    }
}

#[test]
fn two_adapters_need_two_ports_and_none_forwards_to_another() {
    let second = WEB.replace(".web]", ".other]").replace("8443", "8444").replace("8080", "8443");
    let found = problems(&format!("{second}{WEB}{CERTIFICATE}{REST}"));
    let expected = "3: adapters.tls.other.forward: 127.0.0.1:8443 is a listener of the sidecar";
    assert!(found.contains(expected), "{found}");
    let same = WEB.replace(".web]", ".other]");
    let found = problems(&format!("{WEB}{same}{CERTIFICATE}{REST}"));
    assert!(found.contains("is listened on already"), "{found}");
}
