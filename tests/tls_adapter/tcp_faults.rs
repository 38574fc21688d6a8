//! Bytes on their way through, when something is in the way.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, split};

use crate::application::Bytewise;
use crate::client::{Client, Stream, run};
use crate::life::replace_under_load;
use crate::scene::{Scene, Setting};
use crate::support::eventually;
use crate::support::trials::Case;

pub(crate) const CASES: [Case; 6] = [
    ("tcp_replaced_every_second_under_load", &[], replaced),
    ("tcp_application_down_and_back", &[], application_down),
    ("tcp_slow_reader_is_bounded", &[], slow_reader),
    ("tcp_silence_is_no_end", &[], silence),
    ("tcp_what_rests_ends_at_the_stop", &[], stop),
    ("tcp_what_the_stop_cuts_is_reset", &[], stop_cuts),
];

fn ended(word: &str) -> String {
    format!("sidekey_tls_connections_total{{adapter=\"web\",outcome=\"{word}\"}}")
}

fn start(application: &Bytewise, lines: &str) -> (Scene, Client) {
    let scene = Scene::http(application.addr, &format!("mode = 'tcp'\n{lines}"));
    let client = Client::new(scene.addr(), &scene.authority());
    (scene, client)
}

/// A connection, greeted.
async fn greeted(client: &Client) -> Stream {
    let mut stream = client.connect(None).await.unwrap();
    let mut welcome = [0; 8];
    stream.read_exact(&mut welcome).await.unwrap();
    assert_eq!(&welcome, b"welcome\n");
    stream
}

async fn exchange(stream: &mut Stream) {
    stream.write_all(b"question").await.unwrap();
    let mut back = [0; 8];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"question");
}

fn replaced() {
    let application = Bytewise::start(false);
    let (scene, _) = start(&application, "");
    replace_under_load(&scene, load);
    // Others than those of the load, which look at the certificate and go, do not end in order.
    let ends = application.ends.lock().unwrap();
    let in_order = ends.iter().filter(|in_order| **in_order).count();
    assert!(in_order > 500, "{in_order}");
    scene.counted(&ended("done"), u64::try_from(in_order).unwrap());
    scene.stop();
}

/// Four that keep their connections, and two that come anew each time.
async fn load(client: Client, over: Arc<AtomicBool>, done: Arc<AtomicUsize>) {
    let tasks = [0, 1, 2, 3, 4, 5].map(|n| {
        let (client, over, done) = (client.clone(), Arc::clone(&over), Arc::clone(&done));
        tokio::spawn(async move {
            let mut stream = greeted(&client).await;
            while !over.load(Ordering::Relaxed) {
                exchange(&mut stream).await;
                if n >= 4 {
                    end(stream).await;
                    stream = greeted(&client).await;
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
            end(stream).await;
        })
    });
    for task in tasks {
        task.await.unwrap();
    }
}

/// In order, by both sides.
async fn end(mut stream: Stream) {
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "goodbye\n");
}

fn application_down() {
    let application = Bytewise::start(false);
    let addr = application.addr;
    let (scene, client) = start(&application, "");
    run(async { end(greeted(&client).await).await });
    // The runtime's threads are joined, and with it the port is free.
    std::thread::spawn(move || drop(application)).join().unwrap();
    run(async {
        for _ in 0..2 {
            let mut stream = client.connect(None).await.unwrap();
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said).await;
            assert_eq!(said, b"");
        }
    });
    let line =
        "sidekey_tls_application_errors_total{adapter=\"web\",error=\"application_unreachable\"}";
    scene.counted(line, 2);
    scene.counted(&ended("application_unreachable"), 2);
    scene.sidecar.wait_for("application out of reach");
    let application = Bytewise::start_at(addr, false);
    run(async { end(greeted(&client).await).await });
    scene.sidecar.wait_for("application answers again");
    drop(application);
    assert_eq!(scene.stop().matches("application out of reach").count(), 1);
}

const READERS: usize = 4;
/// 16 KiB each way, and what TLS holds, for each of them; with room for the allocator.
const OUR_SHARE: u64 = 8 << 10;

/// Sends without an end to everybody; what it got rid of, in bytes.
fn endless() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (addr, sent) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
    let count = Arc::clone(&sent);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let count = Arc::clone(&count);
            std::thread::spawn(move || {
                let piece = [b'x'; 16 << 10];
                while let Ok(sent @ 1..) = stream.write(&piece) {
                    count.fetch_add(sent, Ordering::Relaxed);
                }
            });
        }
    });
    (addr, sent)
}

fn slow_reader() {
    let (addr, sent) = endless();
    let scene = Scene::http(addr, "mode = 'tcp'\nidle_timeout = '3s'");
    let client = Client::new(scene.addr(), &scene.authority());
    run(async {
        let before = scene.sidecar.resident();
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let mut stream = client.connect(None).await.unwrap();
            stream.read_exact(&mut [0; 1000]).await.unwrap();
            readers.push(stream);
        }
        let mut last = (0, Instant::now());
        eventually("everything to be full", || {
            let now = sent.load(Ordering::Relaxed);
            if now != last.0 {
                last = (now, Instant::now());
            }
            (now > 0 && last.1.elapsed() > Duration::from_millis(500)).then_some(())
        });
        let grown = scene.sidecar.resident().saturating_sub(before);
        assert!(grown < OUR_SHARE, "{grown} KiB more");
        scene.counted(&ended("write_timeout"), u64::try_from(READERS).unwrap());
    });
    scene.stop();
}

/// Who says nothing more may have been in the middle of something.
fn silence() {
    let application = Bytewise::start(false);
    let (scene, client) = start(&application, "idle_timeout = '300ms'");
    run(async {
        let mut stream = greeted(&client).await;
        stream.write_all(b"half a mess").await.unwrap();
        stream.read_exact(&mut [0; 11]).await.unwrap();
        stream.read(&mut [0; 1]).await.unwrap_err();
        eventually("the cut", || (*application.ends.lock().unwrap() == [false]).then_some(()));
    });
    scene.counted(&ended("idle"), 1);
    scene.stop();
}

fn stop() {
    let application = Bytewise::start(false);
    let (scene, client) = start(&application, "");
    run(async {
        let mut stream = greeted(&client).await;
        exchange(&mut stream).await;
        scene.sidecar.signal(15);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("an end in order");
    });
    eventually("its end", || (*application.ends.lock().unwrap() == [true]).then_some(()));
    let said = scene.sidecar.stderr();
    scene.sidecar.stop_waiting();
    assert!(!said.contains("connections cut"), "{said}");
}

/// With something always on the way, and nothing in a buffer, whose loss would reset it as well.
fn stop_cuts() {
    let application = Bytewise::start(false);
    let forward = application.addr.to_string();
    let more = "[life]\nshutdown_deadline = '2s'";
    let setting = Setting { forward: &forward, lines: "mode = 'tcp'", certificate: "", more };
    let scene = setting.start();
    let client = Client::new(scene.addr(), &scene.authority());
    run(async {
        let (mut from, mut to) = split(greeted(&client).await);
        let drips = tokio::spawn(async move {
            while to.write_all(b"x").await.is_ok() && to.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        from.read_u8().await.unwrap();
        scene.sidecar.signal(15);
        let end = loop {
            match from.read(&mut [0; 64]).await {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        end.expect_err("no end in order");
        drips.await.unwrap();
    });
    eventually("the cut", || (*application.ends.lock().unwrap() == [false]).then_some(()));
    let said = scene.sidecar.stderr();
    scene.sidecar.stop_waiting();
    assert!(said.contains("connections cut"), "{said}");
}
