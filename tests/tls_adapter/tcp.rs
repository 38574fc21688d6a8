//! Bytes on their way through, and who sent them.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixListener;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::application::{Application, Bytewise};
use crate::client::{Client, run};
use crate::scene::{NAME, Scene, Setting};
use crate::support::eventually;
use crate::support::trials::{Case, GO};

pub(crate) const CASES: [Case; 7] = [
    ("tcp_each_way_has_its_own_end", &[], half_close),
    ("tcp_a_cut_is_not_an_end", &[], cut),
    ("tcp_protocol_is_agreed_on", &[], alpn),
    ("tcp_protocol_is_agreed_on_with_go", &[GO], go_http2),
    ("tcp_application_is_told_who_connected", &[], announced),
    ("tcp_application_at_a_unix_socket", &[], unix),
    ("proxy_header_of_a_load_balancer_alone", &[], balancer),
];

fn half_close() {
    let application = Bytewise::start(false);
    let scene = Scene::http(application.addr, "mode = 'tcp'");
    let client = Client::new(scene.addr(), &scene.authority());
    run(async {
        let mut stream = client.connect(None).await.unwrap();
        let mut welcome = [0; 8];
        // The application speaks first.
        stream.read_exact(&mut welcome).await.unwrap();
        let question = vec![b'q'; 3 << 20];
        let (mut from, mut to) = tokio::io::split(stream);
        let sent = async {
            to.write_all(&question).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let mut answer = Vec::new();
        let ((), read) = tokio::join!(sent, from.read_to_end(&mut answer));
        read.unwrap();
        assert_eq!(answer.len(), question.len() + 8);
        assert!(answer.ends_with(b"goodbye\n"));
    });
    eventually("the end", || (*application.ends.lock().unwrap() == [true]).then_some(()));
    scene.counted("sidekey_tls_connections_total{adapter=\"web\",outcome=\"done\"}", 1);
    scene.stop();
}

/// TCP's end without TLS's is a cut: half a message is not to look like a whole one.
fn cut() {
    let application = Bytewise::start(false);
    let scene = Scene::http(application.addr, "mode = 'tcp'");
    let client = Client::new(scene.addr(), &scene.authority());
    run(async {
        let mut stream = client.connect(None).await.unwrap();
        stream.write_all(b"half a mess").await.unwrap();
        let mut back = [0; 19];
        stream.read_exact(&mut back).await.unwrap();
        let (mut tcp, _) = stream.into_inner();
        tcp.shutdown().await.unwrap();
        eventually("the cut", || (*application.ends.lock().unwrap() == [false]).then_some(()));
    });
    let line = "sidekey_tls_connections_total{adapter=\"web\",outcome=\"broken\"}";
    scene.counted(line, 1);
    scene.stop();
}

/// An application that speaks HTTP/2, as those of gRPC do, whose clients insist on ALPN: it sends
/// bodies back.
fn http2_application() -> (Runtime, SocketAddr) {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let addr = listener.local_addr().unwrap();
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(async |request: Request<Incoming>| {
                Ok::<_, Infallible>(Response::new(request.into_body()))
            });
            let served = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(served.serve_connection(TokioIo::new(stream), service));
        }
    });
    (runtime, addr)
}

/// Its HTTP client, told to speak nothing else.
fn go_http2() {
    let (_runtime, addr) = http2_application();
    let scene = Scene::http(addr, "mode = 'tcp'\nalpn = ['h2']");
    let mut command = crate::support::go::hybrid().unwrap();
    command.args(["http2", &scene.addr().to_string(), NAME]).arg(scene.authority_file());
    let output = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "HTTP/2.0 message\n", "{complaint}");
    scene.stop();
}

fn alpn() {
    let (_runtime, addr) = http2_application();
    let scene = Scene::http(addr, "mode = 'tcp'\nalpn = ['h2', 'postgresql']");
    let client = Client::new(scene.addr(), &scene.authority());
    run(async {
        let mut http2 = client.http2().await;
        let request = Request::post(format!("https://{NAME}/service/Method"));
        let request = request.body(Full::from("message")).unwrap();
        let response = http2.sender.send_request(request).await.unwrap();
        assert_eq!(crate::client::text(response).await, "message");
        let other = client.connect(Some("postgresql")).await.unwrap();
        assert_eq!(other.get_ref().1.alpn_protocol(), Some(&b"postgresql"[..]));
        let none = client.connect(None).await.unwrap();
        assert_eq!(none.get_ref().1.alpn_protocol(), None);
        let refused = client.connect(Some("gopher")).await.unwrap_err();
        assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    });
    scene.stop();
}

fn announced() {
    let application = Bytewise::start(true);
    let lines =
        "mode = 'tcp'\nproxy_protocol = 'v2'\nclient_auth = 'optional'\nclient_ca = 'vault'";
    let scene = Scene::http(application.addr, lines);
    let pair = scene.client("a", "1h");
    let client = Client::with(scene.addr(), &scene.authority(), Some(&pair));
    let local = run(async {
        let mut stream = client.connect(None).await.unwrap();
        let mut welcome = [0; 8];
        stream.read_exact(&mut welcome).await.unwrap();
        stream.get_ref().0.local_addr().unwrap()
    });
    let header = application.headers.lock().unwrap().last().unwrap().clone();
    let ports = [local.port().to_be_bytes(), scene.addr().port().to_be_bytes()].concat();
    let expected = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..],
        &header[14..16],
        &[127, 0, 0, 1, 127, 0, 0, 1],
        &ports,
    ]
    .concat();
    assert!(header.starts_with(&expected), "{header:?}");
    let text = String::from_utf8_lossy(&header[expected.len()..]).into_owned();
    for part in [NAME, "TLSv1.3", "a.example.io"] {
        assert!(text.contains(part), "{text:?}");
    }
    scene.stop();
}

/// Under the sandbox.
fn unix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let name = format!("sidekey-tls-{}", std::process::id());
    let with_file = UnixListener::bind(&path).unwrap();
    let of_name = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let without = UnixListener::bind_addr(&of_name).unwrap();
    for (forward, listener) in
        [(format!("unix:{}", path.display()), with_file), (format!("@{name}"), without)]
    {
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                stream.write_all(b"welcome").unwrap();
            }
        });
        let lines = "mode = 'tcp'";
        let setting = Setting { forward: &forward, lines, certificate: "", more: "" };
        let scene = setting.start();
        let client = Client::new(scene.addr(), &scene.authority());
        run(async {
            let mut stream = client.connect(None).await.unwrap();
            let mut said = [0; 7];
            stream.read_exact(&mut said).await.unwrap();
            assert_eq!(&said, b"welcome");
        });
        scene.stop();
    }
}

fn balancer() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "accept_proxy_from = ['127.0.0.0/8']");
    let client = Client::new(scene.addr(), &scene.authority());
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24".to_vec();
    let there: SocketAddr = "[2001:db8::77]:1".parse().unwrap();
    let SocketAddr::V6(ip) = there else { unreachable!() };
    v2.extend([ip.ip().octets(), ip.ip().octets()].concat());
    v2.extend([0, 1, 0x20, 0xfb]);
    run(async {
        for (header, client_ip, port) in [
            (&b"PROXY TCP4 203.0.113.9 198.51.100.2 56324 443\r\n"[..], "203.0.113.9", "443"),
            (&v2[..], "2001:db8::77", "8443"),
            (&b"PROXY UNKNOWN\r\n"[..], "127.0.0.1", ""),
        ] {
            let mut tcp = TcpStream::connect(scene.addr()).await.unwrap();
            tcp.write_all(header).await.unwrap();
            let mut stream = client.secure(tcp, Some("http/1.1")).await.unwrap();
            let get = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
            stream.write_all(get.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            let asked = application.last();
            assert_eq!(asked.header("x-forwarded-for"), [client_ip]);
            if !port.is_empty() {
                assert_eq!(asked.header("x-forwarded-port"), [port]);
            }
        }
        // A load balancer always says for whom.
        assert!(client.connect(None).await.is_err());
    });
    let line = "sidekey_tls_handshakes_total{adapter=\"web\",outcome=\"proxy_header\"}";
    scene.counted(line, 1);
    scene.stop();

    // From anybody else the header is not TLS.
    let scene = Scene::http(application.addr, "accept_proxy_from = ['10.0.0.0/8']");
    let client = Client::new(scene.addr(), &scene.authority());
    run(async {
        let mut tcp = TcpStream::connect(scene.addr()).await.unwrap();
        tcp.write_all(b"PROXY TCP4 203.0.113.9 198.51.100.2 56324 443\r\n").await.unwrap();
        assert!(client.secure(tcp, None).await.is_err());
        client.is_let_in().await.unwrap();
    });
    assert_eq!(application.last().header("x-forwarded-for"), ["127.0.0.1"]);
    scene.stop();
}
