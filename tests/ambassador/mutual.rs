//! Client certificates of Vault's PKI, shown to destinations that ask for them.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::json;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::destination::Destination;
use crate::peer::{Manner, Peer};
use crate::scene::{Scene, certificate, engine};
use crate::support::canary::canary;
use crate::support::eventually;
use crate::support::postgres::{Postgres, said};
use crate::support::programs::python_with;
use crate::support::tls::Authority;
use crate::support::trials::{Case, POSTGRES, PSYCOPG2};
use crate::support::vault::Dev;
use crate::tcp::{assert_reset, connect, counted};

pub(crate) const CASES: [Case; 7] = [
    ("mutual_http_with_and_without_a_secret", &[], http),
    ("mutual_http_follows_the_certificate", &[], http_rotation),
    ("mutual_no_certificate_no_connection", &[], none),
    ("mutual_a_certificate_that_is_not_taken", &[], refused),
    ("mutual_tcp_ends_before_the_certificate", &[], tcp_rotation),
    ("mutual_postgres_logs_in_by_certificate", &[POSTGRES, PSYCOPG2], postgres),
    ("mutual_postgres_sessions_end_before_the_certificate", &[POSTGRES], postgres_rotation),
];

pub(crate) const NAME: &str = "app.example.io";

/// A Vault with a PKI engine, its root, and a server that trusts nobody else.
pub(crate) struct Stage {
    pub(crate) vault: Dev,
    root: String,
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let vault = Dev::start();
        let root = engine(&vault);
        let (authority, folder) = (Authority::new("mutual test"), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        Self { vault, root, authority, folder }
    }

    /// Of an ambassador to `scheme` on this port.
    pub(crate) fn lines(&self, scheme: &str, port: u16) -> String {
        let ca = self.folder.path().join("ca.pem");
        format!(
            "listen = '127.0.0.1:0'\nallow = ['app']\ndestination = '{scheme}localhost:{port}'\n\
             ca_cert = '{}'\nclient_certificate = 'web'\n",
            ca.display()
        )
    }

    pub(crate) fn settings(&self) -> rustls::ServerConfig {
        Authority::settings(&self.authority.server(), Some(self.root.as_bytes()))
    }
}

fn common_name(der: &[u8]) -> String {
    let (_, parsed) = X509Certificate::from_der(der).unwrap();
    let name = parsed.subject().iter_common_name().next().unwrap();
    name.as_str().unwrap().to_owned()
}

fn http() {
    let stage = Stage::new();
    let destination = Destination::mutual(&stage.authority.server(), &stage.root);
    let lines = stage.lines("https://", destination.addr.port());
    let scene = Scene::before(
        stage.vault,
        "http",
        (&lines, &certificate(NAME, "ttl = '1h'")),
        json!({ "token": canary("unused") }),
    );
    assert_eq!(scene.get("/").text(), "hello");
    let asked = destination.last();
    assert!(asked.header("authorization").is_empty(), "there is nothing to put in");
    assert_eq!(asked.header("host"), [format!("localhost:{}", destination.addr.port())]);
    assert_eq!(asked.header("via"), ["1.1 sidekey"]);
    assert_eq!(scene.get("/").status, 200);
    let shown = destination.certificates();
    assert_eq!(shown.len(), 1, "over one connection");
    assert_eq!(common_name(&shown[0]), NAME);
    scene.stop();

    // Both at once.
    let (vault, token) = (Dev::start(), canary("both"));
    let root = engine(&vault);
    let destination = Destination::mutual(&stage.authority.server(), &root);
    let lines = format!(
        "{}secret = 'api'\ncredential = 'bearer'",
        lines.replace(&lines_port(&lines), &destination.addr.port().to_string())
    );
    let more = certificate(NAME, "ttl = '1h'");
    let scene = Scene::before(vault, "http", (&lines, &more), json!({ "token": token }));
    assert_eq!(scene.get("/").status, 200);
    assert_eq!(destination.last().header("authorization"), [format!("Bearer {token}")]);
    assert_eq!(destination.certificates().len(), 1);
    scene.stop();
}

fn lines_port(lines: &str) -> String {
    let rest = lines.split("localhost:").nth(1).unwrap();
    rest.split('\'').next().unwrap().to_owned()
}

/// Each connection is made with the certificate of then, and kept ones are closed with theirs.
fn http_rotation() {
    let stage = Stage::new();
    let destination = Destination::mutual(&stage.authority.server(), &stage.root);
    let lines = stage.lines("https://", destination.addr.port()) + "idle_timeout = '1h'";
    let more = certificate(NAME, "ttl = '6s'\nrenew_at_percent = 50");
    let scene = Scene::before(stage.vault, "http", (&lines, &more), json!({}));
    assert_eq!(scene.get("/").status, 200);
    // Nobody asks for anything while it is replaced.
    eventually("the end of the kept connection", || (destination.closed() == 1).then_some(()));
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(8) {
        let answer = scene.get("/");
        assert_eq!(answer.status, 200, "{}", answer.text());
        std::thread::sleep(Duration::from_millis(50));
    }
    let shown = destination.certificates();
    assert!((3..10).contains(&shown.len()), "{}", shown.len());
    let mut different = shown.clone();
    different.dedup();
    assert_eq!(different.len(), shown.len(), "one connection with each");
    scene.stop();
}

fn none() {
    let authority = Authority::new("mutual test");
    for protocol in ["http", "tcp"] {
        // No engine is there to issue one.
        let (vault, folder) = (Dev::start(), tempfile::tempdir().unwrap());
        let settings = Authority::settings(&authority.server(), None);
        let peer = Peer::start(Manner::Echo, Some(settings));
        let stage = Stage { vault, root: String::new(), authority: Authority::new("x"), folder };
        std::fs::write(stage.folder.path().join("ca.pem"), authority.pem()).unwrap();
        let scheme = if protocol == "http" { "https://" } else { "" };
        let lines = stage.lines(scheme, peer.addr.port());
        let more = certificate(NAME, "ttl = '1h'\nrequired = false");
        let scene = Scene::before(stage.vault, protocol, (&lines, &more), json!({}));
        if protocol == "http" {
            let answer = scene.get("/");
            let told = (answer.status, answer.code());
            assert_eq!(told, (503, "certificate_unavailable".into()));
        } else {
            assert!(assert_reset(&mut connect(&scene)).is_empty());
        }
        counted(&scene, "certificate_unavailable", 1);
        assert_eq!(peer.connections(), 0, "never without one");
        scene.stop();
    }
}

fn refused() {
    for protocol in ["http", "tcp"] {
        let stage = Stage::new();
        // The server trusts another authority.
        let tls = stage.authority.server();
        let other = Authority::settings(&tls, Some(Authority::new("another").pem().as_bytes()));
        let peer = Peer::start(Manner::Echo, Some(other));
        let scheme = if protocol == "http" { "https://" } else { "" };
        let lines = stage.lines(scheme, peer.addr.port());
        let more = certificate(NAME, "ttl = '1h'");
        let scene = Scene::before(stage.vault, protocol, (&lines, &more), json!({}));
        if protocol == "http" {
            let answer = scene.get("/");
            let told = (answer.status, answer.code());
            assert_eq!(told, (502, "certificate_refused".into()), "{}", answer.text());
        } else {
            assert!(assert_reset(&mut connect(&scene)).is_empty());
        }
        counted(&scene, "certificate_refused", 1);
        assert_eq!(peer.connections(), 0);
        scene.stop();
    }
}

fn tcp_rotation() {
    let stage = Stage::new();
    let peer = Peer::start(Manner::Echo, Some(stage.settings()));
    let lines = stage.lines("", peer.addr.port());
    let more = certificate(NAME, "ttl = '6s'\nrenew_at_percent = 50");
    let scene = Scene::before(stage.vault, "tcp", (&lines, &more), json!({}));
    let (mut quiet, mut busy) = (connect(&scene), connect(&scene));
    let start = Instant::now();
    for stream in [&mut quiet, &mut busy] {
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
    }
    // Without a pause in which it could be closed, it is cut.
    let chat = std::thread::spawn(move || {
        let mut answer = [0; 1];
        loop {
            std::thread::sleep(Duration::from_millis(20));
            if busy.write_all(b"x").and_then(|()| busy.read_exact(&mut answer)).is_err() {
                return start.elapsed();
            }
        }
    });
    assert_eq!(quiet.read(&mut [0; 1]).unwrap(), 0, "nothing was lost");
    assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());
    let cut = chat.join().unwrap();
    assert!(cut < Duration::from_secs(8), "{cut:?}");
    counted(&scene, "retired", 1);
    counted(&scene, "cut", 1);
    scene.stop();
}

/// `pg_hba.conf` has `cert`, which wants a user of the certificate's name.
fn postgres() {
    let stage = Stage::new();
    let postgres = Postgres::trusting(stage.root.as_bytes());
    let password = canary("both");
    postgres.role("certified", &canary("not-used"), false);
    postgres.role("by_both", &password, false);
    let lines = format!(
        "listen = '127.0.0.1:0'\nallow = ['app']\ndestination = 'localhost:{}'\n\
         ca_cert = '{}'\nclient_certificate = 'web'\n",
        postgres.port,
        postgres.ca_file.display(),
    );
    let more = certificate("certified", "ttl = '1h'");
    let scene = Scene::before(stage.vault, "postgres", (&lines, &more), json!({}));
    let port = scene.addr().port();
    let who = "select current_user, client_dn from pg_stat_ssl where pid = pg_backend_pid()";
    let answer = said(postgres.psql(port, "whoever", "certified", who));
    assert_eq!(answer, Ok("certified|/CN=certified".into()));
    // A server that wants a password all the same gets none.
    let answer = said(postgres.psql(port, "whoever", "scram", "select 1")).unwrap_err();
    assert!(answer.contains("destination cannot be trusted"), "{answer}");
    python(port);
    scene.stop();

    let vault = Dev::start();
    let root = engine(&vault);
    let postgres = Postgres::trusting(root.as_bytes());
    postgres.role("by_both", &password, false);
    let lines = format!(
        "listen = '127.0.0.1:0'\nallow = ['app']\ndestination = 'localhost:{}'\n\
         ca_cert = '{}'\nsecret = 'api'\nclient_certificate = 'web'\n",
        postgres.port,
        postgres.ca_file.display(),
    );
    let fields = json!({ "username": "by_both", "password": password });
    let scene = Scene::before(vault, "postgres", (&lines, &more), fields);
    let answer = said(postgres.psql(scene.addr().port(), "me", "twice", "select current_user"));
    assert_eq!(answer, Ok("by_both".into()));
    let answer = said(postgres.psql(scene.addr().port(), "me", "certified", "select 1"));
    let refused = answer.unwrap_err();
    assert!(refused.contains("certificate authentication failed"), "of another name: {refused}");
    scene.stop();
}

fn python(port: u16) {
    const CLIENT: &str = r#"
import sys, psycopg2
connection = psycopg2.connect(host="127.0.0.1", port=int(sys.argv[1]), dbname="certified", user="me")
cursor = connection.cursor()
cursor.execute("prepare q as select $1::int * 2")
cursor.execute("execute q(%s)", (21,))
print(cursor.fetchone()[0])
"#;
    let output = std::process::Command::new(python_with("psycopg2").unwrap())
        .args(["-c", CLIENT, &port.to_string()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "42\n", "{output:?}");
}

fn postgres_rotation() {
    let stage = Stage::new();
    let postgres = Postgres::trusting(stage.root.as_bytes());
    postgres.role("certified", &canary("not-used"), false);
    let lines = format!(
        "listen = '127.0.0.1:0'\nallow = ['app']\ndestination = 'localhost:{}'\n\
         ca_cert = '{}'\nclient_certificate = 'web'\nuser = 'certified'\n",
        postgres.port,
        postgres.ca_file.display(),
    );
    let more = certificate("certified", "ttl = '6s'\nrenew_at_percent = 50");
    let scene = Scene::before(stage.vault, "postgres", (&lines, &more), json!({}));
    let port = scene.addr().port();
    let mut busy = postgres.psql(port, "me", "certified", "select pg_sleep(30)");
    let start = Instant::now();
    let complaint = String::from_utf8(busy.output().unwrap().stderr).unwrap();
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    assert!(complaint.contains("terminating connection"), "{complaint}");
    counted(&scene, "cut", 1);
    let again = said(postgres.psql(port, "me", "certified", "select 1"));
    assert_eq!(again, Ok("1".into()), "with the next certificate");
    scene.stop();
}
