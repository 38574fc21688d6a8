//! Connections that become another protocol's, such as a `WebSocket`'s.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::application::Application;
use crate::client::{Client, Stream, run};
use crate::scene::{NAME, Scene};
use crate::support::eventually;
use crate::support::trials::Case;

pub(crate) const CASES: [Case; 4] = [
    ("http_upgrade_is_bytes_both_ways", &[], both_ways),
    ("http_upgrade_that_rests_ends_at_the_stop", &[], stop),
    ("http_upgrade_that_is_cut_is_reset", &[], cut),
    ("http_upgrade_to_http2_is_not_one", &[], no_h2c),
];

/// A connection that became a `WebSocket`, and the answer with which it did.
async fn upgraded(client: &Client) -> (Stream, String) {
    let mut stream = client.connect(Some("http/1.1")).await.unwrap();
    let asks = format!(
        "GET /upgrade HTTP/1.1\r\nHost: {NAME}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n\r\n"
    );
    stream.write_all(asks.as_bytes()).await.unwrap();
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\nwelcome\n") {
        answer.push(char::from(stream.read_u8().await.unwrap()));
    }
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    (stream, answer)
}

fn stop() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    let client = Client::new(scene.addr(), &scene.authority());
    run(async {
        let (mut stream, _) = upgraded(&client).await;
        scene.sidecar.signal(15);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("an end in order");
    });
    eventually("its end", || (*application.ends.lock().unwrap() == [true]).then_some(()));
    let said = scene.sidecar.stderr();
    scene.sidecar.stop_waiting();
    assert!(!said.contains("connections cut"), "{said}");
}

fn cut() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    let client = Client::new(scene.addr(), &scene.authority());
    run(async {
        let (stream, _) = upgraded(&client).await;
        // TCP's end without TLS's.
        let (mut tcp, _) = stream.into_inner();
        tcp.shutdown().await.unwrap();
        eventually("the cut", || (*application.ends.lock().unwrap() == [false]).then_some(()));
    });
    scene.stop();
}

fn both_ways() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    let client = Client::new(scene.addr(), &scene.authority());
    run(async {
        let (mut stream, answer) = upgraded(&client).await;
        for line in ["upgrade: websocket", "connection: upgrade", "sec-websocket-accept: yes"] {
            assert!(answer.to_lowercase().contains(line), "{answer}");
        }
        for n in 0..100 {
            let sent = format!("frame {n:03}");
            stream.write_all(sent.as_bytes()).await.unwrap();
            let mut back = [0; 9];
            stream.read_exact(&mut back).await.unwrap();
            assert_eq!(back, sent.as_bytes());
        }
        // It counts as open, and the end of one way is not that of the other.
        scene.counted("sidekey_tls_open_connections{adapter=\"web\"}", 1);
        stream.shutdown().await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "goodbye\n");
    });
    let open = "sidekey_tls_open_connections{adapter=\"web\"} 0";
    eventually("its end", || scene.metrics().contains(open).then_some(()));
    scene.stop();
}

fn no_h2c() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    let client = Client::new(scene.addr(), &scene.authority());
    run(async {
        for protocol in ["h2c", "HTTP/2.0"] {
            let asks = format!(
                "GET /upgraded HTTP/1.1\r\nHost: {NAME}\r\nConnection: Upgrade, HTTP2-Settings, close\r\n\
                 Upgrade: {protocol}\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
            );
            let answer = client.exchange(asks.as_bytes()).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            for name in ["upgrade", "connection", "http2-settings"] {
                assert_eq!(application.last().header(name), Vec::<&str>::new(), "{name}");
            }
        }
    });
    scene.stop();
}
