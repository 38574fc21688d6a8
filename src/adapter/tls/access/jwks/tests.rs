use serde_json::json;

use super::super::jwt::signer::Signer;
use super::super::tests::spec;
use super::fetch::FetchError;
use super::issuer::{TestIssuer, ok};
use super::*;
use crate::config::{JwtSpec, KeyAddress, KeySource};

/// Nothing happens by itself in a test, and whoever asks may.
const AT_ONCE: Timing = Timing {
    refresh: Duration::from_hours(1),
    max_stale: Duration::from_hours(1),
    timeout: Duration::from_secs(20),
    between_looks: Duration::ZERO,
};

fn of(issuer: &TestIssuer) -> JwtSpec {
    let keys = KeySource::Keys(KeyAddress::parse(&issuer.url("/jwks")).unwrap());
    JwtSpec { keys, ca_cert: issuer.ca_path(), ..spec() }
}

struct Scene {
    keys: Keys,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Scene {
    fn start(spec: &JwtSpec, timing: Timing) -> Self {
        let name = SecretName::parse("web").unwrap();
        let keys = Keys::with(&name, spec, timing).unwrap();
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        keys.start(&tracker, stop.clone());
        Self { keys, stop, tracker }
    }

    /// Once the first look is over.
    async fn looked(spec: &JwtSpec, timing: Timing) -> Self {
        let scene = Self::start(spec, timing);
        scene.looks(1).await;
        scene
    }

    async fn looks(&self, looks: u64) {
        let mut states = self.keys.shared.state.subscribe();
        states.wait_for(|state| state.looks >= looks).await.unwrap();
    }

    fn count(&self) -> Option<usize> {
        self.keys.seen().keys.map(|keys| keys.len())
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

async fn error(spec: &JwtSpec, patience: Duration) -> FetchError {
    let Err(error) = Issuer::new(spec).unwrap().keys(patience).await else { panic!("keys came") };
    error
}

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn keys_come_over_https_and_are_replaced_when_asked_for() {
    let issuer = TestIssuer::https().await;
    issuer.publish(&[Signer::p256().jwk("1")]);
    let scene = Scene::looked(&of(&issuer), AT_ONCE).await;
    assert_eq!(scene.count(), Some(1));
    issuer.publish(&[Signer::p256().jwk("1"), Signer::p256().jwk("2")]);
    let newer = scene.keys.newer_than(&scene.keys.seen()).await.unwrap();
    assert_eq!(newer.keys.unwrap().len(), 2);
    assert_eq!(issuer.asked(), 2);
    scene.stop().await;
}

#[tokio::test]
async fn a_storm_of_unknown_keys_is_one_question() {
    let issuer = TestIssuer::https().await;
    issuer.publish(&[Signer::p256().jwk("1")]);
    let timing = Timing { between_looks: Duration::from_hours(1), ..AT_ONCE };
    let scene = Scene::looked(&of(&issuer), timing).await;
    for _ in 0..100 {
        assert!(scene.keys.newer_than(&scene.keys.seen()).await.is_none(), "asked a moment ago");
    }
    assert_eq!(issuer.asked(), 1);
    scene.stop().await;

    // Those who ask at once share one look.
    let scene = Scene::looked(&of(&issuer), AT_ONCE).await;
    let seen = scene.keys.seen();
    let keys = Arc::new(scene.keys);
    let all = TaskTracker::new();
    let together: Vec<_> = (0..100)
        .map(|_| {
            let (keys, seen) = (Arc::clone(&keys), Seen { keys: None, looks: seen.looks });
            all.spawn(async move { keys.newer_than(&seen).await.is_some() })
        })
        .collect();
    for one in together {
        assert!(one.await.unwrap());
    }
    // One for the first scene, one to start with; the hundred may meet the end of a look.
    assert!((3..=4).contains(&issuer.asked()), "{}", issuer.asked());
}

#[tokio::test]
async fn without_the_issuer_the_old_keys_stay_for_their_time() {
    let issuer = TestIssuer::https().await;
    issuer.publish(&[Signer::p256().jwk("1")]);
    let scene = Scene::looked(&of(&issuer), AT_ONCE).await;
    issuer.answer("/jwks", b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n");
    let seen = scene.keys.newer_than(&scene.keys.seen()).await.unwrap();
    assert!(seen.keys.is_some(), "the old ones");
    let given = scene.keys.shared.state.borrow().given.unwrap();
    let after = |time: Duration| scene.keys.shared.seen(given + time).keys.is_some();
    assert!(after(Duration::from_hours(2)));
    assert!(!after(Duration::from_hours(2) + Duration::from_secs(1)));

    // It is back, with nothing: that is its word.
    issuer.publish(&[]);
    let seen = scene.keys.newer_than(&scene.keys.seen()).await.unwrap();
    assert_eq!(seen.keys.unwrap().len(), 0);
    scene.stop().await;
}

#[tokio::test]
async fn it_goes_on_looking_by_itself() {
    let issuer = TestIssuer::http().await;
    issuer.answer("/jwks", &ok(b"<html>"));
    // A failure is followed by another look, a second later at most.
    let timing = Timing { refresh: Duration::from_millis(20), ..AT_ONCE };
    let scene = Scene::start(&of(&issuer), timing);
    issuer.asked_times(2).await;
    assert_eq!(scene.count(), None);
    issuer.publish(&[Signer::p256().jwk("1")]);
    scene.keys.shared.state.subscribe().wait_for(|state| state.keys.is_some()).await.unwrap();
    let asked = issuer.asked();
    issuer.asked_times(asked + 2).await;
    scene.stop().await;
}

#[tokio::test]
async fn a_question_ends_when_the_issuer_does_not_answer() {
    let issuer = TestIssuer::http().await;
    issuer.hang();
    let timing = Timing { timeout: Duration::from_millis(50), ..AT_ONCE };
    let scene = Scene::start(&of(&issuer), timing);
    let seen = scene.keys.newer_than(&scene.keys.seen()).await;
    assert!(seen.is_none_or(|seen| seen.keys.is_none()));
    scene.stop().await;
}

#[tokio::test]
async fn answers_that_are_no_keys() {
    let issuer = TestIssuer::http().await;
    let spec = of(&issuer);
    for garbage in [&b"<html>"[..], b"", b"[]", b"{\"keys\":1}", b"\xff\xfe"] {
        issuer.answer("/jwks", &ok(garbage));
        assert!(matches!(error(&spec, PATIENCE).await, FetchError::NoKeySet(_)), "{garbage:?}");
    }
    for broken in [&b"SSH-2.0\r\n\r\n"[..], b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b""] {
        issuer.answer("/jwks", broken);
        assert!(matches!(error(&spec, PATIENCE).await, FetchError::Broken), "{broken:?}");
    }
    let elsewhere = format!(
        "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        issuer.url("/other")
    );
    issuer.answer("/jwks", elsewhere.as_bytes());
    let asked = issuer.asked();
    assert!(matches!(error(&spec, PATIENCE).await, FetchError::Status(_)));
    assert_eq!(issuer.asked(), asked + 1, "not followed");

    issuer.answer("/jwks", &ok(&vec![b' '; 512 * 1024 + 1]));
    assert!(matches!(error(&spec, PATIENCE).await, FetchError::TooLarge));
    let endless = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &vec![b' '; 4 << 20]].concat();
    issuer.answer("/jwks", &endless);
    assert!(matches!(error(&spec, PATIENCE).await, FetchError::TooLarge));

    issuer.hang();
    let patience = Duration::from_millis(50);
    assert!(matches!(error(&spec, patience).await, FetchError::Timeout(_)));
}

#[tokio::test]
async fn the_issuer_is_who_its_certificate_says() {
    let (issuer, other) = (TestIssuer::https().await, TestIssuer::https().await);
    issuer.publish(&[Signer::p256().jwk("1")]);
    let untrusted = JwtSpec { ca_cert: other.ca_path(), ..of(&issuer) };
    assert!(matches!(error(&untrusted, PATIENCE).await, FetchError::Tls(_)));
    let misnamed = TestIssuer::misnamed().await;
    assert!(matches!(error(&of(&misnamed), PATIENCE).await, FetchError::Tls(_)));
    assert_eq!(issuer.asked() + misnamed.asked(), 0);

    let gone = TestIssuer::http().await.addr;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_ne!(gone, closed);
    let keys = KeySource::Keys(KeyAddress::parse(&format!("http://{closed}/")).unwrap());
    let error = error(&JwtSpec { keys, ..spec() }, PATIENCE).await;
    assert!(matches!(error, FetchError::Connect(_)), "{error}");
}

#[tokio::test]
async fn keys_are_found_through_the_metadata() {
    let issuer = TestIssuer::https().await;
    issuer.publish(&[Signer::p256().jwk("1")]);
    let place = issuer.url("/.well-known/openid-configuration");
    let keys = KeySource::Metadata(KeyAddress::parse(&place).unwrap());
    let spec = JwtSpec { issuer: issuer.url("").into(), keys, ..of(&issuer) };
    let metadata = |name: &str, place: &str| {
        let body = json!({ "issuer": name, "jwks_uri": place, "scopes_supported": ["openid"] });
        issuer.answer("/.well-known/openid-configuration", &ok(body.to_string().as_bytes()));
    };
    metadata(&issuer.url(""), &issuer.url("/jwks"));
    let found = Issuer::new(&spec).unwrap().keys(PATIENCE).await.unwrap();
    assert_eq!(found.len(), 1);

    let asked = issuer.asked();
    for (name, place) in [
        ("https://evil.invalid", issuer.url("/jwks")),
        (&issuer.url("/"), issuer.url("/jwks")),
        (&issuer.url(""), format!("http://localhost:{}/jwks", issuer.addr.port())),
        (&issuer.url(""), "http://evil.invalid/jwks".into()),
        (&issuer.url(""), "https://localhost:1/jwks".into()),
        (&issuer.url(""), "file:///etc/passwd".into()),
    ] {
        metadata(name, &place);
        let error = error(&spec, PATIENCE).await;
        assert!(matches!(error, FetchError::Metadata(_)), "{name} {place}: {error}");
    }
    assert_eq!(issuer.asked(), asked + 6, "the metadata alone");
}
