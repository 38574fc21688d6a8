//! Ambassadors: the header made of a secret, the password of PostgreSQL, and the key of a client
//! certificate, through thousands of requests, sessions and handshakes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::client::Client;
use super::mode::Mode;
use super::secrets::{add_ec_key, random};
use super::stage::{CALLER, Load, Stage};
use super::support::needle::Needles;
use super::support::postgres::Postgres;
use super::support::tls::Authority;
use super::support::vault::{Dev, TestVault};

const REQUESTS: usize = 2000;
/// Each with a handshake, and the mathematics of SCRAM at both sides.
const SESSIONS: usize = 80;

/// An HTTPS server that wants a client certificate, and gives back in a header what it got.
struct Echo {
    addr: SocketAddr,
    /// To close them from this side.
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Echo {
    fn start(settings: rustls::ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let open = Arc::<Mutex<Vec<TcpStream>>>::default();
        let (settings, accepted) = (Arc::new(settings), Arc::clone(&open));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, settings) = (stream.unwrap(), Arc::clone(&settings));
                accepted.lock().unwrap().push(stream.try_clone().unwrap());
                std::thread::spawn(move || answer(stream, settings));
            }
        });
        Self { addr, open }
    }

    fn hang_up(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// Answers every head, until there is none. What is no HTTP gets the same answer.
fn answer(stream: TcpStream, settings: Arc<rustls::ServerConfig>) {
    let connection = rustls::ServerConnection::new(settings).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, stream);
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        head.extend_from_slice(&buffer[..read]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let shown = text.lines().find_map(|line| line.strip_prefix("authorization: "));
        let shown = shown.unwrap_or("nothing");
        let answer = format!("HTTP/1.1 200 OK\r\nX-Echo: {shown}\r\nContent-Length: 2\r\n\r\nok");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
        head.clear();
    }
}

struct Scene {
    stage: Stage,
    echo: Echo,
    http: SocketAddr,
    tcp: SocketAddr,
    postgres: SocketAddr,
    _server: Postgres,
}

pub fn run(vault: &Dev, mode: Mode) {
    let scene = set_up(vault, mode);
    let stage = &scene.stage;
    stage.at_rest("before anything is asked");
    // Not while it signs or logs in: what it computes with then lies on the stack.
    stage.under_load("under load, over kept connections", scene.load());
    stage.at_rest("after the load, connections kept");
    scene.many_requests();
    stage.at_rest("after thousands of requests, connections kept");
    let sessions = scene.many_sessions();
    stage.at_rest("after many sessions, some open");
    drop(sessions);
    let streams: Vec<_> = (0..10).map(|_| stream(scene.tcp)).collect();
    stage.at_rest("with streams open");
    drop(streams);
    scene.echo.hang_up();
    stage.at_rest("after the destination hung up");
    assert_eq!(Client::tcp(scene.http, "none").get(&scene.http.to_string(), "/"), 200);
    stage.at_rest("after one more");
    scene.stage.end().stop();
}

fn set_up(vault: &Dev, mode: Mode) -> Scene {
    let root = vault.pki(json!({ "common_name": "root", "key_type": "ec" }));
    let role = json!({ "allow_any_name": true, "key_type": "ec" });
    vault.set_up("POST", "pki/roles/ec", role);
    let server = Postgres::trusting(root.as_bytes());
    let (header, password, caller) = (random("h", 60), random("p", 60), random("t", 50));
    server.role("ambassador", &password, false);
    vault.put("api", json!({ "token": header }));
    vault.put("db", json!({ "username": "ambassador", "password": password }));
    let needles = Needles::new([
        ("static header", &*header),
        ("password", &*password),
        (&format!("{CALLER} token"), &*caller),
    ]);
    let authority = Authority::new("ambassador memory");
    let echo = Echo::start(Authority::settings(&authority.server(), Some(root.as_bytes())));
    let builder = mode.builder();
    let ca = builder.file("ca.pem", &authority.pem());
    let database_ca =
        builder.file("database.pem", &std::fs::read_to_string(&server.ca_file).unwrap());
    let config = format!(
        r#"
        [secrets.api]
        path = "secret/data/api"
        [secrets.db]
        path = "secret/data/db"
        [certificates.web]
        role = "ec"
        common_name = "web.example.io"
        ttl = "1h"
        [adapters.ambassador.api]
        listen = "127.0.0.1:0"
        protocol = "http"
        destination = "https://localhost:{echo}"
        ca_cert = "{ca}"
        secret = "api"
        credential = "bearer"
        client_certificate = "web"
        idle_timeout = "1h"
        allow = ["app"]
        [adapters.ambassador.cache]
        listen = "127.0.0.1:0"
        protocol = "tcp"
        destination = "localhost:{echo}"
        ca_cert = "{ca}"
        client_certificate = "web"
        allow = ["app"]
        [adapters.ambassador.db]
        listen = "127.0.0.1:0"
        protocol = "postgres"
        destination = "localhost:{database}"
        tls = true
        ca_cert = "{database_ca}"
        secret = "db"
        client_certificate = "web"
        allow = ["app"]
        [[callers]]
        name = "app"
        uid = 0
        allow = []
        "#,
        echo = echo.addr.port(),
        database = server.port,
    );
    let sidecar = builder
        .config(&config)
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("SIDEKEY_TOKEN", &caller)
        .start();
    let listening = |name: &str| -> SocketAddr {
        let is_it = |event: &serde_json::Value| {
            event["message"] == "ambassador listening" && event["ambassador"] == name
        };
        let event = sidecar.events().into_iter().find(is_it).unwrap();
        event["addr"].as_str().unwrap().parse().unwrap()
    };
    let (http, tcp, postgres) = (listening("api"), listening("cache"), listening("db"));
    let key = sidecar.get("/certificates/web/key.pem", &caller).text();
    let stage = Stage::new("ambassador", mode, sidecar, needles);
    add_ec_key(&mut stage.needles.borrow_mut(), "client key", &key);
    Scene { stage, echo, http, tcp, postgres, _server: server }
}

impl Scene {
    fn load(&self) -> Vec<Load<'_>> {
        let part = |_| {
            let (mut client, host) = (Client::tcp(self.http, "none"), self.http.to_string());
            Box::new(move || assert_eq!(client.get(&host, "/"), 200)) as Load<'_>
        };
        (0..4).map(part).collect()
    }

    fn many_requests(&self) {
        let addr = self.http;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(move || {
                    let (mut client, host) = (Client::tcp(addr, "none"), addr.to_string());
                    (0..REQUESTS / 4).for_each(|_| assert_eq!(client.get(&host, "/"), 200));
                });
            }
        });
    }

    /// Over each way to log in; some are left open.
    fn many_sessions(&self) -> Vec<TcpStream> {
        let addr = self.postgres;
        let many = move |database| {
            (1..SESSIONS / 4).for_each(|_| drop(session(addr, database)));
            session(addr, database)
        };
        std::thread::scope(|scope| {
            let ways = ["scram", "clear", "bound", "twice"];
            let all = ways.map(|database| scope.spawn(move || many(database)));
            all.map(|one| one.join().unwrap()).into()
        })
    }
}

/// A handshake, a question and an answer.
fn stream(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(b"anything\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 15]).unwrap();
    stream
}

/// A session that may be used.
fn session(addr: SocketAddr, database: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    let parameters = format!("user\0me\0database\0{database}\0\0");
    let length = u32::try_from(parameters.len() + 8).unwrap().to_be_bytes();
    let startup = [&length[..], &[0, 3, 0, 0], parameters.as_bytes()].concat();
    stream.write_all(&startup).unwrap();
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes(head[1..].try_into().unwrap());
        let mut body = vec![0; usize::try_from(length).unwrap() - 4];
        stream.read_exact(&mut body).unwrap();
        assert_ne!(head[0], b'E', "{}", String::from_utf8_lossy(&body));
        if head[0] == b'Z' {
            return stream;
        }
    }
}
