//! The PostgreSQL ambassador before a real server, driven by psql.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::json;

use crate::scene::Scene;
use crate::support::canary::{assert_clean, canary};
use crate::support::eventually;
use crate::support::postgres::{ALONE, Postgres, said};
use crate::support::trials::{Case, POSTGRES, ROOT};
use crate::tcp::counted;

pub(crate) const CASES: [Case; 10] = [
    ("postgres_every_login_method", &[POSTGRES], login_methods),
    ("postgres_tls_is_judged", &[POSTGRES], tls),
    ("postgres_without_tls_no_password_in_the_clear", &[POSTGRES], no_cleartext),
    ("postgres_another_uid_is_refused", &[ROOT, POSTGRES], another_uid),
    ("postgres_what_the_application_cannot_choose", &[POSTGRES], choices),
    ("postgres_server_down", &[POSTGRES], server_down),
    ("postgres_start_that_makes_no_sense", &[], nonsense),
    ("postgres_a_silent_stranger_is_refused", &[], silent_stranger),
    ("postgres_queries_can_be_cancelled", &[POSTGRES], cancel),
    ("postgres_sessions_end_in_order_at_the_stop", &[POSTGRES], stop),
];

static SHARED: OnceLock<Postgres> = OnceLock::new();

/// Initialising one takes seconds: all cases but the one that stops it share it.
pub(crate) fn shared() -> &'static Postgres {
    SHARED.get_or_init(Postgres::start)
}

/// The statics of this process are not dropped at its end.
pub(crate) fn stop_shared() {
    if let Some(postgres) = SHARED.get() {
        postgres.stop();
    }
}

/// A sidecar for `lines`, and the port of its ambassador.
fn scene(lines: &str, user: &str, password: &str) -> (Scene, u16) {
    let lines = format!("listen = '127.0.0.1:0'\nallow = ['app']\n{lines}");
    let scene =
        Scene::of("postgres", &lines, "", json!({ "username": user, "password": password }));
    let port = scene.addr().port();
    (scene, port)
}

pub(crate) fn destination(postgres: &Postgres, tls: bool) -> String {
    let Postgres { port, ca_file, .. } = postgres;
    if tls {
        format!("destination = 'localhost:{port}'\ntls = true\nca_cert = '{}'", ca_file.display())
    } else {
        format!("destination = '127.0.0.1:{port}'")
    }
}

const WHO: &str = "select current_user, coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false)";

fn login_methods() {
    let postgres = shared();
    let password = canary("scram");
    postgres.role("by_scram", &password, false);
    postgres.role("by_md5", &canary("md5-tail"), true);
    for tls in [false, true] {
        let (scene, port) = scene(&destination(postgres, tls), "by_scram", &password);
        let shown = if tls { "t" } else { "f" };
        let mut databases = vec!["scram", "md5"];
        if tls {
            databases.extend(["clear", "plain", "bound"]);
        }
        for database in databases {
            let answer = said(postgres.psql(port, "whoever", database, WHO));
            assert_eq!(answer, Ok(format!("by_scram|{shown}")), "{database}, tls {tls}");
        }
        scene.stop();
    }
    let md5 = canary("md5");
    postgres.admin(&format!("set password_encryption = 'md5'; alter role by_md5 password '{md5}'"));
    let (scene, port) = self::scene(&destination(postgres, false), "by_md5", &md5);
    assert_eq!(said(postgres.psql(port, "me", "md5", WHO)), Ok("by_md5|f".into()));
    let said = scene.stop();
    let audit = said.lines().find(|line| line.contains("\"action\":\"session\"")).expect(&said);
    assert!(
        audit.contains("\"adapter\":\"api\"") && audit.contains("\"caller\":\"app\""),
        "{audit}"
    );
}

fn tls() {
    let postgres = shared();
    let password = canary("tls");
    postgres.role("by_tls", &password, false);
    let right = destination(postgres, true);
    let wrong_name = format!("{right}\nserver_name = 'other.invalid'");
    let (ca, other) = (postgres.ca_file.display(), postgres.other_ca_file.display());
    let untrusted = right.replace(&ca.to_string(), &other.to_string());
    for lines in [wrong_name, untrusted] {
        let (scene, port) = scene(&lines, "by_tls", &password);
        let refused = said(postgres.psql(port, "me", "scram", "select 1")).unwrap_err();
        assert!(refused.contains("destination cannot be trusted"), "{refused}");
        counted(&scene, "destination_untrusted", 1);
        scene.stop();
    }
    // A server that has no TLS to offer gets nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let lines = format!("destination = '{}'\ntls = true", listener.local_addr().unwrap());
    let (scene, port) = scene(&lines, "by_tls", &password);
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 8]).unwrap();
        stream.write_all(b"N").unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        rest
    });
    let refused = said(postgres.psql(port, "me", "scram", "select 1")).unwrap_err();
    assert!(refused.contains("destination cannot be trusted"), "{refused}");
    assert!(server.join().unwrap().is_empty());
    scene.stop();
}

fn no_cleartext() {
    let postgres = shared();
    let password = canary("plain");
    postgres.role("by_plain", &password, false);
    let (scene, port) = scene(&destination(postgres, false), "by_plain", &password);
    let refused = said(postgres.psql(port, "me", "plain", "select 1")).unwrap_err();
    assert!(refused.contains("destination cannot be trusted"), "{refused}");
    let lost = scene.sidecar.wait_for("destination out of reach").to_string();
    assert!(lost.contains("a password in the clear"), "{lost}");
    scene.stop();
}

fn another_uid() {
    let postgres = shared();
    let password = canary("uid");
    postgres.role("by_uid", &password, false);
    let (scene, port) = scene(&destination(postgres, false), "by_uid", &password);
    let mut stranger = postgres.psql(port, "by_uid", "scram", "select 1");
    stranger.uid(4_213).gid(4_213);
    let refused = said(stranger).unwrap_err();
    assert!(refused.contains("no caller rule"), "{refused}");
    assert!(said(postgres.psql(port, "by_uid", "scram", "select 1")).is_ok());
    scene.stop();
}

/// It holds no place for as long as an application may.
fn silent_stranger() {
    let lines = "listen = '127.0.0.1:0'\nallow = ['other']\ndestination = '127.0.0.1:1'";
    let more =
        "[limits]\nheader_timeout = '10m'\n[[callers]]\nname = 'other'\nuid = 4213\nallow = []";
    let fields = json!({ "username": "u", "password": canary("p") });
    let scene = Scene::of("postgres", lines, more, fields);
    let mut stream = TcpStream::connect(scene.addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("no caller rule"), "{answer}");
    scene.stop();
}

fn choices() {
    let postgres = shared();
    let password = canary("choices");
    postgres.role("chosen", &password, false);
    let lines = format!("{}\ndatabase = 'scram'", destination(postgres, false));
    let (scene, port) = scene(&lines, "chosen", &password);
    // Neither the user nor a password of its own counts.
    let mut psql = postgres.psql(port, "admin", "scram", "select current_user");
    psql.env("PGPASSWORD", "of-the-application").env("PGAPPNAME", "its own name");
    assert_eq!(said(psql), Ok("chosen".into()));
    let mut psql = postgres.psql(port, "admin", "scram", "show application_name");
    psql.env("PGAPPNAME", "its own name");
    assert_eq!(said(psql), Ok("its own name".into()));
    // What the server says about the application's own wishes comes through.
    let refused = said(postgres.psql(port, "me", "absent", "select 1")).unwrap_err();
    assert!(refused.contains("no pg_hba.conf entry"), "{refused}");
    assert_clean("a refusal", &refused);
    // The database of the configuration, where none is named.
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(&startup(b"user\0me\0\0")).unwrap();
    let mut answer = [0; 9];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [b'R', 0, 0, 0, 8, 0, 0, 0, 0]);
    drop(stream);
    scene.stop();
}

pub(crate) fn startup(parameters: &[u8]) -> Vec<u8> {
    let length = u32::try_from(parameters.len() + 8).unwrap().to_be_bytes();
    [&length[..], &[0, 3, 0, 0], parameters].concat()
}

fn server_down() {
    let postgres = Postgres::start();
    let password = canary("down");
    postgres.role("by_down", &password, false);
    let lines = format!("destination = '{ALONE}:{}'", postgres.port);
    let (scene, port) = scene(&lines, "by_down", &password);
    let query = |text: &str| said(postgres.psql(port, "me", "scram", text));
    assert_eq!(query("select 1"), Ok("1".into()));
    let mut sleeping = postgres.psql(port, "me", "scram", "select pg_sleep(60)");
    let sleeping = sleeping.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let count = "select count(*) from pg_stat_activity where usename = 'by_down'";
    eventually("the session", || (postgres.admin(count) == "1").then_some(()));
    postgres.stop();
    // What the server says when it stops comes through; psql shows the code only sometimes.
    let output = sleeping.wait_with_output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    let reason = "terminating connection due to administrator command";
    assert!(complaint.contains(reason), "{complaint}");
    let refused = query("select 1").unwrap_err();
    assert!(refused.contains("destination cannot be reached"), "{refused}");
    counted(&scene, "destination_unreachable", 1);
    // The session that the server ended.
    counted(&scene, "broken", 1);
    scene.stop();
}

fn nonsense() {
    let lines = "destination = '127.0.0.1:1'";
    let (scene, port) = scene(lines, "u", &canary("p"));
    let addr: SocketAddr = ([127, 0, 0, 1], port).into();
    let answer = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let ssl = [0, 0, 0, 8, 4, 210, 22, 47];
    for (bytes, expected) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "08P01"),
        (vec![0, 0, 0, 4], "08P01"),
        (startup(b"user\0me\0user\0admin\0\0"), "08P01"),
        (startup(b"user\0me"), "08P01"),
        (vec![0, 0, 0, 8, 0, 2, 0, 0], "0A000"),
        (startup(b"\0"), "3D000"),
        ([ssl, ssl, ssl].concat(), "08P01"),
    ] {
        let answer = answer(&bytes);
        assert!(answer.contains(expected), "{bytes:?}: {answer}");
        assert_clean("an answer", &answer);
    }
    // Who sends nothing is let go.
    let mut silent = TcpStream::connect(addr).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
    counted(&scene, "idle_timeout", 1);
    // And who only looks whether the port is there.
    drop(TcpStream::connect(addr).unwrap());
    counted(&scene, "closed", 1);
    scene.stop();
}

fn cancel() {
    let postgres = shared();
    let password = canary("cancel");
    postgres.role("by_cancel", &password, false);
    let (scene, port) = scene(&destination(postgres, true), "by_cancel", &password);
    let mut psql = postgres.psql(port, "me", "scram", "select pg_sleep(60)");
    let psql = psql.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let asked = "select count(*) from pg_stat_activity where usename = 'by_cancel' and query like '%pg_sleep%' and state = 'active'";
    eventually("the query", || (postgres.admin(asked) == "1").then_some(()));
    // psql asks for the end of its query then.
    let _ = Command::new("kill").args(["-s", "INT", &psql.id().to_string()]).status();
    let output = psql.wait_with_output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("57014") || complaint.contains("canceling"), "{complaint}");
    scene.stop();
}

/// A quiet session is told at once; one in a transaction may finish it.
fn stop() {
    let postgres = shared();
    let password = canary("stop");
    postgres.role("by_stop", &password, false);
    let (scene, port) = scene(&destination(postgres, true), "by_stop", &password);
    let session = |query: &str| {
        let mut psql = postgres.psql(port, "me", "scram", query);
        psql.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        psql.spawn().unwrap()
    };
    let (mut quiet, mut busy) = (session("select 1"), session("begin"));
    let count = |wanted: &str| {
        let asked =
            "select count(*) from pg_stat_activity where usename = 'by_stop' and state like";
        eventually(wanted, || {
            (postgres.admin(&format!("{asked} '{wanted}'")) == "1").then_some(())
        });
    };
    count("idle");
    count("idle in transaction");
    scene.sidecar.signal(15);
    let gone = "select count(*) from pg_stat_activity where usename = 'by_stop' and state = 'idle'";
    eventually("the end of the quiet one", || (postgres.admin(gone) == "0").then_some(()));
    quiet.stdin.take().unwrap().write_all(b"select 1;\n").unwrap();
    let complaint = String::from_utf8(quiet.wait_with_output().unwrap().stderr).unwrap();
    assert!(complaint.contains("57P01"), "{complaint}");
    busy.stdin.take().unwrap().write_all(b"select 'done';\ncommit;\n").unwrap();
    let output = busy.wait_with_output().unwrap();
    let (answer, complaint) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(answer.contains("done") && answer.contains("COMMIT"), "{answer} {complaint}");
    scene.sidecar.stop_waiting();
}
