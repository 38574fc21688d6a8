//! Connections: keep-alive, timeouts, limits, the stop, and how long plaintext lives.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{DuplexStream, ReadBuf};

use super::*;
use crate::server::connection::{self, Timeouts};

fn request(door: &Running, target: &str) -> String {
    let addr = door.addr;
    format!("GET {target} HTTP/1.1\r\nHost: {addr}\r\nX-Vault-Token: t-all\r\n\r\n")
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..200 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn an_idle_connection_keeps_nothing_of_the_secret_it_served() {
    let door = start(default_rules(), limits());
    let text = "canary".repeat(10_000);
    for json in [r#"{"f":"canary"}"#.to_owned(), format!(r#"{{"f":"{text}"}}"#)] {
        let answer = served(&json);
        let secret = Arc::downgrade(&answer.secret);
        door.source.set("web", Ok(answer));
        let mut client = door.connect().await;
        let reply = client.ask(&request(&door, "/secrets/web/f")).await.unwrap();
        assert_eq!(reply.status, 200);
        assert!(reply.body.starts_with(b"canary"));
        door.source.set("web", Err(ReadError::Expired));
        eventually("the evicted secret is gone", || secret.upgrade().is_none()).await;
        // And the buffer behind it: the connection is still good, and no copy is sent later.
        let reply = client.ask(&request(&door, "/secrets/web/f")).await.unwrap();
        assert_eq!(reply.status, 503);
    }
    door.stop().await;
}

#[tokio::test]
async fn a_reader_who_stops_reading_is_cut_off() {
    let patience = Duration::from_millis(200);
    let door = start(default_rules(), Limits { write_timeout: patience, ..limits() });
    let big = served(&format!(r#"{{"f":"{}"}}"#, "x".repeat(32 << 20)));
    let body = big.secret.json();
    door.source.set("big", Ok(big));
    let mut client = door.connect().await;
    client.send(request(&door, "/secrets/big").as_bytes()).await;
    let open = || !door.metrics.encode().unwrap().contains("sidekey_connections 0");
    eventually("the connection is there", open).await;
    eventually("the connection is cut", || !open()).await;
    drop(body);
    door.stop().await;
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_cut_off() {
    let patience = Duration::from_millis(100);
    let door = start(default_rules(), Limits { header_timeout: patience, ..limits() });
    for start in ["", "GET /secrets/db HTTP/1.1\r\nHost: "] {
        let mut client = door.connect().await;
        client.send(start.as_bytes()).await;
        assert!(client.is_closed().await, "{start}");
    }
    let mut idle = door.connect().await;
    assert_eq!(idle.ask(&request(&door, "/secrets/db")).await.unwrap().status, 200);
    assert!(idle.is_closed().await);
    assert!(door.metrics.encode().unwrap().contains("outcome=\"timed_out\"} "));
    door.stop().await;
}

#[tokio::test]
async fn connections_over_the_limit_wait_their_turn() {
    let door = start(default_rules(), Limits { max_connections: 2, ..limits() });
    let ask = request(&door, "/secrets/db");
    let mut first = door.connect().await;
    let mut second = door.connect().await;
    assert_eq!(first.ask(&ask).await.unwrap().status, 200);
    assert_eq!(second.ask(&ask).await.unwrap().status, 200);
    let mut third = door.connect().await;
    third.send(ask.as_bytes()).await;
    let early = tokio::time::timeout(Duration::from_millis(50), third.reply(true)).await;
    assert!(early.is_err(), "the third must wait");
    drop(first);
    assert_eq!(third.reply(true).await.unwrap().status, 200);
    door.stop().await;
}

#[tokio::test]
async fn the_stop_answers_what_is_under_way_and_closes_the_rest() {
    let door = start(default_rules(), limits());
    let mut idle = door.connect().await;
    assert_eq!(idle.ask(&request(&door, "/secrets/db")).await.unwrap().status, 200);
    let all = door.source.gate.acquire_many(1000).await.unwrap();
    let mut busy = door.connect().await;
    busy.send(request(&door, "/secrets/slow").as_bytes()).await;
    let connected = || door.metrics.encode().unwrap().contains("sidekey_connections 2");
    eventually("both are connected", connected).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    door.cancel.cancel();
    assert!(idle.is_closed().await);
    drop(all);
    let reply = busy.reply(true).await.unwrap();
    assert_eq!(reply.status, 200);
    assert!(busy.is_closed().await);
    assert!(TcpStream::connect(door.addr).await.is_err(), "nothing is accepted any more");
    door.stop().await;
}

#[tokio::test]
async fn requests_are_counted_by_outcome() {
    let door = start(default_rules(), limits());
    let first = door.get("/secrets/db").await;
    let again = format!("If-None-Match: {}\r\n", first.header("etag").unwrap());
    door.get_with("/secrets/db", &again).await;
    door.get("/secrets/none").await;
    let text = door.metrics.encode().unwrap();
    for line in ["ok", "not_modified", "unknown_name"] {
        let line = format!("sidekey_requests_total{{outcome=\"{line}\"}} 1");
        assert!(text.lines().any(|l| l == line), "{line}");
    }
    door.stop().await;
}

/// Notes where the bytes of each write stand in memory.
struct Recorder {
    inner: DuplexStream,
    addresses: Arc<Mutex<Vec<usize>>>,
}

impl AsyncRead for Recorder {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.addresses.lock().unwrap().push(buf.as_ptr() as usize);
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.addresses.lock().unwrap().extend(bufs.iter().map(|buf| buf.as_ptr() as usize));
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[tokio::test]
async fn what_is_written_is_the_secrets_own_memory() {
    let secret = secret(r#"{"f":"canary"}"#);
    let (value, _) = secret.field("f").unwrap();
    let own_memory = value.as_ptr() as usize;
    let (near, far) = tokio::io::duplex(4096);
    let addresses = Arc::<Mutex<Vec<usize>>>::default();
    let near = Recorder { inner: near, addresses: Arc::clone(&addresses) };
    let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
    let timeouts = Timeouts::from(&limits());
    let answer = move |_: Request<Incoming>| {
        let response = Response::new(super::super::body::Body::from(value.clone()));
        async move { Ok::<_, Infallible>(response) }
    };
    tracker.spawn(connection::serve(near, timeouts, cancel.clone(), answer));
    let reply = Client::new(far).ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(reply.text(), "canary");
    assert!(addresses.lock().unwrap().contains(&own_memory), "hyper made a copy of the body");
    cancel.cancel();
}

#[tokio::test]
async fn strangers_make_room_and_known_callers_stay() {
    let door = start(default_rules(), Limits { max_connections: 3, ..limits() });
    let ask = request(&door, "/secrets/db");
    let mut known = door.connect().await;
    assert_eq!(known.ask(&ask).await.unwrap().status, 200);
    let mut silent = [door.connect().await, door.connect().await];
    let connected = || door.metrics.encode().unwrap().contains("sidekey_connections 3");
    eventually("all are connected", connected).await;
    // Each of them is answered at once: the oldest that said nothing gives way.
    for _ in 0..5 {
        assert_eq!(door.get("/secrets/db").await.status, 200);
    }
    assert!(silent[0].is_closed().await);
    let counted = || door.metrics.encode().unwrap().contains("outcome=\"crowded_out\"");
    assert!(counted());
    assert_eq!(known.ask(&ask).await.unwrap().status, 200);
    silent[1].send(b"").await;
    door.stop().await;
}

/// Beyond what hyper reads, it is hyper that answers.
#[tokio::test]
async fn heads_that_are_never_read_whole_get_a_bare_431() {
    let door = start(default_rules(), limits());
    let many = "X: y\r\n".repeat(101);
    let long = format!("X: {}\r\n", "y".repeat(256 << 10));
    for headers in [many, long] {
        let mut client = door.connect().await;
        let request = format!("GET /secrets/db HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        client.send(request.as_bytes()).await;
        // What it did not read may have the kernel reset the connection before the answer is seen.
        if let Some(reply) = client.reply(true).await {
            assert_eq!((reply.status, reply.body.len()), (431, 0), "{}", reply.head);
            assert_eq!(reply.header("cache-control"), None);
        }
    }
    let metrics = door.metrics.clone();
    door.stop().await;
    let counted = "sidekey_requests_total{outcome=\"malformed\"} 2\n";
    assert!(metrics.encode().unwrap().contains(counted));
}
