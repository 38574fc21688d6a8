//! How much plaintext exists at once while it is served. Counted in plain memory, where every
//! copy can be seen.

use std::time::Instant;

use serde_json::json;

use super::client::Client;
use super::secrets::random;
use super::stage::settle;
use super::support::eventually;
use super::support::needle::Needles;
use super::support::scan;
use super::support::sidecar::{Builder, Sidecar};
use super::support::vault::{Dev, TestVault};

const CONNECTIONS: usize = 8;

struct Scene {
    sidecar: Sidecar,
    needles: Needles,
    token: String,
}

impl Scene {
    fn start(vault: &Dev) -> Self {
        let (token, value) = (random("t", 50), random("v", 60));
        // What is searched for comes last, so that it is not written while a reader is stuck.
        vault.put("big", json!({ "a": "x".repeat(1 << 20), "z": value }));
        vault.put("small", json!({ "z": value }));
        let sidecar = Builder::serve()
            .args(&["--secret", "big=secret/data/big"])
            .on_free_ports()
            .env("VAULT_ADDR", &vault.url())
            .env("VAULT_TOKEN", &vault.root_token())
            .env("SIDEKEY_TOKEN", &token)
            .uid(65534)
            .memlock(0)
            .start();
        Self { sidecar, needles: Needles::new([("value", &*value)]), token }
    }

    /// Whole copies of the value in the process.
    fn copies(&self) -> usize {
        scan::process(self.sidecar.pid(), &self.needles).copies_and_fragments().0
    }

    fn copies_at_rest(&self) -> usize {
        settle(self.sidecar.pid());
        self.copies()
    }

    /// As many readers as there are connections, each stuck in an answer.
    fn stuck(&self, path: &str) -> Vec<Client> {
        let host = self.sidecar.addr().to_string();
        let connect = |_| Client::narrow(self.sidecar.addr(), &self.token);
        let mut readers: Vec<Client> = (0..CONNECTIONS).map(connect).collect();
        for reader in &mut readers {
            // Of the first ones, the kernel takes everything.
            (0..8).for_each(|_| reader.ask_only(&host, path));
            reader.read_some(1000);
        }
        readers
    }
}

/// What is stored is sent from where it is stored. What has to be made for an answer exists once
/// for each connection, until the kernel has taken it.
pub fn bounded_by_connections(vault: &Dev) {
    let scene = Scene::start(vault);
    let cached = scene.copies_at_rest();
    assert!((1..=2).contains(&cached), "{cached} copies cached");
    let readers = scene.stuck("/secrets/big");
    assert_eq!(scene.copies_at_rest(), cached, "as JSON");
    drop(readers);
    let readers = scene.stuck("/secrets/big?format=env");
    let made = scene.copies_at_rest();
    eprintln!("{cached} copies cached; {made} with {CONNECTIONS} answers made and not read");
    assert_eq!(made, cached + CONNECTIONS, "as environment file");
    drop(readers);
    let gone = || (scene.copies() == cached).then_some(());
    eventually("the copies of readers that vanished to be wiped", gone);
    under_load(&scene, cached);
    scene.sidecar.stop();
}

/// By Little's law, the copies that exist at once, divided by the answers in a second, are the
/// time that each exists.
fn under_load(scene: &Scene, cached: usize) {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    const SEARCHES: usize = 10;
    let (over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let host = scene.sidecar.addr().to_string();
    let mut seen = Vec::new();
    let (mut seconds, mut served) = (0.0, 0);
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            let mut client = Client::tcp(scene.sidecar.addr(), &scene.token);
            let (host, over, answers) = (&host, &over, &answers);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(client.get(host, "/secrets/big?format=env"), 200);
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..SEARCHES {
            let (start, before) = (Instant::now(), answers.load(Ordering::Relaxed));
            eventually("answers between two searches", || {
                (answers.load(Ordering::Relaxed) > before + 2 * CONNECTIONS).then_some(())
            });
            seconds += start.elapsed().as_secs_f64();
            served += answers.load(Ordering::Relaxed) - before;
            seen.push(scene.copies().saturating_sub(cached));
        }
        over.store(true, Ordering::Relaxed);
    });
    let most = seen.iter().max().copied().unwrap_or_default();
    eprintln!("under load: copies beyond the cached {seen:?}; {served} answers in {seconds:.2} s");
    // One being made and moved, and one being sent.
    assert!(most <= 2 * CONNECTIONS, "{seen:?}");
}
