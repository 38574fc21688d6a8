//! Telling the application that something rotated: by a `POST` to a loopback URL of its own, or
//! by a signal. Names, versions and entity tags are told, never a value.
//!
//! One task for each rule. Rotations are gathered for a moment, told together, and told again,
//! as they are by then, until the application has taken them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::Rotation;
use crate::config::{NotifyRule, NotifyTarget, SecretName};
use crate::lease::Backoff;
use crate::observe::{Metrics, event};
use crate::server::Source;

mod http;
mod process;

/// The tasks that tell. A rule that a reload does not change keeps its task, and with it what is
/// still to be told.
pub struct Notifier<S> {
    source: Arc<S>,
    metrics: Metrics,
    tasks: TaskTracker,
    tellers: Mutex<Vec<(NotifyRule, CancellationToken)>>,
}

/// Why the application was not told. Holds nothing that the other side sent but a status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTold {
    #[error("no connection: {0}")]
    Unreachable(std::io::Error),
    #[error("no answer within the timeout")]
    Timeout,
    #[error("the connection broke before the answer")]
    Broken,
    #[error("it answered {0}")]
    Status(u16),
    #[error("its process cannot be found: {0}")]
    NoProcess(&'static str),
    #[error("it cannot be read: {0}")]
    PidFile(std::io::Error),
    #[error("the signal was refused: {0}")]
    Refused(std::io::Error),
}

impl<S: Source> Notifier<S> {
    /// Starts a task for each rule, which tells what rotates from now on.
    pub fn start(rules: Vec<NotifyRule>, source: Arc<S>, metrics: Metrics) -> Arc<Self> {
        let notifier =
            Self { source, metrics, tasks: TaskTracker::new(), tellers: Mutex::default() };
        notifier.take_over(rules);
        Arc::new(notifier)
    }

    /// Takes over other rules.
    pub fn take_over(&self, rules: Vec<NotifyRule>) {
        let mut tellers = self.tellers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *tellers);
        for rule in rules {
            let same = before.iter().position(|(other, _)| *other == rule);
            tellers.push(match same {
                Some(place) => before.swap_remove(place),
                None => (rule.clone(), self.tell(rule)),
            });
        }
        for (_, stop) in before {
            stop.cancel();
        }
    }

    /// Ends every task. What was not told yet is not told any more.
    pub fn stop(&self) {
        self.take_over(Vec::new());
        self.tasks.close();
    }

    fn tell(&self, rule: NotifyRule) -> CancellationToken {
        let stop = CancellationToken::new();
        let newest = self.source.rotations().newest();
        let told = *newest.borrow();
        let (source, metrics) = (Arc::clone(&self.source), self.metrics.clone());
        let teller = Teller { rule, source, metrics, newest, told };
        let stopped = stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = teller.run() => {}
                () = stopped.cancelled() => {}
            }
        });
        stop
    }
}

struct Teller<S> {
    rule: NotifyRule,
    source: Arc<S>,
    metrics: Metrics,
    newest: watch::Receiver<u64>,
    /// The newest rotation that was looked at.
    told: u64,
}

/// What is still to be told: the last state of each name.
type Pending = BTreeMap<SecretName, Rotation>;

impl<S: Source> Teller<S> {
    /// Ends when the source is gone.
    async fn run(mut self) {
        let mut pending = Pending::new();
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));
        loop {
            if pending.is_empty() {
                if self.newest.changed().await.is_err() {
                    return;
                }
                self.gather(&mut pending);
                if pending.is_empty() {
                    continue;
                }
                tokio::time::sleep(self.rule.debounce).await;
                self.gather(&mut pending);
            }
            match self.deliver(&pending).await {
                Ok(()) => {
                    backoff.reset();
                    self.metrics.notification("ok");
                    let names: Vec<_> = pending.keys().map(SecretName::as_str).collect();
                    event::notified(&self.rule.target, &names);
                    pending.clear();
                    // What came meanwhile is news again.
                    self.gather(&mut pending);
                }
                Err(error) => {
                    let wait = backoff.after_failure(None);
                    self.metrics.notification("failed");
                    event::not_notified(&self.rule.target, &error, wait);
                    tokio::time::sleep(wait).await;
                    self.gather(&mut pending);
                }
            }
        }
    }

    fn gather(&mut self, pending: &mut Pending) {
        let newest = *self.newest.borrow_and_update();
        // `None` after more rotations than are remembered: those are told.
        let rotations = self.source.rotations();
        let missed = rotations.after(self.told).unwrap_or_else(|| rotations.remembered());
        self.told = missed.last().map_or(newest, |rotation| rotation.id).max(newest);
        let wanted = |rotation: &Rotation| {
            self.rule.names.as_ref().is_none_or(|names| names.contains(&rotation.name))
        };
        for rotation in missed.into_iter().filter(wanted) {
            pending.insert(rotation.name.clone(), rotation);
        }
    }

    async fn deliver(&self, pending: &Pending) -> Result<(), NotTold> {
        match &self.rule.target {
            NotifyTarget::Http { url, timeout } => {
                let body = body(pending);
                let posted = http::post(url, body);
                tokio::time::timeout(*timeout, posted).await.unwrap_or(Err(NotTold::Timeout))
            }
            NotifyTarget::Signal { signal, process } => {
                let (signal, process) = (*signal, process.clone());
                let told = tokio::task::spawn_blocking(move || process::signal(&process, signal));
                told.await.unwrap_or(Err(NotTold::Timeout))
            }
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    rotations: Vec<Told<'a>>,
}

#[derive(Serialize)]
struct Told<'a> {
    name: &'a str,
    version: u64,
    etag: String,
}

fn body(pending: &Pending) -> Vec<u8> {
    let rotations = pending.values().map(|rotation| Told {
        name: rotation.name.as_str(),
        version: rotation.version,
        etag: format!("\"{}\"", rotation.etag),
    });
    serde_json::to_vec(&Body { rotations: rotations.collect() }).unwrap_or_default()
}
