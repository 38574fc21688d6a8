//! Copying both ways, and knowing when a session is between two transactions.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::time::{Duration, sleep, timeout};

use self::pending::Pending;
use super::frames::Frames;
use super::message::{TERMINATE, fatal};
use crate::adapter::relay::Term;
use crate::memory::in_ordinary_memory;

mod pending;

const BUFFER: usize = 16 << 10;
/// A session that is due is told so when nothing was asked for as long as this. One that is busy
/// is told in answer to its next question, which is not passed on: told right behind an answer,
/// drivers miss it.
const QUIET: Duration = Duration::from_millis(200);
/// For both sides to take note of the end.
const LAST_WORD: Duration = Duration::from_secs(1);

/// How a session came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By the application, which said so.
    Closed,
    /// By the server, or by an application that is gone without a word.
    Broken,
    /// By us, between two transactions.
    Retired,
    /// By us, in the middle of one.
    Cut,
}

impl End {
    /// The name in metrics.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Broken => "broken",
            Self::Retired => "retired",
            Self::Cut => "cut",
        }
    }

    const fn is_ours(self) -> bool {
        matches!(self, Self::Retired | Self::Cut)
    }
}

/// What is under way in a session.
#[derive(Debug)]
struct Doing {
    from_client: Frames,
    from_server: Frames,
    pending: Pending,
    /// The status in the last `ReadyForQuery`.
    status: u8,
    writing: [bool; 2],
    /// The session should end: no transaction is begun any more.
    due: bool,
    /// One was, and went no further.
    refused: bool,
    /// The client said that it ends.
    terminated: bool,
}

impl Doing {
    fn new() -> Self {
        Self {
            from_client: Frames::default(),
            from_server: Frames::default(),
            pending: Pending::new(),
            status: 0,
            writing: [false; 2],
            due: false,
            refused: false,
            terminated: false,
        }
    }

    fn client_says(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self { from_client, pending, terminated, .. } = self;
        let passed = from_client.pass(bytes, |tag, _| {
            pending.client_sent(tag);
            *terminated |= tag == b'X';
        });
        passed.map_err(io::Error::other)
    }

    fn server_says(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self { from_server, pending, status, .. } = self;
        let passed = from_server.pass(bytes, |tag, first| {
            pending.server_sent(tag);
            if tag == b'Z' {
                *status = first.unwrap_or_default();
            }
        });
        passed.map_err(io::Error::other)
    }

    /// Nothing is asked, nothing is owed, and no transaction is open.
    fn is_idle(&self) -> bool {
        self.pending.is_none()
            && self.status == b'I'
            && self.is_between()
            && self.from_client.is_between()
    }

    /// A message of ours to the client would not stand in the middle of another.
    fn is_between(&self) -> bool {
        self.from_server.is_between() && self.writing == [false; 2]
    }
}

/// Copies until one side ends, or `term` says so.
pub(super) async fn relay<C, S>(client: C, server: S, term: &mut impl Term) -> End
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let (doing, moved) = (Mutex::new(Doing::new()), Notify::new());
    let end = {
        let up = copy(&mut from_client, &mut to_server, |bytes, writing| {
            let mut doing = lock(&doing);
            if writing && doing.due && doing.is_idle() && bytes.first() != Some(&b'X') {
                doing.refused = true;
                return Err(io::ErrorKind::Interrupted.into());
            }
            doing.writing[0] = writing;
            moved.notify_one();
            if writing { doing.client_says(bytes) } else { Ok(()) }
        });
        let down = copy(&mut from_server, &mut to_client, |bytes, writing| {
            let mut doing = lock(&doing);
            doing.writing[1] = writing;
            moved.notify_one();
            if writing { doing.server_says(bytes) } else { Ok(()) }
        });
        let due = async {
            term.due().await;
            lock(&doing).due = true;
            loop {
                let is_idle = lock(&doing).is_idle();
                tokio::select! {
                    () = sleep(QUIET), if is_idle => return End::Retired,
                    () = moved.notified() => {}
                    () = term.over() => return End::Cut,
                }
            }
        };
        // What the client has sent already is looked at before it is told to go.
        tokio::select! {
            biased;
            _ = both(up, down) => End::Broken,
            end = due => end,
        }
    };
    let (end, between) = {
        let doing = lock(&doing);
        let end = match end {
            _ if doing.refused => End::Retired,
            End::Broken if doing.terminated => End::Closed,
            end => end,
        };
        (end, doing.is_between())
    };
    let told = end.is_ours() && between;
    let client = async {
        if told {
            let text = "terminating connection due to administrator command";
            let detail = "The credential of this session ends: connect again.";
            let _ = to_client.write_all(&fatal("57P01", text, detail)).await;
            let _ = to_client.flush().await;
        }
        let _ = to_client.shutdown().await;
        // Closed with something unread, the last word would be lost.
        while end.is_ours() && from_client.read(&mut [0; 1024]).await.is_ok_and(|n| n > 0) {}
    };
    let server = async {
        if told {
            let _ = to_server.write_all(&TERMINATE).await;
        }
        let _ = to_server.shutdown().await;
    };
    // A side that reads nothing any more would hold the session for ever: both are dropped then.
    let _ = timeout(LAST_WORD, async { tokio::join!(client, server) }).await;
    end
}

/// Of one task, and never held while it waits.
fn lock(doing: &Mutex<Doing>) -> MutexGuard<'_, Doing> {
    doing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end of the server's side is the end; the client's side is passed on, and the server may
/// still have something to say.
async fn both(
    up: impl Future<Output = io::Result<()>>,
    down: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    tokio::pin!(up, down);
    tokio::select! {
        biased;
        ended = &mut up => {
            ended?;
            down.await
        }
        ended = &mut down => ended,
    }
}

/// Copies to the end, and passes the end on. `watch` sees each piece before it is written, and
/// is told when it was.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    watch: impl Fn(&[u8], bool) -> io::Result<()>,
) -> io::Result<()> {
    // Queries and rows, for as long as the session lasts: none of them a credential of ours.
    let mut buffer = in_ordinary_memory(|| vec![0; BUFFER]);
    loop {
        let read = from.read(&mut buffer).await?;
        let piece = buffer.get(..read).unwrap_or_default();
        if piece.is_empty() {
            return to.shutdown().await;
        }
        watch(piece, true)?;
        to.write_all(piece).await?;
        to.flush().await?;
        watch(piece, false)?;
    }
}

#[cfg(test)]
mod tests;
