//! The certificate's life, and that of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sidekey::dev::{Fault, Matcher};

use crate::application::Application;
use crate::client::{Client, run, serial_of, text};
use crate::scene::{Scene, Setting};
use crate::support::eventually;
use crate::support::trials::Case;

pub(crate) const CASES: [Case; 5] = [
    ("life_replaced_every_second_under_load", &[], replaced_under_load),
    ("life_a_connection_outlives_its_certificate", &[], connection_stays),
    ("life_not_ready_before_the_certificate", &[], not_ready),
    ("life_never_past_its_end", &[], expired),
    ("life_stop_answers_what_is_under_way", &[], drain),
];

/// Replacements; Vault is asked for twenty certificates at once at most.
const REPLACEMENTS: usize = 10;

fn replaced_under_load() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    replace_under_load(&scene, load);
    let metrics = scene.metrics();
    let other = metrics.lines().filter(|line| {
        line.starts_with("sidekey_tls_requests_total")
            && !line.contains("2xx")
            && !line.ends_with(" 0")
    });
    assert_eq!(other.collect::<Vec<_>>(), Vec::<&str>::new());
    scene.stop();
}

/// `load` counts until it is told that it is over, and fails with whatever fails.
pub(crate) fn replace_under_load<F>(
    scene: &Scene,
    load: impl FnOnce(Client, Arc<AtomicBool>, Arc<AtomicUsize>) -> F + Send + 'static,
) where
    F: Future<Output = ()>,
{
    let client = Client::new(scene.addr(), &scene.authority());
    let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = {
        let (client, over, done) = (client.clone(), Arc::clone(&over), Arc::clone(&done));
        std::thread::spawn(move || run(load(client, over, done)))
    };
    let mut serials = vec![scene.serial()];
    for _ in 0..REPLACEMENTS {
        let before = done.load(Ordering::Relaxed);
        let serial = scene.replace();
        // New handshakes show the new one, and only the new one.
        eventually("the new certificate", || {
            let shown = run(async { serial_of(&client.connect(None).await.unwrap()) });
            assert!(shown == serial || shown == *serials.last().unwrap(), "{shown}: {serials:?}");
            (shown == serial).then_some(())
        });
        serials.push(serial);
        eventually("a second of load", || {
            (done.load(Ordering::Relaxed) > before + 200).then_some(())
        });
    }
    over.store(true, Ordering::Relaxed);
    load.join().unwrap();
    let requests = done.load(Ordering::Relaxed);
    assert!(requests > 2000, "{requests}");
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), REPLACEMENTS + 1);
}

/// Four that keep their connections, and two that come anew each time. Each answer counts, and
/// one that is missing fails the test.
async fn load(client: Client, over: Arc<AtomicBool>, done: Arc<AtomicUsize>) {
    let mut tasks = Vec::new();
    for n in 0..6 {
        let (client, over, done) = (client.clone(), Arc::clone(&over), Arc::clone(&done));
        tasks.push(tokio::spawn(async move {
            let (mut one, mut two) = (client.http1().await, client.http2().await);
            while !over.load(Ordering::Relaxed) {
                if n >= 4 {
                    (one, two) = (client.http1().await, client.http2().await);
                }
                assert_eq!(text(one.get("/").await.unwrap()).await, "hello");
                assert_eq!(text(two.get("/").await.unwrap()).await, "hello");
                done.fetch_add(2, Ordering::Relaxed);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

fn connection_stays() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    let client = Client::new(scene.addr(), &scene.authority());
    run(async {
        let mut old = client.http1().await;
        let waiting = {
            let response = old.get("/half").await.unwrap();
            tokio::spawn(text(response))
        };
        let serial = tokio::task::block_in_place(|| scene.replace());
        loop {
            if serial_of(&client.connect(None).await.unwrap()) == serial {
                break;
            }
        }
        application.go.notify_one();
        assert_eq!(waiting.await.unwrap(), "first half, second half");
        assert_eq!(old.get("/").await.unwrap().status(), 200);
    });
    scene.stop();
}

fn not_ready() {
    let application = Application::start();
    let forward = application.addr.to_string();
    let setting = Setting { forward: &forward, lines: "", certificate: "", more: "" };
    let scene = setting.spawn(|vault| {
        let fault = vault.server.faults().on(Matcher::post("pki/sign/web"));
        fault.respond(Fault::status(500)).forever();
    });
    scene.sidecar.wait_for("logged in to Vault");
    let client = Client::new(scene.addr(), &scene.authority());
    let refused = run(client.connect(None)).unwrap_err();
    assert!(refused.to_string().contains("AccessDenied"), "a proper alert: {refused}");
    let ready = scene.sidecar.health("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("web"), "{}", ready.text());
    let line = "sidekey_tls_handshakes_total{adapter=\"web\",outcome=\"no_certificate\"}";
    assert!(scene.count(line) >= Some(1));
    scene.vault.server.faults().clear();
    scene.sidecar.wait_for("certificate in use");
    run(client.is_let_in()).unwrap();
    scene.sidecar.wait_for("ready");
    scene.stop();
}

/// Vault gives no other: at its end the adapter shows none.
fn expired() {
    let application = Application::start();
    let forward = application.addr.to_string();
    let certificate = "ttl = '5s'\nrenew_at_percent = 40";
    let scene = Setting { forward: &forward, lines: "", certificate, more: "" }.start();
    let client = Client::new(scene.addr(), &scene.authority());
    let fault = scene.vault.server.faults().on(Matcher::post("pki/sign/web"));
    fault.respond(Fault::status(500)).forever();
    let ended = eventually("its end", || run(client.connect(None)).err());
    assert!(
        ended.to_string().contains("AccessDenied"),
        "an alert, not an old certificate: {ended}"
    );
    scene.vault.server.faults().clear();
    eventually("another one", || run(client.is_let_in()).ok());
    scene.stop();
}

fn drain() {
    let application = Application::start();
    let scene = Scene::http(application.addr, "");
    let client = Client::new(scene.addr(), &scene.authority());
    let addr = scene.addr();
    run(async {
        let (mut one, mut two, mut idle) =
            (client.http1().await, client.http2().await, client.http2().await);
        idle.get("/").await.unwrap();
        let waits = tokio::spawn(async move { one.get("/wait").await });
        let mut sender = two.sender.clone();
        let also = tokio::spawn(async move {
            sender.ready().await.unwrap();
            let uri = format!("https://{}/wait", crate::scene::NAME);
            let request = http::Request::get(uri).body(http_body_util::Full::default());
            sender.send_request(request.unwrap()).await
        });
        let asked = || application.asked().iter().filter(|asked| asked.target == "/wait").count();
        while asked() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        scene.sidecar.signal(15);
        // Who rests is told to go.
        idle.ended.await.unwrap().unwrap();
        while std::net::TcpStream::connect(addr).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // No request is taken any more on what drains, once its client heard of that.
        while two.get("/late").await.is_ok() {}
        application.go.notify_waiters();
        let response = waits.await.unwrap().unwrap();
        assert_eq!(response.headers()["connection"], "close");
        assert_eq!(text(response).await, "waited");
        let response = also.await.unwrap().unwrap();
        assert_eq!(text(response).await, "waited");
        two.ended.await.unwrap().unwrap();
    });
    let said = scene.sidecar.stderr();
    scene.sidecar.stop_waiting();
    assert!(!said.contains("connections cut"), "{said}");
}
