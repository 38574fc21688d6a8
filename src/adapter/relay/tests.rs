use tokio::io::{DuplexStream, duplex};
use tokio::time::{Instant, sleep};

use super::*;

const PATIENCE: Duration = Duration::from_mins(1);

/// Due and over at these times after the start.
struct At(Instant, Option<Duration>, Option<Duration>);

impl At {
    fn never() -> Self {
        Self(Instant::now(), None, None)
    }

    async fn wait(start: Instant, after: Option<Duration>) {
        match after {
            Some(after) => tokio::time::sleep_until(start + after).await,
            None => std::future::pending().await,
        }
    }
}

impl Term for At {
    async fn due(&mut self) {
        Self::wait(self.0, self.1).await;
    }

    async fn over(&self) {
        Self::wait(self.0, self.2).await;
    }
}

/// What the application has, what the destination has, and the relay between them.
fn between() -> (DuplexStream, DuplexStream, DuplexStream, DuplexStream) {
    let ((application, near), (far, destination)) = (duplex(64), duplex(64));
    (application, near, far, destination)
}

#[tokio::test(start_paused = true)]
async fn each_direction_ends_by_itself() {
    let (mut application, mut near, mut far, mut destination) = between();
    let talk = async {
        application.write_all(b"all I have").await.unwrap();
        application.shutdown().await.unwrap();
        let mut asked = String::new();
        destination.read_to_string(&mut asked).await.unwrap();
        let answer = async {
            destination.write_all(&[b'x'; 1000]).await.unwrap();
            destination.shutdown().await.unwrap();
        };
        let mut heard = Vec::new();
        let (read, ()) = tokio::join!(application.read_to_end(&mut heard), answer);
        read.unwrap();
        (asked, heard.len())
    };
    let term = &mut At::never();
    let relay = relay(&mut near, (&mut far, true), PATIENCE, term);
    let (end, (asked, heard)) = tokio::join!(relay, talk);
    assert_eq!((end, asked.as_str(), heard), (End::Closed, "all I have", 1000));
}

#[tokio::test(start_paused = true)]
async fn nothing_moves() {
    let (_application, mut near, mut far, _destination) = between();
    let start = Instant::now();
    let end = relay(&mut near, (&mut far, true), PATIENCE, &mut At::never()).await;
    assert_eq!((end, start.elapsed()), (End::Idle, PATIENCE));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read() {
    let (_application, mut near, mut far, mut destination) = between();
    let stream = async {
        let sent = destination.write_all(&vec![0; 1 << 20]).await;
        assert!(sent.is_err(), "it holds no more than its buffer");
    };
    let term = &mut At::never();
    let relay = async {
        let end = relay(&mut near, (&mut far, true), PATIENCE, term).await;
        drop((near, far));
        end
    };
    let (end, ()) = tokio::join!(relay, stream);
    assert_eq!(end, End::Stuck);
    assert!(!end.is_orderly());
}

#[tokio::test(start_paused = true)]
async fn due_and_at_rest() {
    let (_application, mut near, mut far, _destination) = between();
    let hour = Duration::from_hours(1);
    let mut term = At(Instant::now(), Some(Duration::from_secs(5)), Some(hour));
    let end = relay(&mut near, (&mut far, true), PATIENCE, &mut term).await;
    assert_eq!((end, term.0.elapsed()), (End::Retired, Duration::from_secs(5)));
}

#[tokio::test(start_paused = true)]
async fn due_and_never_at_rest() {
    let (mut application, mut near, mut far, mut destination) = between();
    let life = Duration::from_secs(9);
    let mut term = At(Instant::now(), Some(Duration::from_secs(5)), Some(life));
    let start = term.0;
    let chat = async {
        loop {
            if application.write_all(b"x").await.is_err() {
                return;
            }
            let _ = destination.read(&mut [0; 8]).await;
            sleep(Duration::from_millis(50)).await;
        }
    };
    let relay = async {
        let end = relay(&mut near, (&mut far, true), PATIENCE, &mut term).await;
        drop((near, far));
        end
    };
    let (end, ()) = tokio::join!(relay, chat);
    assert_eq!(end, End::Cut);
    assert!(start.elapsed() < life + QUIET, "{:?}", start.elapsed());
}

/// The last words of a destination that takes no more arrive.
#[tokio::test(start_paused = true)]
async fn a_destination_that_takes_no_more() {
    let (mut application, mut near, mut far, mut destination) = between();
    let talk = async {
        application.write_all(&[0; 64]).await.unwrap();
        destination.read_exact(&mut [0; 1]).await.unwrap();
        destination.write_all(b"too large").await.unwrap();
        drop(destination);
        let (mut from, mut to) = tokio::io::split(&mut application);
        let mut answer = Vec::new();
        let more = async { to.write_all(&[0; 4096]).await };
        let (_, heard) = tokio::join!(more, from.read_to_end(&mut answer));
        heard.unwrap();
        answer
    };
    let term = &mut At::never();
    let relay = async {
        let end = relay(&mut near, (&mut far, true), PATIENCE, term).await;
        drop((near, far));
        end
    };
    let (end, answer) = tokio::join!(relay, talk);
    assert_eq!((end, &answer[..]), (End::Closed, &b"too large"[..]));
}
