//! A panic in the middle of an answer: what unwinds is wiped like everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sidekey::cache::{Freshness, ReadError, Rotations, Served};
use sidekey::config::{Environment, NameKind, SecretName, Sources, load_text};
use sidekey::memory::{SecretBuf, harden, scrub};
use sidekey::observe::Metrics;
use sidekey::secret::{EtagKey, Secret};
use sidekey::server::{Context, Policy, Server, Source};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client::Client;
use super::mode::Mode;
use super::secrets::random;
use super::stage::settle;
use super::support::limits;
use super::support::needle::Needles;
use super::support::scan;
use super::support::sidecar::clean;

/// Panics with the value in its hands whenever it is asked for one anew.
struct Panics(Arc<Secret>, Rotations);

impl Panics {
    fn served(&self) -> Served {
        let (freshness, age) = (Freshness::Fresh, Duration::ZERO);
        Served { secret: Arc::clone(&self.0), version: 1, freshness, age, expires_in: None }
    }
}

impl Source for Panics {
    async fn get(&self, _: &SecretName, _: Option<u64>) -> Result<Served, ReadError> {
        let held = String::from_utf8(self.0.json().to_vec()).unwrap();
        tokio::task::yield_now().await;
        panic!("while it holds {held}");
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

    fn cached(&self, name: &SecretName) -> Option<Result<Served, ReadError>> {
        (name.as_str() == "calm").then(|| Ok(self.served()))
    }

    fn peek(&self, _: &SecretName) -> Option<Served> {
        None
    }

    async fn refresh(&self, _: &SecretName) -> Result<Served, ReadError> {
        Ok(self.served())
    }
}

/// The local door before [`Panics`], with the protection of the real one: says its port, and
/// serves until stdin ends. Reads the caller's token and Vault's answer from stdin.
pub fn serve(mode: Mode) -> ExitCode {
    mode.apply();
    harden();
    // As `main` does it: a panic's message can quote a value.
    std::panic::set_hook(Box::new(|_| ()));
    let token = Arc::new(line());
    let answer = line();
    let key = EtagKey::random().unwrap();
    let secret = Arc::new(sidekey::vault::understand(200, answer.expose(), &key).unwrap());
    drop(answer);
    scrub();
    let secrets =
        BTreeMap::from(["VAULT_TOKEN", "SIDEKEY_TOKEN"].map(|n| (n.into(), Arc::clone(&token))));
    let environment = Environment { secrets, ..Environment::default() };
    let sources = Sources { environment, ..Sources::default() };
    let text = "[listen]\ntcp = \"127.0.0.1:0\"\n[secrets.calm]\npath = \"secret/data/calm\"\n\
                [secrets.wild]\npath = \"secret/data/wild\"\n";
    let config = load_text(text, sources).unwrap().config;
    let names = config.secrets.into_keys().map(|name| (name, NameKind::Secret));
    let policy = Policy::new(config.callers, names, config.limits).shared();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_park(scrub)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let server = Server::bind(&config.listen, None).unwrap();
        println!("{}", server.tcp_addrs()[0]);
        let context = Context { policy, metrics: Metrics::new("0"), audit: None };
        let source = Arc::new(Panics(secret, Rotations::new()));
        server.serve(source, context, &TaskTracker::new(), CancellationToken::new());
        let stdin = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
        let _ = stdin.await;
    });
    ExitCode::SUCCESS
}

/// A line of stdin, read byte by byte, so that no buffer of the library's holds it.
fn line() -> SecretBuf {
    use std::os::fd::AsFd as _;
    let mut file = std::fs::File::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let mut line = sidekey::memory::SecretWriter::with_capacity(4096);
    let mut byte = [0];
    while file.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.push(&byte);
    }
    line.finish()
}

/// The helper that [`serve`]s.
fn helper(mode: Mode) -> Child {
    let mut command = clean(std::env::current_exe().unwrap());
    match mode {
        Mode::Protected => command.arg("helper=panics"),
        Mode::Unprotected => {
            limits::memlock(&mut command, 0);
            command.uid(65534).arg("helper=panics-unprotected")
        }
    };
    command.stdin(Stdio::piped()).spawn().unwrap()
}

pub fn run(mode: Mode) {
    let (token, value) = (random("t", 50), random("v", 100));
    let answer = json!({ "lease_id": "", "renewable": false, "data": { "value": value } });
    let mut child = helper(mode);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(format!("{token}\n{answer}\n").as_bytes()).unwrap();
    let mut addr = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut addr).unwrap();
    let addr: std::net::SocketAddr = addr.trim().parse().unwrap();
    let host = addr.to_string();
    for _ in 0..20 {
        let mut calm = Client::tcp(addr, &token);
        assert_eq!(calm.get(&host, "/secrets/calm/value"), 200);
        let mut wild = Client::tcp(addr, &token);
        // The connection ends without an answer; the process goes on.
        assert_eq!(wild.get(&host, "/secrets/wild/value"), 0);
    }
    let needles = Needles::new([("caller token", &*token), ("value", &*value)]);
    settle(child.id());
    let found = scan::process(child.id(), &needles);
    drop(stdin);
    let ended = child.wait().unwrap();
    assert!(ended.success(), "{ended}");
    if mode == Mode::Unprotected {
        let seen: BTreeSet<_> = found.hits.iter().map(|hit| &*hit.found.canary).collect();
        assert_eq!(seen, BTreeSet::from(["caller token", "value"]));
        return;
    }
    assert!(found.secret_bytes() > 0, "no secret memory");
    found.assert_nothing("after panics");
}
