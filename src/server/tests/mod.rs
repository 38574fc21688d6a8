//! The whole door over real sockets, with raw bytes on one side and a fake source on the other.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::cache::Freshness;
use crate::config::{AbstractName, Allow, CallerRule, Limits, LoopbackAddr, NameKind, TokenSource};
use crate::memory::SecretBuf;
use crate::secret::{EtagKey, Secret, render};

mod answers;
mod audit;
mod callers;
mod certificates;
mod connections;
mod guards;
mod health;
mod keystores;
mod throughput;
mod waiting;

/// Counts what is asked of it, and answers from a map.
pub(super) struct FakeSource {
    pub(super) secrets: Mutex<HashMap<String, Result<Served, ReadError>>>,
    pub(super) calls: AtomicUsize,
    /// `get` waits for a permit; there are plenty unless a test takes them.
    pub(super) gate: Semaphore,
    pub(super) rotations: Rotations,
    pub(super) changed: watch::Sender<u64>,
}

impl FakeSource {
    fn answer(&self, name: &SecretName) -> Result<Served, ReadError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let secrets = self.secrets.lock().unwrap();
        secrets.get(name.as_str()).cloned().unwrap_or(Err(ReadError::NotReady))
    }

    pub(super) fn set(&self, name: &str, answer: Result<Served, ReadError>) {
        self.secrets.lock().unwrap().insert(name.into(), answer);
    }
}

impl Source for FakeSource {
    async fn get(&self, name: &SecretName, version: Option<u64>) -> Result<Served, ReadError> {
        let _permit = self.gate.acquire().await;
        let served = self.answer(name)?;
        match version {
            Some(version) if version != served.version => Err(ReadError::NoSuchVersion),
            _ => Ok(served),
        }
    }

    async fn get_living(&self, name: &SecretName, ttl: Duration) -> Result<Served, ReadError> {
        let served = self.answer(name)?;
        match served.expires_in {
            Some(left) if left < ttl => Err(ReadError::MinTtlUnmet),
            _ => Ok(served),
        }
    }

    /// Nothing is cached before the first answer.
    fn changes(&self, _name: &SecretName) -> Option<watch::Receiver<u64>> {
        (self.calls.load(Ordering::Relaxed) > 0).then(|| self.changed.subscribe())
    }

    fn rotations(&self) -> &Rotations {
        &self.rotations
    }

    fn cached(&self, name: &SecretName) -> Option<Result<Served, ReadError>> {
        if name.as_str().starts_with("slow") {
            return None;
        }
        Some(self.answer(name))
    }

    fn peek(&self, name: &SecretName) -> Option<Served> {
        self.secrets.lock().unwrap().get(name.as_str())?.clone().ok()
    }

    async fn refresh(&self, name: &SecretName) -> Result<Served, ReadError> {
        self.answer(name).map(|served| Served { version: served.version + 1, ..served })
    }
}

pub(super) fn secret(json: &str) -> Arc<Secret> {
    Arc::new(render(json, &EtagKey::random().unwrap(), None, None).unwrap())
}

pub(super) fn served(json: &str) -> Served {
    Served {
        secret: secret(json),
        version: 7,
        freshness: Freshness::Fresh,
        age: Duration::from_secs(3),
        expires_in: None,
    }
}

pub(super) fn limits() -> Limits {
    Limits {
        max_connections: 64,
        header_timeout: Duration::from_secs(5),
        write_timeout: Duration::from_secs(10),
        requests_per_second: None,
        total_requests_per_second: None,
        refusals_per_second: 1000,
        cache_bytes: 1 << 20,
    }
}

pub(super) fn rule(name: &str, token: Option<&str>, allow: &[&str]) -> CallerRule {
    let names = allow.iter().map(|name| SecretName::parse(name).unwrap()).collect();
    CallerRule {
        name: name.into(),
        uids: None,
        token: token
            .map(|token| TokenSource::Environment(SecretBuf::copy_from(token.as_bytes()).into())),
        allow: Allow::Names(names),
    }
}

pub(super) fn everything(name: &str, token: &str) -> CallerRule {
    CallerRule { allow: Allow::Everything, ..rule(name, Some(token), &[]) }
}

/// `t-app` may read `db` and `slow`; `t-all` may read everything.
pub(super) fn default_rules() -> Vec<CallerRule> {
    vec![rule("app", Some("t-app"), &["db", "slow"]), everything("all", "t-all")]
}

pub(super) fn policy(rules: Vec<CallerRule>, limits: Limits) -> Policy {
    let names = ["db", "slow", "web", "big"].map(|name| SecretName::parse(name).unwrap());
    let certificate = SecretName::parse("cert").unwrap();
    let names = names.map(|name| (name, NameKind::Secret));
    Policy::new(rules, names.into_iter().chain([(certificate, NameKind::Certificate)]), limits)
}

/// A running door.
pub(super) struct Running {
    pub(super) addr: SocketAddr,
    pub(super) unix: AbstractName,
    pub(super) source: Arc<FakeSource>,
    pub(super) metrics: Metrics,
    pub(super) policy: SharedPolicy,
    pub(super) keystores: Arc<KeystoreThread>,
    pub(super) tracker: TaskTracker,
    pub(super) cancel: CancellationToken,
}

pub(super) fn start(rules: Vec<CallerRule>, limits: Limits) -> Running {
    start_on("127.0.0.1:0", rules, limits, None)
}

pub(super) fn start_on(
    listen: &str,
    rules: Vec<CallerRule>,
    limits: Limits,
    audit: Option<Audit>,
) -> Running {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let (next, pid) = (NEXT.fetch_add(1, Ordering::Relaxed), std::process::id());
    let unix = AbstractName::parse(&format!("@sidekey-test-{pid}-{next}")).unwrap();
    let tcp = vec![LoopbackAddr::new(listen.parse().unwrap()).unwrap()];
    let bound = Server::bind(&Listen { tcp, unix: Some(unix.clone()) }, None).unwrap();
    let addr = bound.tcp_addrs()[0];
    let source = FakeSource {
        secrets: Mutex::default(),
        calls: AtomicUsize::new(0),
        gate: Semaphore::new(1000),
        rotations: Rotations::new(),
        changed: watch::Sender::new(0),
    };
    source.set("db", Ok(served(r#"{"password":"canary-db","port":5432,"o":{"a":1}}"#)));
    source.set("slow", Ok(served(r#"{"password":"canary-slow"}"#)));
    let running = Running {
        addr,
        unix,
        source: Arc::new(source),
        metrics: Metrics::new("test"),
        policy: policy(rules, limits).shared(),
        keystores: Arc::clone(&bound.keystores),
        tracker: TaskTracker::new(),
        cancel: CancellationToken::new(),
    };
    let context =
        Context { policy: Arc::clone(&running.policy), metrics: running.metrics.clone(), audit };
    let source = Arc::clone(&running.source);
    bound.serve(source, context, &running.tracker, running.cancel.clone());
    running
}

impl Running {
    pub(super) async fn connect(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.addr).await.unwrap())
    }

    /// One request on a connection of its own. `{HOST}` stands for our own name.
    pub(super) async fn ask(&self, request: &str) -> Reply {
        let request = request.replace("{HOST}", &format!("127.0.0.1:{}", self.addr.port()));
        self.connect().await.ask(&request).await.expect("an answer")
    }

    /// `GET target` as the caller who may read everything.
    pub(super) async fn get(&self, target: &str) -> Reply {
        self.get_with(target, "").await
    }

    /// The same with more headers, each with its line end.
    pub(super) async fn get_with(&self, target: &str, headers: &str) -> Reply {
        let head = "Host: {HOST}\r\nAuthorization: Bearer t-all\r\n";
        self.ask(&format!("GET {target} HTTP/1.1\r\n{head}{headers}\r\n")).await
    }

    pub(super) fn calls(&self) -> usize {
        self.source.calls.load(Ordering::Relaxed)
    }

    pub(super) async fn stop(self) {
        self.cancel.cancel();
        self.tracker.close();
        let patience = Duration::from_secs(20);
        tokio::time::timeout(patience, self.tracker.wait()).await.expect("the door stops");
    }
}

/// Writes raw bytes, reads answers.
pub(super) struct Client<T> {
    pub(super) stream: T,
    read: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The stable code of a problem, or nothing.
    pub(super) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    pub(super) fn new(stream: T) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub(super) async fn ask(&mut self, request: &str) -> Option<Reply> {
        self.send(request.as_bytes()).await;
        self.reply(!request.starts_with("HEAD ")).await
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        // The other side may have closed already; the answer tells.
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next answer; `None` when the connection is closed instead.
    pub(super) async fn reply(&mut self, with_body: bool) -> Option<Reply> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, head, body: Vec::new() };
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        if with_body && status != 304 {
            while self.read.len() < length {
                self.more().await?;
            }
            reply.body = self.read.drain(..length).collect();
        }
        Some(reply)
    }

    /// True when the other side closes within a second without a further byte.
    pub(super) async fn is_closed(&mut self) -> bool {
        let closed = tokio::time::timeout(Duration::from_secs(1), self.more()).await;
        closed.is_ok_and(|more| more.is_none()) && self.read.is_empty()
    }

    async fn more(&mut self) -> Option<()> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk).await {
            Ok(0) | Err(_) => None,
            Ok(read) => {
                self.read.extend_from_slice(&chunk[..read]);
                Some(())
            }
        }
    }
}
