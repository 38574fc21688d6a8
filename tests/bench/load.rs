//! The load: connections from one thread, each asking again as soon as it is answered.

#![allow(dead_code, reason = "each benchmark uses its part")]

use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::figures::{percentile, to_f64};
use super::process::{Process, machine_cpu, own_cpu};

/// Connections of one load.
pub(crate) const CONNECTIONS: usize = 16;

/// Not counted: connecting, the first requests.
const WARM_UP: Duration = Duration::from_millis(200);

/// Whom servers with TLS have their certificates for.
pub(crate) const NAME: &str = "bench.example.io";

/// What to ask, and where.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) request: Arc<[u8]>,
}

#[derive(Clone)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    /// The name of an abstract socket.
    Unix(String),
    Tls(SocketAddr, Arc<ClientConfig>),
}

/// How the requests of a load come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Manner {
    /// One after the other on a connection that is kept.
    Kept,
    /// Each on a connection of its own, closed after the answer.
    Fresh,
}

/// What one round came to.
#[derive(Clone, Copy)]
pub(crate) struct Round {
    /// Answers per second.
    pub(crate) rate: f64,
    /// CPU time of the server for one answer, in microseconds.
    pub(crate) cpu: f64,
    /// From a question (of [`Manner::Fresh`]: from the attempt to connect) to the end of its
    /// answer, in microseconds: half of them, and 99 of 100, took no longer.
    pub(crate) latency: (f64, f64),
    /// CPU time that others took meanwhile, as a share of one CPU.
    pub(crate) others: f64,
}

impl Target {
    /// `GET path`, with a bearer token if there is one.
    pub(crate) fn get(address: Address, path: &str, token: Option<&str>) -> Self {
        let host = match &address {
            Address::Tcp(addr) => addr.to_string(),
            Address::Unix(_) => "localhost".into(),
            Address::Tls(..) => NAME.into(),
        };
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n");
        if let Some(token) = token {
            request.extend(["Authorization: Bearer ", token, "\r\n"]);
        }
        request.push_str("\r\n");
        Self { address, request: request.into_bytes().into() }
    }
}

/// The thread that asks.
pub(crate) struct Load {
    runtime: Runtime,
}

impl Load {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime }
    }

    /// Asks for `length`, and says how the first of `servers` took it. The others are what it
    /// asks in its turn.
    pub(crate) fn measure(
        &self,
        target: &Target,
        manner: Manner,
        servers: &[&Process],
        length: Duration,
    ) -> Round {
        self.runtime.block_on(async {
            let shared = Arc::<Shared>::default();
            let mut tasks = JoinSet::new();
            for _ in 0..CONNECTIONS {
                tasks.spawn(ask(target.clone(), manner, Arc::clone(&shared)));
            }
            let server = servers[0];
            let all = || servers.iter().map(|server| server.cpu()).sum::<Duration>() + own_cpu();
            tokio::time::sleep(WARM_UP).await;
            shared.enter(MEASURED);
            let (begin, answered) = (Instant::now(), shared.answered());
            let (cpu, ours, machine) = (server.cpu(), all(), machine_cpu());
            tokio::time::sleep(length).await;
            let elapsed = begin.elapsed().as_secs_f64();
            let answered = to_f64(shared.answered() - answered);
            let cpu = server.cpu().saturating_sub(cpu).as_secs_f64();
            let ours = all().saturating_sub(ours);
            let others = machine_cpu().saturating_sub(machine).saturating_sub(ours).as_secs_f64();
            shared.enter(OVER);
            server.answered.fetch_add(shared.answered(), Ordering::Relaxed);
            let mut latencies = Vec::new();
            while let Some(ended) = tasks.join_next().await {
                latencies.extend(ended.unwrap().expect("every answer is complete and a success"));
            }
            latencies.sort_unstable();
            Round {
                rate: answered / elapsed,
                cpu: cpu * 1e6 / answered,
                latency: (percentile(&latencies, 50), percentile(&latencies, 99)),
                others: others / elapsed,
            }
        })
    }

    /// One request on a connection of its own: the answer, head and all.
    pub(crate) fn once(&self, target: &Target) -> io::Result<Vec<u8>> {
        self.runtime.block_on(async {
            let mut buffer = vec![0; BUFFER];
            let answer = async {
                let mut stream = connect(&target.address).await?;
                exchange(&mut stream, &target.request, &mut buffer, 0).await
            };
            let length = tokio::time::timeout(Duration::from_secs(10), answer).await??;
            buffer.truncate(length);
            Ok(buffer)
        })
    }

    /// Asks until there is an answer.
    pub(crate) fn wait_for(&self, target: &Target) -> Vec<u8> {
        let begin = Instant::now();
        loop {
            match self.once(target) {
                Ok(answer) => return answer,
                Err(error) => {
                    assert!(begin.elapsed() < Duration::from_secs(20), "no answer: {error}");
                }
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// So many connections, each with one answered request behind it.
    pub(crate) fn hold(&self, target: &Target, count: usize) -> Vec<impl Sized + use<>> {
        self.runtime.block_on(async {
            let (mut held, mut buffer) = (Vec::new(), vec![0; BUFFER]);
            for _ in 0..count {
                let mut stream = connect(&target.address).await.unwrap();
                exchange(&mut stream, &target.request, &mut buffer, 0).await.unwrap();
                held.push(stream);
            }
            held
        })
    }
}

const BUFFER: usize = 16 << 10;

const MEASURED: u8 = 1;
const OVER: u8 = 2;

/// What the connections of one load share.
#[derive(Default)]
struct Shared {
    answered: AtomicU64,
    /// 0 while it warms up.
    phase: AtomicU8,
}

impl Shared {
    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    fn enter(&self, phase: u8) {
        self.phase.store(phase, Ordering::Relaxed);
    }

    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

async fn connect(address: &Address) -> io::Result<Box<dyn Duplex>> {
    let tcp = async |addr: &SocketAddr| {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        io::Result::Ok(stream)
    };
    Ok(match address {
        Address::Tcp(addr) => Box::new(tcp(addr).await?),
        Address::Unix(name) => {
            let addr = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            let stream = std::os::unix::net::UnixStream::connect_addr(&addr)?;
            stream.set_nonblocking(true)?;
            Box::new(UnixStream::from_std(stream)?)
        }
        Address::Tls(addr, config) => {
            let stream = tcp(addr).await?;
            let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
            Box::new(TlsConnector::from(Arc::clone(config)).connect(name, stream).await?)
        }
    })
}

/// Asks until it is over; how long each answer took, in microseconds.
async fn ask(target: Target, manner: Manner, shared: Arc<Shared>) -> io::Result<Vec<u32>> {
    let mut stream = connect(&target.address).await?;
    let (mut buffer, mut latencies) = (vec![0; BUFFER], Vec::new());
    let (mut length, mut begin) = (0, Instant::now());
    while shared.phase() != OVER {
        length = exchange(&mut stream, &target.request, &mut buffer, length).await?;
        shared.answered.fetch_add(1, Ordering::Relaxed);
        let end = Instant::now();
        if shared.phase() == MEASURED {
            let took = end.duration_since(begin).as_micros();
            latencies.push(u32::try_from(took).unwrap_or(u32::MAX));
        }
        begin = end;
        if manner == Manner::Fresh {
            // Some servers have closed already.
            let _ = stream.shutdown().await;
            begin = Instant::now();
            stream = connect(&target.address).await?;
        }
    }
    Ok(latencies)
}

/// One request and its answer; returns the answer's length. `usual` is that of the last one:
/// an answer of that length needs no second look.
async fn exchange(
    stream: &mut Box<dyn Duplex>,
    request: &[u8],
    buffer: &mut [u8],
    usual: usize,
) -> io::Result<usize> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
        if !buffer.starts_with(b"HTTP/1.1 200 ") {
            let line = buffer.split(|&c| c == b'\r').next().unwrap_or_default();
            return Err(io::Error::other(String::from_utf8_lossy(line).into_owned()));
        }
        if filled == usual || Some(filled) == length_of(&buffer[..filled]) {
            return Ok(filled);
        }
    }
}

/// The length of the whole answer, once its head is there.
fn length_of(answer: &[u8]) -> Option<usize> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    length.map(|length: usize| end + length)
}
