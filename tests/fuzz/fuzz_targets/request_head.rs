//! Any bytes on a connection of the local door, by themselves or inside a good request:
//! answered or refused, and the value never without the token.
#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use sidekey::cache::{Freshness, ReadError, Rotations, Served};
use sidekey::config::{Environment, SecretName, Sources, load_text};
use sidekey::memory::SecretBuf;
use sidekey::observe::Metrics;
use sidekey::secret::{EtagKey, Secret, render};
use sidekey::server::{Context, Policy, Source, serve_connection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

const TOKEN: &str = "token-0123456789";
const VALUE: &str = "the-value";

/// Has one value for every name.
struct Fixed(Arc<Secret>, Rotations);

impl Fixed {
    fn served(&self) -> Served {
        let (freshness, age) = (Freshness::Fresh, Duration::ZERO);
        Served { secret: Arc::clone(&self.0), version: 1, freshness, age, expires_in: None }
    }
}

impl Source for Fixed {
    async fn get(&self, _: &SecretName, _: Option<u64>) -> Result<Served, ReadError> {
        Ok(self.served())
    }

    async fn get_living(&self, _: &SecretName, _: Duration) -> Result<Served, ReadError> {
        Ok(self.served())
    }

    fn changes(&self, _: &SecretName) -> Option<watch::Receiver<u64>> {
        None
    }

    fn rotations(&self) -> &Rotations {
        &self.1
    }

    fn cached(&self, _: &SecretName) -> Option<Result<Served, ReadError>> {
        Some(Ok(self.served()))
    }

    fn peek(&self, _: &SecretName) -> Option<Served> {
        Some(self.served())
    }

    async fn refresh(&self, _: &SecretName) -> Result<Served, ReadError> {
        Ok(self.served())
    }
}

static DOOR: LazyLock<(Runtime, Arc<Fixed>, Context)> = LazyLock::new(|| {
    let token = Arc::new(SecretBuf::copy_from(TOKEN.as_bytes()));
    let secrets =
        BTreeMap::from(["VAULT_TOKEN", "SIDEKEY_TOKEN"].map(|n| (n.into(), token.clone())));
    let environment = Environment { secrets, ..Environment::default() };
    let sources = Sources { environment, ..Sources::default() };
    let text = "[secrets.a]\npath = \"secret/data/a\"\n";
    let config = load_text(text, sources).expect("a configuration").config;
    let names: Vec<_> =
        config.declarations().into_iter().map(|(name, what)| (name, what.kind())).collect();
    let policy = Policy::new(config.callers, names, config.limits).shared();
    let key = EtagKey::random().expect("randomness");
    let data = format!("{{\"f\":\"{VALUE}\"}}");
    let secret = Arc::new(render(&data, &key, None, None).expect("a secret"));
    // With the clock standing still, a connection that nothing more comes on times out at once.
    let builder = Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = builder.expect("a runtime");
    (runtime, Arc::new(Fixed(secret, Rotations::new())), Context { policy, metrics: Metrics::new("0"), audit: None })
});

/// `+` puts the rest among the headers of a request without a token, `*` of one with it.
fn sent(bytes: &[u8]) -> Vec<u8> {
    let request = "GET /secrets/a/f HTTP/1.1\r\nHost: localhost\r\n";
    let token = format!("{request}Authorization: Bearer {TOKEN}\r\n");
    match bytes.split_first() {
        Some((b'+', rest)) => [request.as_bytes(), rest, b"\r\n\r\n"].concat(),
        Some((b'*', rest)) => [token.as_bytes(), rest, b"\r\n\r\n"].concat(),
        _ => bytes.to_vec(),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let sent = sent(bytes);
    let (runtime, source, context) = &*DOOR;
    let answer = runtime.block_on(async {
        let (mut near, far) = UnixStream::pair().expect("a pair of sockets");
        let serving = serve_connection(far, Arc::clone(source), context.clone());
        let asking = async {
            let _ = near.write_all(&sent).await;
            let mut answer = Vec::new();
            let _ = near.read_to_end(&mut answer).await;
            answer
        };
        tokio::join!(asking, serving).0
    });
    let holds = |text: &[u8], part: &str| text.windows(part.len()).any(|w| w == part.as_bytes());
    assert!(!holds(&answer, VALUE) || holds(&sent, TOKEN), "a value for nobody");
    assert!(bytes != b"*" || holds(&answer, VALUE), "no value for the caller");
});
