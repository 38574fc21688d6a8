//! COPY into a real PostgreSQL, as drivers of the extended protocol do it: once it is over, the
//! session is one between two transactions, and is ended as such.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;

use crate::postgres::{destination, shared, startup};
use crate::scene::Scene;
use crate::support::canary::canary;
use crate::support::trials::{Case, POSTGRES};
use crate::tcp::{connect, counted};

pub(crate) const CASES: [Case; 1] =
    [("postgres_copies_by_the_extended_protocol", &[POSTGRES], copies)];

/// A client that knows where messages begin and end, and nothing more.
struct Client(TcpStream);

impl Client {
    fn send(&mut self, messages: &[(u8, &[u8])]) {
        let bytes = messages.iter().flat_map(|(tag, body)| {
            let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
            [&[*tag][..], &length, body].concat()
        });
        self.0.write_all(&bytes.collect::<Vec<_>>()).unwrap();
    }

    fn read(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 5];
        self.0.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes(head[1..].try_into().unwrap());
        let mut body = vec![0; length as usize - 4];
        self.0.read_exact(&mut body).unwrap();
        (head[0], body)
    }

    /// The types of the messages up to this one.
    fn until(&mut self, last: u8) -> String {
        let mut types = String::new();
        while !types.ends_with(char::from(last)) {
            types.push(char::from(self.read().0));
        }
        types
    }

    fn query(&mut self, text: &str) {
        self.send(&[(b'Q', format!("{text}\0").as_bytes())]);
        self.until(b'Z');
    }

    /// Parse, Bind, Execute and Sync, all at once; up to the server's wish for data.
    fn begin_copy(&mut self, statement: &str) {
        self.send(&[
            (b'P', format!("\0{statement}\0\0\0").as_bytes()),
            (b'B', &[0; 8]),
            (b'E', &[0; 5]),
            (b'S', b""),
        ]);
        assert_eq!(self.until(b'G'), "12G");
    }
}

fn copies() {
    let postgres = shared();
    let password = canary("copy");
    postgres.role("by_copy", &password, false);
    let lines = format!("listen = '127.0.0.1:0'\nallow = ['app']\n{}", destination(postgres, true));
    let fields = json!({ "username": "by_copy", "password": password });
    let scene = Scene::of("postgres", &lines, "", fields);
    // One copies to the end, one gives up, one sends what makes no number, and one is still at it.
    let mut clients: Vec<_> = (0..4).map(|_| Client(connect(&scene))).collect();
    for client in &mut clients {
        client.0.write_all(&startup(b"user\0me\0database\0scram\0\0")).unwrap();
        client.until(b'Z');
        client.query("create temporary table numbers (n int)");
        client.begin_copy("copy numbers from stdin");
    }
    let [whole, given_up, wrong, open] = &mut clients[..] else { panic!("four") };
    whole.send(&[(b'd', b"1\n2\n"), (b'd', b"3\n"), (b'c', b""), (b'S', b"")]);
    assert_eq!(whole.until(b'Z'), "CZ");
    given_up.send(&[(b'd', b"1\n"), (b'f', b"no more\0"), (b'S', b"")]);
    assert_eq!(given_up.until(b'Z'), "EZ");
    wrong.send(&[(b'd', b"one\n"), (b'd', b"two\n"), (b'c', b""), (b'S', b"")]);
    assert_eq!(wrong.until(b'Z'), "EZ");
    open.send(&[(b'd', b"1\n")]);

    scene.sidecar.signal(15);
    for client in [whole, given_up, wrong] {
        let (tag, body) = client.read();
        assert_eq!(tag, b'E');
        assert!(String::from_utf8_lossy(&body).contains("C57P01\0"));
    }
    counted(&scene, "retired", 3);
    // It may finish.
    open.send(&[(b'd', b"2\n"), (b'c', b""), (b'S', b"")]);
    assert_eq!(open.until(b'Z'), "CZ");
    assert!(String::from_utf8_lossy(&open.read().1).contains("C57P01\0"));
    drop(clients);
    scene.sidecar.stop_waiting();
}
