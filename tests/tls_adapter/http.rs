//! Requests on their way through.

use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::application::{Application, Channel};
use crate::client::{Client, PATIENCE, run, text};
use crate::scene::{NAME, Scene};
use crate::support::trials::Case;

pub(crate) const CASES: [Case; 9] = [
    ("http_bodies_stream_both_ways", &[], streaming),
    ("http_trailers_pass_both_ways", &[], trailers),
    ("http_expectations_are_met_here", &[], expectation),
    ("http_nothing_is_smuggled", &[], smuggling),
    ("http_what_belongs_to_one_connection_stays", &[], hop),
    ("http_application_down_and_back", &[], application_down),
    ("http_application_that_does_not_answer", &[], application_silent),
    ("http_application_that_stops_in_the_middle", &[], half_an_answer),
    ("http_many_requests_on_one_connection", &[], many),
];

fn client(scene: &Scene) -> Client {
    Client::new(scene.addr(), &scene.authority())
}

/// Each piece comes back before the next one is sent.
fn streaming() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    let client = client(&scene);
    run(async {
        let stream = client.connect(Some("http/1.1")).await.unwrap();
        let made = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let (mut one, connection) = made;
        tokio::spawn(connection);
        let stream = client.connect(Some("h2")).await.unwrap();
        let io = TokioIo::new(stream);
        let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let (mut two, connection) = made;
        tokio::spawn(connection);
        for version in [1, 2] {
            let (pieces, body) = Channel::new();
            let (uri, host) = match version {
                1 => ("/echo".to_owned(), Some(NAME)),
                _ => (format!("https://{NAME}/echo"), None),
            };
            let mut request = Request::post(uri);
            if let Some(host) = host {
                request = request.header("host", host);
            }
            let request = request.body(body).unwrap();
            let response = async {
                if version == 1 {
                    one.send_request(request).await
                } else {
                    two.send_request(request).await
                }
            };
            let first = pieces.send(Frame::data(Bytes::from_static(b"piece 0")));
            let (response, first) = tokio::join!(response, first);
            first.unwrap();
            let mut body = response.unwrap().into_body();
            for n in 0..20 {
                let frame = body.frame().await.unwrap().unwrap();
                assert_eq!(frame.into_data().unwrap(), format!("piece {n}"));
                let next = Bytes::from(format!("piece {}", n + 1));
                pieces.send(Frame::data(next)).await.unwrap();
            }
            drop(pieces);
            assert_eq!(body.collect().await.unwrap().to_bytes(), "piece 20");
        }
    });
    scene.stop();
}

fn trailers() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    let client = client(&scene);
    run(async {
        // Out of the application, to both kinds of clients.
        let mut http2 = client.http2().await;
        let request = Request::get(format!("https://{NAME}/trailers")).header("te", "trailers");
        let request = request.body(Full::default()).unwrap();
        let response = http2.sender.send_request(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-sum"], "42");
        let asks = format!(
            "GET /trailers HTTP/1.1\r\nHost: {NAME}\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n"
        );
        let answer = client.exchange(asks.as_bytes()).await.unwrap();
        assert!(answer.ends_with("\r\n0\r\nx-sum: 42\r\n\r\n"), "{answer}");
        // Into it, but not what only we may say.
        let sends = format!(
            "POST / HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\
             Trailer: x-sum, x-forwarded-for\r\nConnection: close\r\n\r\n\
             4\r\nbody\r\n0\r\nx-sum: 43\r\nx-forwarded-for: 6.6.6.6\r\n\r\n"
        );
        let answer = client.exchange(sends.as_bytes()).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    });
    let asked = application.last();
    assert_eq!(&asked.body[..], b"body");
    let mut expected = HeaderMap::new();
    expected.insert("x-sum", "43".parse().unwrap());
    assert_eq!(asked.trailers, Some(expected));
    assert_eq!(asked.header("x-forwarded-for"), ["127.0.0.1"]);
    scene.stop();
}

/// The application need not know of them.
fn expectation() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    let client = client(&scene);
    run(async {
        let mut stream = client.connect(Some("http/1.1")).await.unwrap();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {NAME}\r\nExpect: 100-continue\r\n\
             Content-Length: 4\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let expected = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut said = vec![0; expected.len()];
        stream.read_exact(&mut said).await.unwrap();
        assert_eq!(said, expected);
        stream.write_all(b"body").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    });
    let asked = application.last();
    assert_eq!((&asked.body[..], asked.header("expect").len()), (&b"body"[..], 0));
    scene.stop();
}

/// Half an answer is not taken for a whole one; where events are awaited, silence is fine.
fn half_an_answer() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "idle_timeout = '500ms'");
    let client = client(&scene);
    run(async {
        let get = format!("GET /half HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
        let mut stream = client.connect(Some("http/1.1")).await.unwrap();
        stream.write_all(get.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let error = stream.read_to_end(&mut answer).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.ends_with("first half, \r\n"), "{answer}");
        // Over HTTP/2 the connection goes on.
        let mut http2 = client.http2().await;
        let response = http2.get("/half").await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap_err();
        assert_eq!(text(http2.get("/").await.unwrap()).await, "hello");
        let response = http2.get("/events").await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        // Those of the answers that were given up are woken as well.
        application.go.notify_waiters();
        assert_eq!(text(response).await, "first half, second half");
    });
    let line =
        "sidekey_tls_application_errors_total{adapter=\"web\",error=\"application_stalled\"}";
    scene.counted(line, 2);
    scene.stop();
}

fn smuggling() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    let client = client(&scene);
    let inner = format!("GET /smuggled HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    let length = inner.len();
    let head = |lines: &str| format!("POST /outer HTTP/1.1\r\nHost: {NAME}\r\n{lines}\r\n");
    let cases = [
        // Both lengths, in both orders, and in disguise.
        head(&format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"))
            + "0\r\n\r\n"
            + &inner,
        head(&format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"))
            + "0\r\n\r\n"
            + &inner,
        head("Transfer-Encoding : chunked\r\n") + "0\r\n\r\n" + &inner,
        head("Transfer-Encoding: xchunked\r\n") + "0\r\n\r\n" + &inner,
        head("Transfer-Encoding: chunked, identity\r\n") + "0\r\n\r\n" + &inner,
        head("Transfer_Encoding: chunked\r\nContent-Length: 0\r\n") + &inner,
        head(&format!("Content-Length: 0\r\nContent-Length: {length}\r\n")) + &inner,
        head("Content-Length: +0\r\n") + &inner,
        head("Content-Length: 0\r\nY: a\n\r\n") + &inner,
        head("Host: other.example\r\nContent-Length: 0\r\n"),
        head(" Content-Length: 0\r\n"),
        format!("GET /outer HTTP/1.1\r\nHost: {NAME}\r\nX: y\rZ: w\r\n\r\n"),
        "GET /outer HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET /outer HTTP/1.1\r\nHost: {NAME}@evil\r\n\r\n"),
        format!("GET\t/outer\tHTTP/1.1\r\nHost: {NAME}\r\n\r\n"),
        format!("GET outer HTTP/1.1\r\nHost: {NAME}\r\n\r\n"),
        format!("TRACE / HTTP/1.1\r\nHost: {NAME}\r\n\r\n"),
        format!("CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: {NAME}\r\n\r\n"),
    ];
    run(async {
        for case in &cases {
            let mut stream = client.connect(Some("http/1.1")).await.unwrap();
            stream.write_all(case.as_bytes()).await.unwrap();
            let mut answer = vec![0; 4096];
            let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.unwrap();
            let answer = String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned();
            // What the application was asked, it was asked as what the sender's own framing says:
            // never `/smuggled` as a part of `/outer`, or with a header in disguise.
            for asked in application.asked() {
                let names = ["transfer_encoding", "x"].map(|name| asked.header(name).len());
                assert_eq!(names, [0, 0], "{case}: {asked:?}");
                assert_eq!(asked.header("host"), [NAME], "{case}");
            }
            let refused = answer.is_empty()
                || answer.starts_with("HTTP/1.1 4")
                || answer.starts_with("HTTP/1.1 501");
            let fine = case.contains("Transfer_Encoding") || case.contains("Y: a");
            assert!(refused || fine || framed_by_chunks(case), "{case}: {answer}");
        }
    });
    let targets: Vec<_> = application.asked().into_iter().map(|asked| asked.target).collect();
    assert!(
        targets.iter().all(|target| target == "/outer" || target == "/smuggled"),
        "{targets:?}"
    );
    scene.stop();
}

/// RFC 9112, 6.3: chunks go before a length; what follows them is another request.
fn framed_by_chunks(case: &str) -> bool {
    case.contains("\r\nTransfer-Encoding: chunked\r\n")
}

fn hop() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    let client = client(&scene);
    run(async {
        let response = client.http1().await.get("/hop").await.unwrap();
        assert_eq!(response.headers().get("x-hop"), None);
        assert_eq!(response.headers()["x-kept"], "1");
        assert_eq!(text(response).await, "hop");
        let response = client.http2().await.get("/hop").await.unwrap();
        assert_eq!(response.headers().get("x-hop"), None);
        assert_eq!(response.headers()["content-length"], "3");
        // Cookies that came one by one, and a length that a HEAD only hears of.
        let mut http2 = client.http2().await;
        let uri = format!("https://{NAME}/");
        let request = Request::head(uri).header("cookie", "a=1").header("cookie", "b=2");
        let response = http2.sender.send_request(request.body(Full::default()).unwrap()).await;
        assert_eq!(response.unwrap().headers()["content-length"], "5");
        assert_eq!(application.last().header("cookie"), ["a=1; b=2"]);
    });
    scene.stop();
}

fn application_down() {
    let application = Application::start();
    let addr = application.addr;
    let scene = Scene::http(addr, "");
    let client = client(&scene);
    run(async {
        let response = client.http1().await.get("/").await.unwrap();
        assert_eq!(response.status(), 200);
    });
    // The runtime's threads are joined, and with it the port is free.
    std::thread::spawn(move || drop(application)).join().unwrap();
    run(async {
        for response in [client.http1().await.get("/").await, client.http2().await.get("/").await] {
            let response = response.unwrap();
            assert_eq!(response.status(), 502);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            let problem: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
            assert_eq!(problem["code"], "application_unreachable");
        }
    });
    let line =
        "sidekey_tls_application_errors_total{adapter=\"web\",error=\"application_unreachable\"}";
    scene.counted(line, 2);
    scene.sidecar.wait_for("application out of reach");
    let application = Application::start_at(addr);
    run(async {
        let response = client.http1().await.get("/").await.unwrap();
        assert_eq!(response.status(), 200);
    });
    scene.sidecar.wait_for("application answers again");
    drop(application);
    scene.stop();
}

fn application_silent() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "response_timeout = '300ms'");
    let client = client(&scene);
    run(async {
        let response = client.http2().await.get("/silent").await.unwrap();
        assert_eq!(response.status(), 504);
        let problem: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(problem["code"], "application_timeout");
        // Half an answer in time is an answer.
        let response = client.http1().await.get("/half").await.unwrap();
        assert_eq!(response.status(), 200);
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
        application.go.notify_one();
        assert_eq!(text(response).await, "first half, second half");
        // An answer before the request's end is passed on.
        let early =
            format!("POST /early HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 1000000\r\n\r\nbegin");
        let mut stream = client.connect(Some("http/1.1")).await.unwrap();
        stream.write_all(early.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 418");
    });
    scene.stop();
}

fn many() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    let client = client(&scene);
    run(async {
        let (mut one, mut two) = (client.http1().await, client.http2().await);
        for n in 0..200 {
            assert_eq!(text(one.get(&format!("/{n}")).await.unwrap()).await, "hello");
            assert_eq!(text(two.get(&format!("/{n}")).await.unwrap()).await, "hello");
        }
        let all = (0..50).map(|n| {
            let mut sender = two.sender.clone();
            let request = Request::get(format!("https://{NAME}/{n}")).body(Full::default());
            tokio::spawn(async move {
                sender.ready().await.unwrap();
                text(sender.send_request(request.unwrap()).await.unwrap()).await
            })
        });
        for one in all.collect::<Vec<_>>() {
            assert_eq!(one.await.unwrap(), "hello");
        }
    });
    scene.stop();
}
