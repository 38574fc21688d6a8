//! The health listener.

use std::sync::atomic::AtomicBool;

use super::*;

#[derive(Default)]
struct Fake {
    loaded: AtomicBool,
    stopping: AtomicBool,
}

impl Readiness for Fake {
    fn pending(&self) -> Vec<String> {
        if self.loaded.load(Ordering::Relaxed) { Vec::new() } else { vec!["db".into()] }
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn readiness_names_what_is_pending() {
    let listen = Listen { tcp: Vec::new(), unix: None };
    let mut bound = Server::bind(&listen, Some("127.0.0.1:0".parse().unwrap())).unwrap();
    let addr = bound.health_addr().unwrap();
    let (state, tracker, cancel) =
        (Arc::new(Fake::default()), TaskTracker::new(), CancellationToken::new());
    let health = bound.take_health().unwrap();
    let readiness = Arc::clone(&state);
    health.serve(readiness, Metrics::new("test"), &tracker, cancel.clone());
    let ask = async |request: &str| {
        let mut client = Client::new(TcpStream::connect(addr).await.unwrap());
        client.ask(&format!("{request} HTTP/1.1\r\nHost: 10.0.0.7:1\r\n\r\n")).await.unwrap()
    };

    assert_eq!(ask("GET /livez").await.json(), serde_json::json!({"live": true}));
    let reply = ask("GET /readyz").await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json(), serde_json::json!({"ready": false, "pending": ["db"]}));
    assert_eq!(reply.header("retry-after"), Some("1"));

    state.loaded.store(true, Ordering::Relaxed);
    let reply = ask("GET /readyz").await;
    assert_eq!((reply.status, reply.json()), (200, serde_json::json!({"ready": true})));

    state.stopping.store(true, Ordering::Relaxed);
    let reply = ask("GET /readyz").await;
    assert_eq!((reply.status, &reply.json()["stopping"]), (503, &true.into()));
    assert_eq!(ask("HEAD /livez").await.status, 200);

    let reply = ask("GET /metrics").await;
    assert!(reply.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(reply.text().ends_with("# EOF\n"));

    assert_eq!(ask("GET /secrets").await.code(), "not_found");
    assert_eq!(ask("POST /livez").await.code(), "method_not_allowed");
    let long = format!("GET /livez?{}", "x".repeat(3000));
    assert_eq!(ask(&long).await.code(), "target_too_long");

    cancel.cancel();
    tracker.close();
    tokio::time::timeout(Duration::from_secs(5), tracker.wait()).await.unwrap();
}

#[tokio::test]
async fn nobody_keeps_probes_out_by_holding_places() {
    let listen = Listen { tcp: Vec::new(), unix: None };
    let mut bound = Server::bind(&listen, Some("127.0.0.1:0".parse().unwrap())).unwrap();
    let addr = bound.health_addr().unwrap();
    let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
    let health = bound.take_health().unwrap();
    health.serve(Arc::new(Fake::default()), Metrics::new("test"), &tracker, cancel.clone());
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(TcpStream::connect(addr).await.unwrap());
    }
    let mut client = Client::new(TcpStream::connect(addr).await.unwrap());
    let probe = client.ask("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n");
    let reply = tokio::time::timeout(Duration::from_secs(3), probe).await.unwrap().unwrap();
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    assert!(client.is_closed().await);
    drop(held);
    cancel.cancel();
    tracker.close();
    tracker.wait().await;
}
