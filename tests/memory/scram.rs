//! What a login to PostgreSQL computes with, while the server takes its time.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::sync::mpsc::{Receiver, channel};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{hmac, pbkdf2};
use serde_json::json;

use super::mode::Mode;
use super::secrets::random;
use super::stage::Stage;
use super::support::needle::Needles;
use super::support::vault::{Dev, TestVault};

const SALT: &[u8] = b"a salt of sixteen";
const ITERATIONS: u32 = 4096;

pub fn run(vault: &Dev, mode: Mode) {
    let (addr, answered) = server();
    let password = random("p", 60);
    vault.put("db", json!({ "username": "ambassador", "password": password }));
    let mut needles = Needles::new([("password", &*password)]);
    let salted = salted(&password);
    needles.add("salted password", &salted);
    if mode == Mode::Protected {
        // Made and wiped in one step, so that a control need not find it.
        let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        needles.add("client key", hmac::sign(&key, b"Client Key").as_ref());
    }
    let token = random("t", 50);
    let sidecar = mode
        .builder()
        .config(&format!(
            "[secrets.db]\npath = \"secret/data/db\"\n[adapters.ambassador.db]\n\
             listen = \"127.0.0.1:0\"\nprotocol = \"postgres\"\ndestination = \"{addr}\"\n\
             tls = false\nsecret = \"db\"\nallow = [\"app\"]\n\
             [[callers]]\nname = \"app\"\nuid = 0\nallow = []\n"
        ))
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("SIDEKEY_TOKEN", &token)
        .start();
    let event = sidecar.wait_for("ambassador listening");
    let listening: SocketAddr = event["addr"].as_str().unwrap().parse().unwrap();
    let stage = Stage::new("scram", mode, sidecar, needles);
    let mut client = TcpStream::connect(listening).unwrap();
    client.write_all(b"\0\0\0\x11\0\x03\0\0user\0me\0\0").unwrap();
    let _server = answered.recv().unwrap();
    stage.at_rest("while the server looks at the proof");
    drop(client);
    stage.at_rest("after the application left");
    stage.end().stop();
}

fn salted(password: &str) -> [u8; 32] {
    let mut salted = [0; 32];
    let iterations = NonZeroU32::new(ITERATIONS).unwrap();
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(algorithm, iterations, SALT, password.as_bytes(), &mut salted);
    salted
}

/// Asks for a login by SCRAM, takes the proof, and says no more.
fn server() -> (SocketAddr, Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (proven, answered) = channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        take(&mut stream);
        ask(&mut stream, 10, b"SCRAM-SHA-256\0\0");
        let mut kind = [0];
        stream.read_exact(&mut kind).unwrap();
        let first = String::from_utf8_lossy(&take(&mut stream)).into_owned();
        // It has no comma in it, but may have anything else.
        let nonce = first.split(",r=").nth(1).unwrap().to_owned();
        let salt = STANDARD.encode(SALT);
        let challenge = format!("r={nonce}more,s={salt},i={ITERATIONS}");
        ask(&mut stream, 11, challenge.as_bytes());
        stream.read_exact(&mut kind).unwrap();
        take(&mut stream);
        proven.send(stream).unwrap();
    });
    (addr, answered)
}

/// What a length of its own stands before.
fn take(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut rest = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap() - 4];
    stream.read_exact(&mut rest).unwrap();
    rest
}

fn ask(stream: &mut TcpStream, code: u32, rest: &[u8]) {
    let length = u32::try_from(rest.len() + 8).unwrap().to_be_bytes();
    let message = [b"R", &length[..], &code.to_be_bytes(), rest].concat();
    stream.write_all(&message).unwrap();
}
