//! Copying both ways, each to its own end. The near side is plain, whoever is there.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::activity::Activity;
use super::ambassador::connect::refuses_certificate;
use crate::memory::in_ordinary_memory;

/// What is under way in one direction, besides what the kernel and TLS hold.
const BUFFER: usize = 16 << 10;
/// A connection that is due is closed when nothing moved for as long as this.
const QUIET: Duration = Duration::from_millis(200);

/// For both sides to take note of the end.
const LAST_WORD: Duration = Duration::from_secs(1);

/// When a connection has to end.
pub(super) trait Term {
    /// Ends when the connection should end at the next opportunity.
    fn due(&mut self) -> impl Future<Output = ()> + Send;
    /// Ends when it must end, in the middle of whatever it is.
    fn over(&self) -> impl Future<Output = ()> + Send;
}

/// How a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Each side said that it had nothing more to say.
    Closed,
    /// By us: it was due, and nothing was under way.
    Retired,
    /// By us: nothing moved, and nothing was under way.
    Idle,
    /// By us: nothing moved, because one side takes nothing.
    Stuck,
    /// By us, with something under way.
    Cut,
    /// One side broke off.
    Broken,
    /// The far side does not take our certificate.
    CertificateRefused,
}

impl End {
    /// The name in metrics.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Retired => "retired",
            Self::Idle => "idle_timeout",
            Self::Stuck => "stuck",
            Self::Cut => "cut",
            Self::Broken => "broken",
            Self::CertificateRefused => "certificate_refused",
        }
    }

    /// Whether nothing was lost.
    pub(super) const fn is_orderly(self) -> bool {
        matches!(self, Self::Closed | Self::Retired | Self::Idle)
    }
}

/// What moves, and what is on its way.
struct Flow {
    activity: Activity,
    up: Way,
    down: Way,
}

/// One direction.
#[derive(Default)]
struct Way {
    writing: AtomicBool,
    /// The side that is written to takes no more.
    refused: AtomicBool,
}

impl Flow {
    fn is_writing(&self) -> bool {
        [&self.up, &self.down].iter().any(|way| way.writing.load(Ordering::Relaxed))
    }

    async fn at_rest(&self) {
        loop {
            self.activity.quiet_for(QUIET).await;
            if !self.is_writing() {
                return;
            }
            self.activity.mark();
        }
    }
}

/// Copies until both sides have ended, nothing moves for `patience`, or `term` says so. With
/// `sure_end`, an end of the far side is never a connection that broke.
pub(super) async fn relay<N, F>(
    near: &mut N,
    (far, sure_end): (&mut F, bool),
    patience: Duration,
    term: &mut impl Term,
) -> End
where
    N: AsyncRead + AsyncWrite + Unpin,
    F: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from_near, mut to_near) = tokio::io::split(near);
    let (mut from_far, mut to_far) = tokio::io::split(far);
    let flow = Flow { activity: Activity::new(), up: Way::default(), down: Way::default() };
    let Flow { activity, up, down } = &flow;
    let both = async {
        // A side that takes no more may have said so by breaking off, and its end means nothing.
        let near_ends = || !down.refused.load(Ordering::Relaxed);
        let far_ends = || sure_end || !up.refused.load(Ordering::Relaxed);
        tokio::try_join!(
            copy(&mut from_near, &mut to_far, activity, up, near_ends),
            copy(&mut from_far, &mut to_near, activity, down, far_ends),
        )
    };
    let due = async {
        term.due().await;
        tokio::select! {
            () = flow.at_rest() => End::Retired,
            () = term.over() => End::Cut,
        }
    };
    tokio::select! {
        biased;
        outcome = both => match outcome {
            Ok(_) => End::Closed,
            Err(error) if refuses_certificate(&error) => End::CertificateRefused,
            Err(_) => End::Broken,
        },
        end = due => end,
        () = activity.quiet_for(patience) => {
            if flow.is_writing() { End::Stuck } else { End::Idle }
        }
    }
}

/// Copies to the end, and passes the end on. What cannot be written is no error: why not, the
/// other direction finds out, which may bring the last words of the side that takes no more.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    activity: &Activity,
    way: &Way,
    is_end: impl Fn() -> bool,
) -> io::Result<()> {
    // The application's own, none of it a credential of ours.
    let mut buffer = in_ordinary_memory(|| vec![0; BUFFER]);
    loop {
        let read = from.read(&mut buffer).await?;
        activity.mark();
        let piece = buffer.get(..read).unwrap_or_default();
        if piece.is_empty() && !is_end() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        way.writing.store(true, Ordering::Relaxed);
        let passed = pass_on(piece, to, activity).await;
        way.writing.store(false, Ordering::Relaxed);
        if passed.is_err() {
            way.refused.store(true, Ordering::Relaxed);
        }
        if passed.is_err() || piece.is_empty() {
            return Ok(());
        }
    }
}

/// Nothing is the end.
async fn pass_on(
    mut piece: &[u8],
    to: &mut (impl AsyncWrite + Unpin),
    activity: &Activity,
) -> io::Result<()> {
    if piece.is_empty() {
        return to.shutdown().await;
    }
    while !piece.is_empty() {
        let written = to.write(piece).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        activity.mark();
        piece = piece.get(written..).unwrap_or_default();
    }
    to.flush().await?;
    activity.mark();
    Ok(())
}

/// Tells both sides of an end in order. Whether they took note of it in time.
///
/// Cancel safety: one of them may have been told.
pub(super) async fn say_end(
    near: &mut (impl AsyncWrite + Unpin),
    far: &mut (impl AsyncWrite + Unpin),
) -> bool {
    let close = async { tokio::join!(near.shutdown(), far.shutdown()) };
    timeout(LAST_WORD, close).await.is_ok()
}

/// Whether the peer sees a reset when `stream` is dropped, which it cannot take for an end.
pub(super) fn reset_when_dropped(stream: &TcpStream, reset: bool) {
    let _ = SockRef::from(stream).set_linger(reset.then_some(Duration::ZERO));
}

#[cfg(test)]
mod tests;
