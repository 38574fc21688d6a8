//! Credentials that are replaced about every second, under load that notices each failure: no
//! request and no exchange is lost, and at the end the old ones are of no use.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::destination::Destination;
use crate::mutual::{NAME, Stage};
use crate::peer::{Manner, Peer};
use crate::scene::{Scene, certificate};
use crate::support::canary::canary;
use crate::support::client;
use crate::support::trials::Case;
use crate::support::vault::TestVault as _;
use crate::tcp::connect;

pub(crate) const CASES: [Case; 2] =
    [("renewal_http_loses_no_request", &[], http), ("renewal_tcp_loses_no_exchange", &[], tcp)];

const CONNECTIONS: usize = 4;
const REQUESTS: usize = 2_000;
const ROTATIONS: usize = 5;

/// A kept connection, as a client's pool has it.
struct Kept {
    addr: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Kept {
    fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { addr, stream: BufReader::new(stream) }
    }

    /// The status, after the whole answer.
    fn get(&mut self) -> u16 {
        // In one piece: the second of two would wait for the first one's acknowledgement.
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", self.addr);
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut status, mut length) = (0, 0);
        for number in 0.. {
            let mut line = String::new();
            assert!(self.stream.read_line(&mut line).unwrap() > 0, "the connection ended");
            let line = line.trim_end().to_ascii_lowercase();
            if number == 0 {
                status = line.split(' ').nth(1).unwrap().parse().unwrap();
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            } else if line.is_empty() {
                break;
            }
        }
        self.stream.read_exact(&mut vec![0; length]).unwrap();
        status
    }
}

/// A token is taken until the next but one is there, as it is where tokens are replaced with an
/// overlap.
fn http() {
    let destination = Destination::plain();
    let lines = format!(
        "listen = '127.0.0.1:0'\nallow = ['app']\ncredential = 'bearer'\ndestination = 'http://{}'",
        destination.addr
    );
    let scene = Scene::http(&lines, "");
    let addr = scene.addr();
    let mut tokens = vec![scene.token.clone()];
    destination.takes(&tokens);
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) || answered.load(Ordering::Relaxed) < REQUESTS {
                    let mut kept = Kept::open(addr);
                    for _ in 0..100 {
                        assert_eq!(kept.get(), 200);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for _ in 0..ROTATIONS {
            let began = Instant::now();
            let next = canary("renewed");
            let last = tokens.last().unwrap().clone();
            destination.takes(&[last, next.clone()]);
            scene.vault.put("api", json!({ "token": next }));
            scene.refresh();
            tokens.push(next);
            std::thread::sleep(Duration::from_secs(1).saturating_sub(began.elapsed()));
        }
        done.store(true, Ordering::Relaxed);
    });
    let newest = tokens.pop().unwrap();
    destination.takes(std::slice::from_ref(&newest));
    assert_eq!(scene.get("/").status, 200);
    assert_eq!(destination.last().header("authorization"), [format!("Bearer {newest}")]);
    for old in &tokens {
        let bearer = format!("Bearer {old}");
        let asked = destination.asked();
        assert!(asked.iter().any(|asked| asked.header("authorization") == [bearer.as_str()]));
        let headers = [("Authorization", bearer.as_str())];
        assert_eq!(client::request(destination.addr, "GET", "/", &headers).status, 401);
    }
    let answered = answered.into_inner();
    assert!(answered >= REQUESTS);
    let ok = format!("uses_total{{ambassador=\"api\",outcome=\"ok\"}} {}", answered + 1);
    assert!(scene.metrics().contains(&ok), "{}", scene.metrics());
    scene.stop();
}

/// What a pool of connections does: one that ended while nobody used it is replaced.
#[derive(Default)]
struct Tally {
    exchanges: usize,
    redials: usize,
    /// The end came just when the question was sent, of which nothing was answered: the pool asks
    /// again.
    crossed: usize,
}

/// Longer than what counts as nothing moving, so that a connection can be ended in order.
const PAUSE: Duration = Duration::from_millis(300);
const SECONDS: u64 = 10;

fn tcp() {
    let stage = Stage::new();
    let peer = Peer::start(Manner::Echo, Some(stage.settings()));
    let lines = stage.lines("", peer.addr.port());
    let more = certificate(NAME, "ttl = '6s'\nrenew_at_percent = 50");
    let scene = Scene::before(stage.vault, "tcp", (&lines, &more), json!({}));
    let end = Instant::now() + Duration::from_secs(SECONDS);
    let tallies: Vec<_> = std::thread::scope(|scope| {
        let use_it = || use_a_pool(&scene, end);
        let clients: Vec<_> = (0..6).map(|_| scope.spawn(use_it)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let (exchanges, redials) = (sum(|t| t.exchanges), sum(|t| t.redials));
    assert!(exchanges > 300, "{exchanges}");
    // Each client's connection was replaced with the certificate, more than once.
    assert!(tallies.iter().all(|tally| tally.redials >= 2), "{redials}");
    assert!(sum(|t| t.crossed) * 10 <= redials, "{} of {redials}", sum(|t| t.crossed));
    let metrics = scene.metrics();
    assert!(metrics.contains("outcome=\"retired\""), "{metrics}");
    for lost in ["cut", "broken", "stuck", "certificate_refused", "destination_untrusted"] {
        assert!(!metrics.contains(&format!("outcome=\"{lost}\"")), "{metrics}");
    }
    scene.stop();
}

fn use_a_pool(scene: &Scene, end: Instant) -> Tally {
    let (mut tally, mut stream) = (Tally::default(), connect(scene));
    while Instant::now() < end {
        if has_ended(&stream) {
            tally.redials += 1;
            stream = connect(scene);
        }
        // A few at once, each answered in full before the next.
        for n in 0..5_u8 {
            let question = [n; 64];
            while !exchange(&mut stream, &question) {
                tally.crossed += 1;
                stream = connect(scene);
            }
            tally.exchanges += 1;
        }
        std::thread::sleep(PAUSE);
    }
    tally
}

fn has_ended(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0; 1]);
    stream.set_nonblocking(false).unwrap();
    !peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// False when nothing of it was answered; half an answer is one that was lost.
fn exchange(stream: &mut TcpStream, question: &[u8; 64]) -> bool {
    let mut answer = [0; 64];
    if stream.write_all(question).is_err() {
        return false;
    }
    match stream.read(&mut answer) {
        Ok(0) | Err(_) => return false,
        Ok(some) => stream.read_exact(&mut answer[some..]).expect("the rest of an answer"),
    }
    assert_eq!(&answer, question);
    true
}
