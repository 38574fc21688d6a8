//! The load: keep-alive connections on one thread, each asking again as soon as it is answered.

use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::process::{Process, machine_cpu, own_cpu};

/// Connections of one load.
pub(crate) const CONNECTIONS: usize = 16;

/// Not counted: connecting, the first requests.
const WARM_UP: Duration = Duration::from_millis(200);

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
}

/// What one round came to.
#[derive(Clone, Copy)]
pub(crate) struct Round {
    /// Answers per second.
    pub(crate) rate: f64,
    /// CPU time of the server for one answer, in microseconds.
    pub(crate) cpu: f64,
    /// CPU time that others took meanwhile, as a share of one CPU.
    pub(crate) others: f64,
}

impl Target {
    /// `GET path`, with a bearer token if there is one.
    pub(crate) fn get(address: Address, path: &str, token: Option<&str>) -> Self {
        let host = match &address {
            Address::Tcp(addr) => addr.to_string(),
            Address::Unix(_) => "localhost".into(),
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

    /// Asks for `length`, and says how `server` took it.
    pub(crate) fn measure(&self, target: &Target, server: &Process, length: Duration) -> Round {
        self.runtime.block_on(async {
            let (counter, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
            let mut tasks = JoinSet::new();
            for _ in 0..CONNECTIONS {
                tasks.spawn(ask(target.clone(), Arc::clone(&counter), Arc::clone(&stop)));
            }
            tokio::time::sleep(WARM_UP).await;
            let (begin, answered) = (Instant::now(), counter.load(Ordering::Relaxed));
            let (cpu, own, machine) = (server.cpu(), own_cpu(), machine_cpu());
            tokio::time::sleep(length).await;
            let elapsed = begin.elapsed().as_secs_f64();
            let answered = to_f64(counter.load(Ordering::Relaxed) - answered);
            let cpu = server.cpu().saturating_sub(cpu);
            let ours = cpu + own_cpu().saturating_sub(own);
            let others = machine_cpu().saturating_sub(machine).saturating_sub(ours);
            let (cpu, others) = (cpu.as_secs_f64(), others.as_secs_f64() / elapsed);
            stop.store(true, Ordering::Relaxed);
            server.answered.fetch_add(counter.load(Ordering::Relaxed), Ordering::Relaxed);
            while let Some(ended) = tasks.join_next().await {
                ended.unwrap().expect("every answer is complete and a success");
            }
            Round { rate: answered / elapsed, cpu: cpu * 1e6 / answered, others }
        })
    }

    /// One request on a connection of its own: the answer, head and all.
    pub(crate) fn once(&self, target: &Target) -> io::Result<Vec<u8>> {
        self.runtime.block_on(async {
            let mut buffer = vec![0; BUFFER];
            let answer = async {
                match connect(&target.address).await? {
                    Either::Tcp(mut stream) => {
                        exchange(&mut stream, &target.request, &mut buffer, 0).await
                    }
                    Either::Unix(mut stream) => {
                        exchange(&mut stream, &target.request, &mut buffer, 0).await
                    }
                }
            };
            let length = tokio::time::timeout(Duration::from_secs(10), answer).await??;
            buffer.truncate(length);
            Ok(buffer)
        })
    }
}

pub(crate) fn to_f64(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

const BUFFER: usize = 16 << 10;

enum Either {
    Tcp(TcpStream),
    Unix(UnixStream),
}

async fn connect(address: &Address) -> io::Result<Either> {
    match address {
        Address::Tcp(addr) => {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            Ok(Either::Tcp(stream))
        }
        Address::Unix(name) => {
            let addr = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            let stream = std::os::unix::net::UnixStream::connect_addr(&addr)?;
            stream.set_nonblocking(true)?;
            Ok(Either::Unix(UnixStream::from_std(stream)?))
        }
    }
}

async fn ask(target: Target, counter: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> io::Result<()> {
    match connect(&target.address).await? {
        Either::Tcp(stream) => ask_on(stream, &target.request, &counter, &stop).await,
        Either::Unix(stream) => ask_on(stream, &target.request, &counter, &stop).await,
    }
}

async fn ask_on<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    request: &[u8],
    counter: &AtomicU64,
    stop: &AtomicBool,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut length = 0;
    while !stop.load(Ordering::Relaxed) {
        length = exchange(&mut stream, request, &mut buffer, length).await?;
        counter.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// One request and its answer; returns the answer's length. `usual` is that of the last one:
/// an answer of that length needs no second look.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &[u8],
    buffer: &mut [u8],
    usual: usize,
) -> io::Result<usize> {
    stream.write_all(request).await?;
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
