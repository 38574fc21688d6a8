//! Clients that take more than is theirs: time, room, connections.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::application::{Application, Bytewise};
use crate::client::{Client, Gated, run, text};
use crate::scene::{NAME, Scene};
use crate::support::eventually;
use crate::support::trials::Case;
use crate::support::vanish::vanish;

pub(crate) const CASES: [Case; 8] = [
    ("limits_silence_before_the_handshake", &[], silent),
    ("limits_half_a_head", &[], half_a_head),
    ("limits_answers_that_are_not_read", &[], slow_reader),
    ("limits_memory_of_unread_answers", &[], memory),
    ("limits_client_that_vanishes", &[], vanishing),
    ("limits_connections_that_rest", &[], idle),
    ("limits_bodies", &[], bodies),
    ("limits_connections_at_once", &[], connections),
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
        scene.counted(&ended("write_timeout"), 1);
        drop(one);
        // Over HTTP/2 it is the window of the stream that fills up: that stream alone ends.
        let mut two = client.http2().await;
        let unread = two.get("/endless").await.unwrap();
        let line = "sidekey_tls_refusals_total{adapter=\"web\",error=\"write_timeout\"}";
        while scene.count(line) != Some(1) {
            assert_eq!(text(two.get("/").await.unwrap()).await, "hello");
        }
        let rest = unread.into_body().collect().await.unwrap_err();
        assert!(format!("{rest:?}").contains("CANCEL"), "{rest:?}");
        // Who waits for the application is not ended.
        let response = two.get("/half").await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        application.go.notify_one();
        assert_eq!(text(response).await, "first half, second half");
        assert_eq!(scene.count(line), Some(1));
    });
    scene.counted(&ended("write_timeout"), 1);
    scene.stop();
}

/// Of one connection of HTTP/2, whose streams are all full: 200 KiB for each, of which half was
/// measured.
const STREAMS: usize = 100;
const MOST: u64 = 20_000;

/// Its client would take everything, and then reads nothing from TCP: then the connection ends.
fn memory() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "write_timeout = '8s'");
    let client = Client::new(scene.addr(), &scene.authority());
    run(async {
        let mut warm = client.http2().await;
        assert_eq!(text(warm.get("/").await.unwrap()).await, "hello");
        let before = scene.sidecar.resident();
        let (gated, closed) = Gated::new(client.connect(Some("h2")).await.unwrap());
        closed.store(true, Ordering::Relaxed);
        let (mut sender, connection) =
            hyper::client::conn::http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size((1 << 31) - 1)
                .initial_connection_window_size((1 << 31) - 1)
                .handshake(TokioIo::new(gated))
                .await
                .unwrap();
        let connection = tokio::spawn(connection);
        let mut asked = Vec::new();
        for _ in 0..STREAMS {
            sender.ready().await.unwrap();
            let request = Request::get(format!("https://{NAME}/endless"));
            asked.push(sender.send_request(request.body(Full::<Bytes>::default()).unwrap()));
        }
        let all = || application.asked().iter().filter(|asked| asked.target == "/endless").count();
        eventually("all requests", || (all() == STREAMS).then_some(()));
        let full = until_still(|| scene.sidecar.resident());
        let grown = full.saturating_sub(before);
        assert!(grown < MOST, "{grown} KiB more");
        scene.counted(&ended("write_timeout"), 1);
        drop(asked);
        connection.abort();
    });
    scene.stop();
}

/// What `number` is once it stands still.
fn until_still(number: impl Fn() -> u64) -> u64 {
    let mut last = (number(), Instant::now());
    eventually("the number to stand still", || {
        let now = number();
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > Duration::from_millis(500)).then_some(now)
    })
}

/// Nothing is heard of it any more, and nothing arrives at it.
fn vanishing() {
    let application = Application::start();
    for (lines, alpn) in [("", Some("http/1.1")), ("", Some("h2")), ("mode = 'tcp'", None)] {
        let bytewise = Bytewise::start(false);
        let forward = if alpn.is_some() { application.addr } else { bytewise.addr };
        let scene = Scene::http(forward, &format!("keepalive = '1s'\n{lines}"));
        let client = Client::new(scene.addr(), &scene.authority());
        run(async {
            let mut stream = client.connect(alpn).await.unwrap();
            match alpn {
                Some("http/1.1") => {
                    let get = format!("GET /wait HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
                    stream.write_all(get.as_bytes()).await.unwrap();
                    eventually("the request", || {
                        application.asked().iter().find(|asked| asked.target == "/wait").map(drop)
                    });
                }
                Some(_) => {}
                None => _ = stream.read_exact(&mut [0; 8]).await.unwrap(),
            }
            let tcp = stream.get_ref().0;
            let port = tcp.local_addr().unwrap().port();
            let open = "sidekey_tls_open_connections{adapter=\"web\"}";
            scene.counted(open, 1);
            vanish(&[tcp.as_fd().try_clone_to_owned().unwrap().into()], port);
            let start = Instant::now();
            scene.counted(open, 0);
            let took = start.elapsed();
            assert!(took < Duration::from_secs(9), "{alpn:?}: {took:?}");
            if alpn.is_none() {
                eventually("the cut", || (*bytewise.ends.lock().unwrap() == [false]).then_some(()));
            }
        });
        scene.stop();
    }
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
        // The other one ends at its own moment.
        while one.0.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
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
