//! `GET /events`: server-sent events, one per rotation of a name that the caller may read.
//!
//! Format: <https://html.spec.whatwg.org/multipage/server-sent-events.html>. An event's id is
//! this process's mark and a count; a stream is resumed after `Last-Event-ID`. Where that is
//! not possible (another process, too long ago) every name is told as it is now.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderValue};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Source;
use super::body::Body;
use super::guard::{Admitted, Standing};
use super::policy::{Policy, SharedPolicy};
use crate::cache::Rotation;
use crate::config::SecretName;

/// Keeps proxies of nobody's and dead peers from going unnoticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Distinguishes this process's event ids from those of the one before it.
static MARK: LazyLock<String> = LazyLock::new(|| {
    let mut bytes = [0u8; 4];
    let _ = SystemRandom::new().fill(&mut bytes);
    format!("{:08x}", u32::from_be_bytes(bytes))
});

/// What streams need to live and to end.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) tracker: TaskTracker,
    pub(super) stopping: CancellationToken,
}

/// Opens a stream. It ends with the process, with the connection, and when the policy or the
/// caller's token changes: then the caller asks again and is judged anew.
pub(super) fn open<S: Source>(
    source: &Arc<S>,
    (policy, judge): (&SharedPolicy, &Arc<Policy>),
    streams: &Streams,
    admitted: &Admitted<'_>,
    last_event_id: Option<&str>,
) -> Response<Body> {
    let names = admitted.readable(None).iter().map(|declared| declared.name.clone()).collect();
    let (sender, receiver) = mpsc::channel(16);
    let stream = Stream {
        source: Arc::clone(source),
        policy: Arc::clone(policy),
        standing: admitted.standing(judge),
        names,
        sender,
    };
    let start = last_event_id.map_or(Start::Now, Start::after);
    let stopping = streams.stopping.clone();
    streams.tracker.spawn(async move {
        tokio::select! {
            _ = stream.run(start) => {}
            () = stopping.cancelled() => {}
        }
    });
    let mut response = Response::new(Body::Events(receiver));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Where a stream begins.
enum Start {
    /// With what happens from now on.
    Now,
    /// After an event of this process.
    After(u64),
    /// After an event that is none of this process: with every name.
    Everything,
}

impl Start {
    fn after(last_event_id: &str) -> Self {
        let ours = last_event_id.split_once('-').filter(|(mark, _)| *mark == *MARK);
        match ours.and_then(|(_, count)| count.parse().ok()) {
            Some(id) => Self::After(id),
            None => Self::Everything,
        }
    }
}

struct Stream<S> {
    source: Arc<S>,
    /// The policy in force.
    policy: SharedPolicy,
    /// Why the caller was admitted.
    standing: Standing,
    names: BTreeSet<SecretName>,
    sender: mpsc::Sender<Bytes>,
}

/// The other side is gone, or must ask again.
struct Ended;

impl<S: Source> Stream<S> {
    async fn run(self, start: Start) -> Result<(), Ended> {
        let mut newest = self.source.rotations().newest();
        let mut told = *newest.borrow_and_update();
        self.send("retry: 1000\n: connected\n\n".into()).await?;
        match start {
            Start::Now => {}
            Start::After(id) => told = self.catch_up(Some(id)).await?,
            Start::Everything => told = self.catch_up(None).await?,
        }
        loop {
            match tokio::time::timeout(HEARTBEAT, newest.changed()).await {
                Ok(Ok(())) => told = self.catch_up(Some(told)).await?,
                Ok(Err(_)) => return Err(Ended),
                Err(_) => self.send(": alive\n\n".into()).await?,
            }
        }
    }

    /// Tells every rotation after `after`; returns the newest that was told.
    async fn catch_up(&self, after: Option<u64>) -> Result<u64, Ended> {
        let rotations = self.source.rotations();
        let newest = *rotations.newest().borrow();
        let missed = after.and_then(|after| rotations.after(after));
        let missed = missed.unwrap_or_else(|| self.as_it_is(newest));
        let told = missed.last().map_or(newest, |rotation| rotation.id);
        for rotation in missed.iter().filter(|rotation| self.names.contains(&rotation.name)) {
            self.send(event(rotation)).await?;
        }
        Ok(told)
    }

    fn as_it_is(&self, id: u64) -> Vec<Rotation> {
        let now = |name: &SecretName| {
            let served = self.source.peek(name)?;
            let etag = *served.secret.etag();
            Some(Rotation { id, name: name.clone(), version: served.version, etag })
        };
        self.names.iter().filter_map(now).collect()
    }

    async fn send(&self, text: String) -> Result<(), Ended> {
        if !self.standing.holds(&self.policy) {
            return Err(Ended);
        }
        self.sender.send(text.into()).await.map_err(|_| Ended)
    }
}

#[derive(Serialize)]
struct Data<'a> {
    name: &'a str,
    version: u64,
    etag: String,
}

fn event(rotation: &Rotation) -> String {
    let Rotation { id, name, version, etag } = rotation;
    let data = Data { name: name.as_str(), version: *version, etag: format!("\"{etag}\"") };
    let data = serde_json::to_string(&data).unwrap_or_default();
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(text, "id: {}-{id}\nevent: rotation\ndata: {data}\n\n", *MARK);
    text
}
