//! The private key of a TLS adapter: shown to nobody, and used in every handshake.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::client::Client;
use super::mode::Mode;
use super::moments::engine;
use super::secrets::{add_ec_key, forms_of_ec_key, random};
use super::stage::{CALLER, Stage};
use super::support::eventually;
use super::support::needle::Needles;
use super::support::vault::{Dev, TestVault};

const NAME: &str = "web.example.io";

struct Scene {
    stage: Stage,
    addr: SocketAddr,
    token: String,
    /// What clients present to the application behind.
    bearer: String,
}

fn start(vault: &Dev, mode: Mode) -> Scene {
    engine(vault);
    let application = application();
    let (token, bearer, root) = (random("t", 50), random("b", 50), vault.root_token());
    let needles = Needles::new([
        ("VAULT_TOKEN", &*root),
        (&format!("{CALLER} token"), &*token),
        (&format!("{CALLER} bearer"), &*bearer),
    ]);
    let config = format!(
        "[vault]\nmax_requests_per_second = 50\n\
         [certificates.web]\nrole = 'ec'\ncommon_name = '{NAME}'\nttl = '1h'\nkey = 'local'\n\
         [adapters.tls.web]\nlisten = '127.0.0.1:0'\nforward = '{application}'\n\
         certificate = 'web'\n",
    );
    let sidecar = mode
        .builder()
        .config(&config)
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &root)
        .env("SIDEKEY_TOKEN", &token)
        .start();
    let event = sidecar.wait_for("TLS adapter listening");
    let addr = event["addr"].as_str().unwrap().parse().unwrap();
    sidecar.wait_for("certificate in use");
    Scene { stage: Stage::new("tls", mode, sidecar, needles), addr, token, bearer }
}

/// Without protection, a key that a TLS adapter signs with is found in each of its forms that
/// lasts: reversed, it is on the stack alone, while it is read.
pub fn forms_of_a_key(vault: &Dev) {
    let Scene { stage, addr, token, bearer } = start(vault, Mode::Unprotected);
    let answer = stage.sidecar.get("/certificates/web", &token).json();
    let forms = forms_of_ec_key(answer["private_key"].as_str().unwrap());
    for (name, form) in forms.into_iter().filter(|(name, _)| *name != "number, reversed") {
        stage.needles.borrow_mut().add(name, &form);
    }
    let authority = answer["issuing_ca"].as_str().unwrap();
    (0..10).for_each(|_| ask(&mut connect(addr, authority), &bearer));
    stage.at_rest("after some handshakes");
    stage.end().stop();
}

pub fn run(vault: &Dev, mode: Mode) {
    let Scene { stage, addr, token, bearer } = start(vault, mode);
    let authority = learn(&stage, &token, "first");
    stage.at_rest("before the first handshake");

    let mut open: Vec<_> = (0..8).map(|_| connect(addr, &authority)).collect();
    for stream in &mut open {
        ask(stream, &bearer);
    }
    stage.at_rest("connections open after a request each");
    for _ in 0..50 {
        ask(&mut connect(addr, &authority), &bearer);
    }
    stage.at_rest("after more handshakes");

    let mut client = Client::tcp(stage.addr(), &token);
    let host = stage.addr().to_string();
    assert_eq!(client.send("POST", &host, "/certificates/web/refresh", ""), 200);
    let authority = learn(&stage, &token, "second");
    eventually("the second certificate", || {
        let in_use = stage.sidecar.events();
        let in_use = in_use.iter().filter(|event| event["message"] == "certificate in use").count();
        (in_use == 2).then_some(())
    });
    for stream in &mut open {
        ask(stream, &bearer);
    }
    ask(&mut connect(addr, &authority), &bearer);
    stage.at_rest("after the certificate was replaced");
    drop((open, client));
    stage.at_rest("connections closed");
    stage.end().stop();
}

/// The key is searched for from now on. Returns the authority's certificate.
fn learn(stage: &Stage, token: &str, which: &str) -> String {
    let answer = stage.sidecar.get("/certificates/web", token).json();
    let key = answer["private_key"].as_str().unwrap();
    add_ec_key(&mut stage.needles.borrow_mut(), &format!("{which} key"), key);
    answer["issuing_ca"].as_str().unwrap().to_owned()
}

/// Answers each request of each connection.
fn application() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(stream));
        }
    });
    addr
}

fn answer(mut stream: TcpStream) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    }
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn connect(addr: SocketAddr, authority: &str) -> Stream {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(NAME).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(connection, TcpStream::connect(addr).unwrap())
}

fn ask(stream: &mut Stream, bearer: &str) {
    let bearer = format!("Authorization: Bearer {bearer}");
    let head = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n{bearer}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\nok") {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}
