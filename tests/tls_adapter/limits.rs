//! Clients that take more than is theirs: time, room, connections.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::application::Application;
use crate::client::{Client, run, text};
use crate::scene::{NAME, Scene};
use crate::support::eventually;
use crate::{Case, Needs};

pub(crate) const CASES: [Case; 6] = [
    ("limits_silence_before_the_handshake", Needs::Nothing, silent),
    ("limits_half_a_head", Needs::Nothing, half_a_head),
    ("limits_answers_that_are_not_read", Needs::Nothing, slow_reader),
    ("limits_connections_that_rest", Needs::Nothing, idle),
    ("limits_bodies", Needs::Nothing, bodies),
    ("limits_connections_at_once", Needs::Nothing, connections),
];

fn ended(word: &str) -> String {
    format!("sidekey_tls_connections_total{{adapter=\"web\",outcome=\"{word}\"}}")
}

fn silent() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "handshake_timeout = '300ms'");
    for start in [&b""[..], b"\x16\x03\x01\x02\x00"] {
        let mut stream = TcpStream::connect(scene.addr()).unwrap();
        stream.write_all(start).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let begin = Instant::now();
        assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0);
        assert!(begin.elapsed() >= Duration::from_millis(200), "{:?}", begin.elapsed());
    }
    let line = "sidekey_tls_handshakes_total{adapter=\"web\",outcome=\"timeout\"}";
    scene.counted(line, 2);
    let mut stream = TcpStream::connect(scene.addr()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let line = "sidekey_tls_handshakes_total{adapter=\"web\",outcome=\"not_tls\"}";
    scene.counted(line, 1);
    scene.stop();
}

fn half_a_head() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "header_timeout = '300ms'");
    let client = Client::new(scene.addr(), &scene.authority());
    run(async {
        for (alpn, start) in [("http/1.1", "GET / HTTP/1.1\r\nHost:"), ("http/1.1", ""), ("h2", "")]
        {
            let mut stream = client.connect(Some(alpn)).await.unwrap();
            stream.write_all(start.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            // With or without a word, it ends.
            let _ = stream.read_to_end(&mut rest).await;
        }
    });
    scene.counted(&ended("head_timeout"), 3);
    scene.stop();
}

fn slow_reader() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "write_timeout = '500ms'");
    let client = Client::new(scene.addr(), &scene.authority());
    run(async {
        let get = format!("GET /endless HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
        let mut one = client.connect(Some("http/1.1")).await.unwrap();
        one.write_all(get.as_bytes()).await.unwrap();
        // Over HTTP/2 it is the window of the stream that fills up, and the connection goes on.
        let mut two = client.http2().await;
        let unread = two.get("/endless").await.unwrap();
        eventually("both to be ended", || {
            scene.count(&ended("write_timeout")).filter(|count| *count == 2)
        });
        drop((one, unread));
        // Who waits for the application is not ended.
        let mut patient = client.http2().await;
        let response = patient.get("/half").await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        application.go.notify_one();
        assert_eq!(text(response).await, "first half, second half");
    });
    scene.stop();
}

fn idle() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "idle_timeout = '300ms'");
    let client = Client::new(scene.addr(), &scene.authority());
    run(async {
        let (mut one, mut two) = (client.http1().await, client.http2().await);
        assert_eq!(text(one.get("/").await.unwrap()).await, "hello");
        assert_eq!(text(two.get("/").await.unwrap()).await, "hello");
        // Told properly.
        two.ended.await.unwrap().unwrap();
        assert!(one.0.ready().await.is_err());
    });
    scene.counted(&ended("idle"), 2);
    scene.stop();
}

fn bodies() {
    let application = Application::start();
    let lines = "max_request_body = 1000\nidle_timeout = '300ms'";
    let scene = Scene::http(application.addr, lines);
    let client = Client::new(scene.addr(), &scene.authority());
    let chunked = |chunks: &str| {
        format!("POST / HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")
    };
    let piece = format!("1f4\r\n{}\r\n", "x".repeat(500));
    run(async {
        let fine = chunked(&format!("{piece}{piece}0\r\n\r\n"));
        let answer = client.exchange(fine.as_bytes()).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let announced = format!("POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 1001\r\n\r\n");
        for (long, status) in [
            (announced, "HTTP/1.1 413"),
            (chunked(&format!("{piece}{piece}1\r\nx\r\n0\r\n\r\n")), "HTTP/1.1 413"),
            // Some of it, and then nothing more.
            (chunked(&piece), "HTTP/1.1 408"),
        ] {
            let answer = client.exchange(long.as_bytes()).await.unwrap();
            assert!(answer.starts_with(status), "{status}: {answer}");
            assert!(answer.contains("application/problem+json"), "{answer}");
        }
    });
    let whole: Vec<_> = application.asked().iter().map(|asked| asked.body.len()).collect();
    assert_eq!(whole, [1000]);
    scene.stop();
}

fn connections() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "max_connections = 2");
    let client = Client::new(scene.addr(), &scene.authority());
    run(async {
        let (mut one, mut two) = (client.http1().await, client.http2().await);
        one.get("/").await.unwrap();
        two.get("/").await.unwrap();
        // The third waits in the kernel until there is room.
        let third = tokio::spawn({
            let client = client.clone();
            async move { client.is_let_in().await }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!third.is_finished());
        drop(one);
        third.await.unwrap().unwrap();
    });
    scene.stop();
}
