//! Telling the application of a rotation: a call to its URL, or a signal.

#![cfg(feature = "dev")]
#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use support::canary::{assert_clean, canary};
use support::eventually;
use support::sidecar::{Builder, Sidecar};
use support::vault::{Dev, TestVault};

const PATIENCE: Duration = Duration::from_secs(20);

/// An application that answers with these statuses in turn (0: no answer at all), then with 204,
/// and hands on what it is told.
fn application(statuses: &'static [u16]) -> (String, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/-/reload?why=rotation", listener.local_addr().unwrap());
    let (told, calls) = channel();
    std::thread::spawn(move || {
        let mut statuses = statuses.iter();
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
            }
            for line in head.to_ascii_lowercase().lines() {
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let status = *statuses.next().unwrap_or(&204);
            if status > 0 {
                write!(stream.get_mut(), "HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n")
                    .unwrap();
            }
            if told.send((head, serde_json::from_slice(&body).unwrap())).is_err() {
                return;
            }
        }
    });
    (url, calls)
}

struct Scene {
    vault: Dev,
    token: String,
    sidecar: Sidecar,
}

/// `a` and `b`, read again every second, and these rules.
fn scene(builder: Builder, notify: &str) -> Scene {
    let vault = Dev::start();
    for name in ["a", "b"] {
        vault.put(name, json!({ "password": canary("first") }));
    }
    let token = canary("caller");
    let sidecar = builder
        .on_free_ports()
        .config(&toml(notify))
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("SIDEKEY_TOKEN", &token)
        .start();
    Scene { vault, token, sidecar }
}

fn toml(notify: &str) -> String {
    format!(
        "[vault]\nmax_requests_per_second = 50\n\
         [secrets.a]\npath = \"secret/data/a\"\nrefresh = \"1s\"\n\
         [secrets.b]\npath = \"secret/data/b\"\nrefresh = \"1s\"\n{notify}"
    )
}

impl Scene {
    fn rotate(&self, name: &str) {
        self.vault.put(name, json!({ "password": canary("next") }));
    }

    fn etag(&self, name: &str) -> String {
        let answer = self.sidecar.get(&format!("/secrets/{name}"), &self.token);
        answer.header("etag").unwrap().to_owned()
    }

    fn count(&self, message: &str) -> usize {
        self.sidecar.events().iter().filter(|event| event["message"] == message).count()
    }
}

#[test]
fn a_rotation_is_posted_with_name_version_and_etag() {
    let (url, calls) = application(&[]);
    let scene = scene(Builder::serve(), &format!("[[notify]]\nurl = \"{url}\"\n"));
    scene.rotate("a");
    let (head, body) = calls.recv_timeout(PATIENCE).unwrap();
    assert!(head.starts_with("POST /-/reload?why=rotation HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("\r\ncontent-type: application/json\r\n"), "{head}");
    assert_eq!(
        body,
        json!({ "rotations": [{ "name": "a", "version": 2, "etag": scene.etag("a") }] })
    );
    assert_clean("the call", &format!("{head}{body}"));
    let said = scene.sidecar.wait_for("application notified");
    assert!(!said.to_string().contains("why=rotation"), "a query may be a credential: {said}");
    assert!(calls.try_recv().is_err(), "once");
    scene.sidecar.stop();
}

#[test]
fn rotations_are_gathered_and_told_until_they_are_taken() {
    let (url, calls) = application(&[503, 0]);
    let notify = format!("[[notify]]\nurl = \"{url}\"\ndebounce = \"2s\"\ntimeout = \"500ms\"\n");
    let scene = scene(Builder::serve(), &notify);
    scene.rotate("a");
    scene.rotate("b");
    let names = |body: &Value| {
        let rotations = body["rotations"].as_array().unwrap().iter();
        rotations
            .map(|r| (r["name"].as_str().unwrap().to_owned(), r["version"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    let both = vec![("a".to_owned(), 2), ("b".to_owned(), 2)];
    // Refused, then hung up on, then taken.
    for _ in 0..3 {
        let (_, body) = calls.recv_timeout(PATIENCE).unwrap();
        assert_eq!(names(&body), both);
    }
    scene.sidecar.wait_for("application notified");
    assert_eq!(scene.count("application not notified"), 2);
    let metrics = scene.sidecar.health("/metrics").text();
    for line in [
        "sidekey_notifications_total{outcome=\"failed\"} 2",
        "sidekey_notifications_total{outcome=\"ok\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    scene.rotate("b");
    let (_, body) = calls.recv_timeout(PATIENCE).unwrap();
    assert_eq!(names(&body), [("b".to_owned(), 3)]);
    scene.sidecar.stop();
}

#[test]
fn a_rule_hears_of_its_names_alone_and_a_reload_changes_it() {
    let ((a, of_a), (b, of_b)) = (application(&[]), application(&[]));
    let rule = |url: &str, name: &str| {
        format!("[[notify]]\nurl = \"{url}\"\nnames = [\"{name}\"]\ndebounce = \"0s\"\n")
    };
    let notify = format!("{}[sandbox]\nenabled = false\n", rule(&a, "a"));
    let scene = scene(Builder::serve(), &notify);
    scene.rotate("b");
    scene.rotate("a");
    let (_, body) = of_a.recv_timeout(PATIENCE).unwrap();
    assert_eq!(body["rotations"][0]["name"], "a");
    let changed = toml(&format!("{}[sandbox]\nenabled = false\n", rule(&b, "b")));
    eventually("the news of b", || {
        let served = scene.sidecar.get("/secrets/b", &scene.token);
        (served.header("sidekey-version") == Some("2")).then_some(())
    });
    std::fs::write(scene.sidecar.path("sidekey.toml"), changed).unwrap();
    scene.sidecar.signal(1);
    scene.sidecar.wait_for("configuration reloaded");
    scene.rotate("a");
    scene.rotate("b");
    let (_, body) = of_b.recv_timeout(PATIENCE).unwrap();
    let told = &body["rotations"][0];
    assert_eq!((&told["name"], &told["version"]), (&json!("b"), &json!(3)));
    assert!(of_a.try_recv().is_err());
    scene.sidecar.stop();
}

/// A shell that says so when it hears of something. Killed when dropped.
struct Shell {
    child: Child,
    heard: Receiver<String>,
}

impl Shell {
    fn start(program: &str) -> Self {
        let script = "trap 'echo USR1' USR1; trap 'echo HUP' HUP; echo ready; \
                      while :; do sleep 0.05; done";
        let mut child =
            Command::new(program).args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (hear, heard) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = hear.send(line);
            }
        });
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), "ready");
        Self { child, heard }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_process_of_a_pid_file_gets_its_signal_inside_the_sandbox() {
    let shell = Shell::start("/bin/sh");
    let builder = Builder::serve();
    let file = builder.file("app.pid", "not yet");
    let notify = format!("[[notify]]\nsignal = \"USR1\"\npid_file = \"{file}\"\n");
    let scene = scene(builder, &notify);
    scene.rotate("a");
    // Not there yet: tried again.
    scene.sidecar.wait_for("application not notified");
    std::fs::write(&file, format!("{}\n", shell.child.id())).unwrap();
    assert_eq!(shell.heard.recv_timeout(PATIENCE).unwrap(), "USR1");
    scene.sidecar.wait_for("application notified");
    scene.sidecar.stop();
}

#[test]
fn a_pipe_in_place_of_the_pid_file_holds_nobody_up() {
    let builder = Builder::serve();
    let file = builder.file("app.pid", "1");
    std::fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let notify = format!("[[notify]]\nsignal = \"USR1\"\npid_file = \"{file}\"\n");
    let scene = scene(builder, &notify);
    scene.rotate("a");
    let refused = scene.sidecar.wait_for("application not notified");
    assert!(refused["error"].as_str().unwrap().contains("not a regular file"), "{refused}");
    assert_eq!(scene.sidecar.health("/livez").status, 200);
    scene.sidecar.stop();
}

#[test]
fn the_oldest_process_of_a_name_gets_its_signal_inside_the_sandbox() {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("app-{}", std::process::id());
    let program = folder.path().join(&name);
    std::fs::copy("/bin/sh", &program).unwrap();
    let program = program.to_str().unwrap();
    let (parent, worker) = (Shell::start(program), Shell::start(program));
    let notify = format!("[[notify]]\nsignal = \"SIGHUP\"\nprocess = \"{name}\"\n");
    let scene = scene(Builder::serve(), &notify);
    scene.rotate("a");
    assert_eq!(parent.heard.recv_timeout(PATIENCE).unwrap(), "HUP");
    scene.sidecar.wait_for("application notified");
    assert!(worker.heard.try_recv().is_err());
    scene.sidecar.stop();
}

#[test]
fn a_signal_that_was_not_in_the_configuration_takes_a_restart() {
    let builder = Builder::serve();
    let file = builder.file("app.pid", "1");
    let scene = scene(builder, "");
    let more = toml(&format!("[[notify]]\nsignal = \"USR1\"\npid_file = \"{file}\"\n"));
    std::fs::write(scene.sidecar.path("sidekey.toml"), more).unwrap();
    scene.sidecar.signal(1);
    let refused = scene.sidecar.wait_for("configuration refused, the running one stays");
    assert!(refused["error"].as_str().unwrap().contains("signal"), "{refused}");
    scene.sidecar.stop();
}
