use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::{Fault, Matcher};
use super::Dev;

const PATH: &str = "secret/data/app";

async fn seeded() -> Dev {
    let dev = Dev::start().await;
    let fields = json!({"password": "canary-0123456789"});
    assert_eq!(dev.server.seed_kv2("secret/app", fields.as_object().unwrap().clone()), 1);
    dev
}

/// What comes over the wire, and how it ends.
async fn raw(dev: &Dev) -> (Vec<u8>, std::io::Result<usize>) {
    let mut stream = TcpStream::connect(dev.server.addr()).await.unwrap();
    let request = format!(
        "GET /v1/{PATH} HTTP/1.1\r\nhost: x\r\nx-vault-token: {}\r\nconnection: close\r\n\r\n",
        dev.server.root_token()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let end = tokio::time::timeout(Duration::from_millis(500), stream.read_to_end(&mut bytes));
    let end = end.await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    (bytes, end)
}

#[tokio::test]
async fn statuses_then_the_truth() {
    let dev = seeded().await;
    let script = dev.server.faults().on(Matcher::get(PATH)).respond(Fault::status(503)).times(2);
    for _ in 0..2 {
        let (status, body) = dev.root("GET", PATH, Value::Null).await;
        assert_eq!((status, body["errors"].as_array().map(Vec::len)), (503, Some(1)));
    }
    assert_eq!(dev.root("GET", PATH, Value::Null).await.0, 200);
    assert_eq!((script.hits(), dev.server.count("GET", PATH)), (2, 3));
    let statuses: Vec<_> = dev.server.requests().iter().map(|record| record.status).collect();
    assert_eq!(statuses, [Some(503), Some(503), Some(200)]);
}

#[tokio::test]
async fn broken_answers() {
    let dev = seeded().await;
    let on = |fault| dev.server.faults().on(Matcher::path(PATH)).respond(fault);
    on(Fault::status(429).retry_after(7));
    let (bytes, _) = raw(&dev).await;
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("HTTP/1.1 429") && text.contains("retry-after: 7"), "{text}");

    on(Fault::truncated_json());
    let (status, body) = dev.root("GET", PATH, Value::Null).await;
    assert_eq!((status, body), (200, Value::Null));

    on(Fault::reset_mid_body());
    let (bytes, end) = raw(&dev).await;
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert!(bytes.starts_with(b"HTTP/1.1 200"));

    on(Fault::close());
    let (bytes, end) = raw(&dev).await;
    assert!(bytes.is_empty() && end.is_ok());

    on(Fault::announce(1 << 30));
    let (bytes, end) = raw(&dev).await;
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    assert!(String::from_utf8(bytes).unwrap().contains("content-length: 1073741824"));

    on(Fault::redirect("http://127.0.0.1:1/v1/x"));
    let (bytes, _) = raw(&dev).await;
    assert!(bytes.starts_with(b"HTTP/1.1 307"));

    on(Fault::empty());
    assert_eq!(dev.root("GET", PATH, Value::Null).await.0, 204);
    on(Fault::body(200, "text/html", "<html>"));
    assert!(raw(&dev).await.0.ends_with(b"<html>"));
    assert_eq!(dev.root("GET", PATH, Value::Null).await.0, 200);
}

#[tokio::test]
async fn slow_answers() {
    let dev = seeded().await;
    let on = |fault| dev.server.faults().on(Matcher::any()).respond(fault);
    on(Fault::hang());
    let (bytes, end) = raw(&dev).await;
    assert!(bytes.is_empty() && end.is_err());
    let last = dev.server.requests().pop().unwrap();
    assert_eq!(last.status, None);

    on(Fault::delay(Duration::from_millis(30)));
    let before = tokio::time::Instant::now();
    assert_eq!(dev.root("GET", PATH, Value::Null).await.0, 200);
    assert!(before.elapsed() >= Duration::from_millis(30));

    on(Fault::slow_drip(64, Duration::from_millis(1)));
    let (status, body) = dev.root("GET", PATH, Value::Null).await;
    assert_eq!((status, &body["data"]["data"]["password"]), (200, &json!("canary-0123456789")));
}

#[tokio::test]
async fn states() {
    let dev = seeded().await;
    dev.server.seal();
    let (status, body) = dev.root("GET", PATH, Value::Null).await;
    assert_eq!((status, body), (503, json!({"errors": ["Vault is sealed"]})));
    let (status, body) = dev.anonymous("GET", "sys/health", Value::Null).await;
    assert_eq!((status, &body["sealed"]), (503, &json!(true)));
    assert_eq!(dev.anonymous("GET", "sys/seal-status", Value::Null).await.1["sealed"], true);
    dev.server.unseal();
    assert_eq!(dev.anonymous("GET", "sys/health", Value::Null).await.0, 200);

    dev.server.standby(None);
    assert_eq!(dev.anonymous("GET", "sys/health", Value::Null).await.0, 429);
    assert_eq!(dev.anonymous("GET", "sys/health?standbyok=true", Value::Null).await.0, 200);
    assert_eq!(dev.root("GET", PATH, Value::Null).await.0, 503);
    dev.server.standby(Some("http://127.0.0.1:1".into()));
    let (bytes, _) = raw(&dev).await;
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("location: http://127.0.0.1:1/v1/secret/data/app"), "{text}");
    dev.server.activate();

    dev.server.restart_empty().unwrap();
    assert_eq!(dev.root("GET", PATH, Value::Null).await.0, 404);
}

#[tokio::test]
async fn oversized_bodies_are_refused_and_stopping_closes() {
    let dev = seeded().await;
    let huge = "x".repeat(33 * 1024 * 1024);
    let (status, _) = dev.root("POST", PATH, json!({"data": {"x": huge}})).await;
    assert_eq!(status, 413);
    let addr = dev.server.addr();
    dev.server.stop().await;
    assert!(TcpStream::connect(addr).await.is_err());
}
