//! `?wait=`: what it waits for, and what ends it.

use tokio::task::JoinHandle;

use super::*;

/// A door whose `slow` is cached by the first question alone, and one who waits for its password.
struct Scene {
    door: Arc<Running>,
    key: EtagKey,
    etag: String,
}

impl Scene {
    fn new() -> Self {
        let key = EtagKey::random().unwrap();
        let scene =
            Self { door: start(default_rules(), limits()).into(), key, etag: String::new() };
        let secret = scene.set("first", "alice");
        Self { etag: format!("\"{}\"", secret.field_etag("password").unwrap()), ..scene }
    }

    fn set(&self, password: &str, user: &str) -> Arc<Secret> {
        let json = serde_json::json!({ "password": password, "user": user }).to_string();
        let secret = Arc::new(render(&json, &self.key, None, None).unwrap());
        let answer = Served { secret: Arc::clone(&secret), ..served(&json) };
        self.door.source.set("slow", Ok(answer));
        secret
    }

    fn changes(&self) {
        self.door.source.changed.send_modify(|changes| *changes += 1);
    }

    /// Asks, and comes back once the question waits for a change.
    async fn wait(&self) -> JoinHandle<Reply> {
        let (door, etag) = (Arc::clone(&self.door), self.etag.clone());
        let asked = self.door.tracker.spawn(async move {
            let header = format!("If-None-Match: {etag}\r\n");
            door.get_with("/secrets/slow/password?wait=1m", &header).await
        });
        self.asked(2, &asked).await;
        asked
    }

    /// Until the source was asked `times` times, and somebody waits for it to change.
    async fn asked(&self, times: usize, by: &JoinHandle<Reply>) {
        let waits = || self.door.source.changed.receiver_count() > 0;
        while self.door.calls() < times || !waits() {
            assert!(!by.is_finished(), "it does not wait");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_was_not_cached_before_is_waited_for_too() {
    let scene = Scene::new();
    let waiting = scene.wait().await;
    scene.set("second", "alice");
    scene.changes();
    let reply = waiting.await.unwrap();
    assert_eq!((reply.status, reply.text()), (200, "second"));
    assert_ne!(reply.header("etag"), Some(&*scene.etag));
}

#[tokio::test]
async fn another_field_that_changes_ends_no_wait() {
    let scene = Scene::new();
    let waiting = scene.wait().await;
    scene.set("first", "bob");
    scene.changes();
    scene.asked(3, &waiting).await;
    scene.set("second", "bob");
    scene.changes();
    assert_eq!(waiting.await.unwrap().text(), "second");
    assert_eq!(scene.door.calls(), 4);
}

#[tokio::test]
async fn other_rules_end_it_with_what_the_asker_has() {
    let scene = Scene::new();
    let waiting = scene.wait().await;
    scene.set("for the new rules alone", "alice");
    scene.door.policy.store(policy(default_rules(), limits()).shared().load_full());
    scene.changes();
    let reply = waiting.await.unwrap();
    assert_eq!((reply.status, reply.body.len()), (304, 0), "{}", reply.head);
    assert_eq!(reply.header("etag"), Some(&*scene.etag));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    // Of what there is now, it says nothing.
    for header in ["sidekey-version", "sidekey-freshness", "sidekey-expires-in"] {
        assert_eq!(reply.header(header), None);
    }
    assert_eq!(scene.door.calls(), 2);
}
