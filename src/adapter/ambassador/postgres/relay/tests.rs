use std::sync::Arc;

use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::DuplexStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag][..], &length, body].concat()
}

#[test]
fn idle_is_between_transactions_alone() {
    let mut doing = Doing::new();
    assert!(!doing.is_idle(), "the start");
    doing.server_says(&message(b'Z', b"I")).unwrap();
    assert!(doing.is_idle());
    doing.client_says(&message(b'Q', b"begin\0")).unwrap();
    assert!(!doing.is_idle());
    doing.server_says(&message(b'Z', b"T")).unwrap();
    assert!(!doing.is_idle(), "in a transaction");
    doing.client_says(&message(b'Q', b"commit\0")).unwrap();
    doing.server_says(&message(b'Z', b"I")).unwrap();
    assert!(doing.is_idle());
    doing.client_says(&message(b'P', b"\0select 1\0\0\0")).unwrap();
    assert!(!doing.is_idle(), "without its sync");
    // Two at once are owed two answers.
    doing.client_says(&message(b'S', b"")).unwrap();
    doing.client_says(&message(b'S', b"")).unwrap();
    doing.server_says(&message(b'Z', b"I")).unwrap();
    assert!(!doing.is_idle());
    doing.server_says(&message(b'Z', b"I")).unwrap();
    assert!(doing.is_idle());
    doing.client_says(b"Q").unwrap();
    assert!(!doing.is_idle(), "a query begins");
}

struct Now;

impl Term for Now {
    async fn due(&mut self) {}
    async fn over(&self) {
        std::future::pending::<()>().await;
    }
}

#[tokio::test]
async fn a_session_that_is_due_ends_when_it_is_idle() {
    let (mut client, near) = tokio::io::duplex(1024);
    let (far, mut server) = tokio::io::duplex(1024);
    let ended = async { relay(near, far, &mut Now).await };
    let talk = async {
        server.write_all(&message(b'Z', b"T")).await.unwrap();
        client.read_exact(&mut [0; 6]).await.unwrap();
        client.write_all(&message(b'Q', b"commit\0")).await.unwrap();
        server.read_exact(&mut [0; 12]).await.unwrap();
        server.write_all(&message(b'Z', b"I")).await.unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.starts_with(&message(b'Z', b"I")));
        assert!(rest.windows(7).any(|part| part == b"C57P01\0"));
        drop(client);
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, TERMINATE);
    };
    assert_eq!(tokio::join!(ended, talk).0, End::Retired);
}

struct Never;

impl Term for Never {
    async fn due(&mut self) {
        std::future::pending::<()>().await;
    }
    async fn over(&self) {
        std::future::pending::<()>().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_session_that_is_due_is_told_instead_of_an_answer() {
    let (mut client, near) = tokio::io::duplex(1024);
    let (far, mut server) = tokio::io::duplex(1024);
    let ended = async { relay(near, far, &mut Now).await };
    let talk = async {
        server.write_all(&message(b'Z', b"I")).await.unwrap();
        client.read_exact(&mut [0; 6]).await.unwrap();
        client.write_all(&message(b'Q', b"begin\0")).await.unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.windows(7).any(|part| part == b"C57P01\0"));
        drop(client);
        let mut asked = Vec::new();
        server.read_to_end(&mut asked).await.unwrap();
        assert_eq!(asked, TERMINATE, "the question was not passed on");
    };
    assert_eq!(tokio::join!(ended, talk).0, End::Retired);
}

#[tokio::test]
async fn a_half_closed_client_still_gets_its_answer() {
    let (mut client, near) = tokio::io::duplex(1024);
    let (far, mut server) = tokio::io::duplex(1024);
    let ended = async { relay(near, far, &mut Never).await };
    let talk = async {
        client.write_all(&message(b'X', b"")).await.unwrap();
        client.shutdown().await.unwrap();
        let mut asked = Vec::new();
        server.read_to_end(&mut asked).await.unwrap();
        assert_eq!(asked, message(b'X', b""));
        server.write_all(&message(b'N', b"bye\0")).await.unwrap();
        drop(server);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, message(b'N', b"bye\0"));
    };
    assert_eq!(tokio::join!(ended, talk).0, End::Closed);
}

struct After(Duration);

impl Term for After {
    async fn due(&mut self) {}
    async fn over(&self) {
        sleep(self.0).await;
    }
}

/// Both ends of TLS over `near` and `far`.
async fn tls(near: DuplexStream, far: DuplexStream) -> (TlsStream<DuplexStream>, impl Sized) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let name = "localhost".try_into().unwrap();
    let (client, server) = tokio::join!(
        TlsConnector::from(Arc::new(client)).connect(name, near),
        TlsAcceptor::from(Arc::new(server)).accept(far),
    );
    (client.unwrap(), server.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_reading_outlives_no_credential() {
    let (far, near) = tokio::io::duplex(1024);
    let (far, _deaf) = tls(far, near).await;
    let (mut client, near) = tokio::io::duplex(1024);
    let start = Instant::now();
    let asking = async {
        let _ = client.write_all(&message(b'Q', &vec![b'x'; 1 << 20])).await;
        std::future::pending::<()>().await;
    };
    let life = Duration::from_secs(5);
    let mut term = After(life);
    tokio::select! {
        end = relay(near, far, &mut term) => assert_eq!(end, End::Cut),
        () = asking => {}
        () = sleep(Duration::from_mins(10)) => panic!("it goes on"),
    }
    assert!(start.elapsed() <= life + LAST_WORD * 2, "{:?}", start.elapsed());
}
