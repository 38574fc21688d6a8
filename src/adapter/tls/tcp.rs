//! Bytes both ways, each way to its own end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, copy_bidirectional};

use super::Station;
use super::application::Application;
use super::handshake::Secured;
use super::proxy::{Announcement, Tls};
use crate::adapter::activity::Activity;

/// How copying ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides were done.
    Done,
    /// Nothing moved for too long.
    Idle,
    /// One of them broke off.
    Broken,
}

impl End {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Idle => "idle",
            Self::Broken => "broken",
        }
    }
}

/// Connects to the application, says who connected where that is asked for, and copies.
pub(super) async fn serve(
    station: &Station,
    application: &Application,
    announce: bool,
    secured: Secured,
) -> &'static str {
    match station.access.decide_connection(&secured.identity) {
        Ok(admitted) => station.count(&admitted),
        Err(refusal) => {
            station.numbers.refused(refusal.code());
            let mut tls = secured.tls;
            let _ = tls.shutdown().await;
            return refusal.code();
        }
    }
    let mut inside = match application.connect().await {
        Ok(inside) => inside,
        Err(error) => {
            station.numbers.application_error("application_unreachable");
            station.reached(Err(&error));
            let mut tls = secured.tls;
            let _ = tls.shutdown().await;
            return "application_unreachable";
        }
    };
    station.reached(Ok(()));
    if announce && inside.write_all(&announcement(&secured)).await.is_err() {
        station.numbers.application_error("application_failed");
        return "application_failed";
    }
    let mut outside = secured.tls;
    let end = relay(&mut outside, &mut inside, station.spec.limits.idle_timeout).await;
    if end == End::Broken {
        // Half a message is not to look like a whole one.
        inside.cut();
    }
    end.as_str()
}

fn announcement(secured: &Secured) -> Vec<u8> {
    let tls = secured.tls.get_ref().1;
    let version = match tls.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    };
    let identity = &secured.identity;
    let name = identity.common_names.first().map(String::as_str).unwrap_or_default();
    let client = identity.is_authenticated.then_some(name);
    let tls_part = Some(Tls { version, client });
    Announcement { ends: secured.ends, server_name: tls.server_name(), tls: tls_part }.header()
}

/// Copies until both sides are done, one breaks off, or nothing moves for `patience`. The end of
/// one way is passed on, and the other goes on.
pub(super) async fn relay<A, B>(outside: &mut A, inside: &mut B, patience: Duration) -> End
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let activity = Arc::new(Activity::new());
    let mut outside = Marked { inner: outside, activity: Arc::clone(&activity) };
    let mut inside = Marked { inner: inside, activity: Arc::clone(&activity) };
    tokio::select! {
        copied = copy_bidirectional(&mut outside, &mut inside) => match copied {
            Ok(_) => End::Done,
            Err(_) => End::Broken,
        },
        () = activity.quiet_for(patience) => End::Idle,
    }
}

/// Marks `activity` with each read and write that moved something.
struct Marked<'a, T> {
    inner: &'a mut T,
    activity: Arc<Activity>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Marked<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut *self.inner).poll_read(cx, buf));
        self.activity.mark();
        Poll::Ready(read)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Marked<'_, T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut *self.inner).poll_write(cx, buf));
        self.activity.mark();
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test(start_paused = true)]
    async fn each_way_has_its_own_end() {
        let (mut client, mut outside) = tokio::io::duplex(64);
        let (mut inside, mut application) = tokio::io::duplex(64);
        let patience = Duration::from_mins(1);
        let relayed = async { relay(&mut outside, &mut inside, patience).await };
        let talk = async {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut question = String::new();
            application.read_to_string(&mut question).await.unwrap();
            assert_eq!(question, "question");
            tokio::time::sleep(Duration::from_secs(50)).await;
            application.write_all(b"answer").await.unwrap();
            application.shutdown().await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "answer");
        };
        let (end, ()) = tokio::join!(relayed, talk);
        assert_eq!(end, End::Done);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it() {
        let (_client, mut outside) = tokio::io::duplex(64);
        let (mut inside, _application) = tokio::io::duplex(64);
        let start = tokio::time::Instant::now();
        let end = relay(&mut outside, &mut inside, Duration::from_mins(1)).await;
        assert_eq!((end, start.elapsed().as_secs()), (End::Idle, 60));
    }
}
