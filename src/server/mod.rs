//! The local door: who may ask, for what, and the answer.
//!
//! A connection is accepted (`listener`), its requests pass one chain of guards (`guard`), an
//! admitted one is routed (`route`) and answered from the cache (`secret`); every way that can
//! end otherwise is in one table (`problem`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::{ReadError, Rotations, Served};
use crate::certificate::KeystoreThread;
use crate::config::{AbstractName, Listen, SecretName};
use crate::memory::InSecretMemory;
use crate::observe::{Audit, Metrics, event};

// From the socket to one request.
mod listener;
mod stream;
mod strangers;
mod connection;
mod head_timer;
mod door;
// Who asks, and whether it may.
mod head;
mod target;
mod peer;
mod socket_table;
mod policy;
mod token;
mod rate;
mod guard;
// What is asked for, and its answer.
mod route;
mod query;
mod wanted;
mod negotiate;
mod secret;
mod aws;
mod certificate;
mod keystore;
mod events;
mod answer;
mod body;
// Every other end.
mod problem;
mod code;
// The other listener.
mod health;

#[cfg(test)]
mod tests;

use door::{Door, Outcomes, Session};
use events::Streams;
use strangers::Strangers;

pub(crate) use connection::{Timeouts, serve as serve_http};
pub(crate) use guard::{Denied, OwnNames, identify, screen};
pub(crate) use listener::{Listener, accept_loop};
pub(crate) use peer::Peer;
pub(crate) use stream::{Stream, Unstuck};

pub use health::{BoundHealth, Readiness};
pub use listener::BindError;
pub use policy::{Policy, SharedPolicy};

/// Where values come from: the cache.
pub trait Source: Send + Sync + 'static {
    /// The value, fetched if need be. `version` asks KV v2 for one of its versions.
    fn get(
        &self,
        name: &SecretName,
        version: Option<u64>,
    ) -> impl Future<Output = Result<Served, ReadError>> + Send;

    /// The latest value with at least `min_ttl` of life left, renewed or replaced if need be.
    fn get_living(
        &self,
        name: &SecretName,
        min_ttl: Duration,
    ) -> impl Future<Output = Result<Served, ReadError>> + Send;

    /// Changes with the name's version; `None` while nothing is cached.
    fn changes(&self, name: &SecretName) -> Option<watch::Receiver<u64>>;

    /// What changed so far, over all names.
    fn rotations(&self) -> &Rotations;

    /// The latest value, or the error that stands for it, when that is known without waiting.
    fn cached(&self, name: &SecretName) -> Option<Result<Served, ReadError>>;

    /// The value that is there, for listings: never fetches, never waits.
    fn peek(&self, name: &SecretName) -> Option<Served>;

    /// Reads again from Vault, whatever is cached.
    fn refresh(&self, name: &SecretName) -> impl Future<Output = Result<Served, ReadError>> + Send;
}

/// The local door before it is opened.
#[derive(Debug, Clone, Copy)]
pub struct Server;

impl Server {
    /// Binds every listener, and serves nothing yet. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The first address that cannot be bound.
    pub fn bind(listen: &Listen, health: Option<SocketAddr>) -> Result<BoundServer, BindError> {
        let mut listeners = Vec::new();
        for addr in &listen.tcp {
            listeners.push(Listener::door(addr.get())?);
        }
        if let Some(name) = &listen.unix {
            let tcp = listeners.iter().filter_map(|listener| match listener {
                Listener::Tcp { names, .. } => Some(&**names),
                Listener::Unix { .. } => None,
            });
            let names = OwnNames::unix(tcp);
            listeners.push(Listener::unix(name, names)?);
        }
        let health = match health.map(Listener::health).transpose()? {
            Some(Listener::Tcp { socket, addr, names }) => {
                Some(BoundHealth { listener: Listener::Tcp { socket, addr, names }, addr })
            }
            _ => None,
        };
        Ok(BoundServer { listeners, health, keystores: Arc::default() })
    }
}

/// The local door, bound.
pub struct BoundServer {
    listeners: Vec<Listener>,
    health: Option<BoundHealth>,
    keystores: Arc<KeystoreThread>,
}

/// What the local door needs besides its source.
#[derive(Clone)]
pub struct Context {
    /// Callers, names and limits. Storing another takes effect at the next request; the number
    /// of connections alone stays as it was, and timeouts hold for new connections.
    pub policy: SharedPolicy,
    /// Where requests are counted.
    pub metrics: Metrics,
    /// Where reads and refusals are written down; `None` when turned off.
    pub audit: Option<Audit>,
}

/// Serves one connection of a peer without a uid, for the fuzz target.
#[doc(hidden)]
pub async fn serve_connection<S: Source>(
    stream: tokio::net::UnixStream,
    source: Arc<S>,
    context: Context,
) {
    let Context { policy, metrics, audit } = context;
    let timeouts = (&policy.load().limits).into();
    let streams = Streams { tracker: TaskTracker::new(), stopping: CancellationToken::new() };
    let outcomes = Outcomes::new(&metrics);
    let keystores = Arc::default();
    let door = Arc::new(Door { source, policy, audit, outcomes, streams, keystores });
    let peer = peer::Peer::unix(None, Arc::new(OwnNames::unix(std::iter::empty())));
    let session = Session { door, peer, place: Strangers::default().enter() };
    let answer = |request| session.respond(request);
    let stream = stream::Stream::Right(stream);
    let _ = connection::serve(stream, timeouts, CancellationToken::new(), answer).await;
}

impl BoundServer {
    /// The TCP addresses, with their real ports, in the order of the configuration.
    pub fn tcp_addrs(&self) -> Vec<SocketAddr> {
        let addr = |listener: &Listener| match listener {
            Listener::Tcp { addr, .. } => Some(*addr),
            Listener::Unix { .. } => None,
        };
        self.listeners.iter().filter_map(addr).collect()
    }

    /// The abstract unix socket.
    pub fn unix_name(&self) -> Option<&AbstractName> {
        self.listeners.iter().find_map(|listener| match listener {
            Listener::Tcp { .. } => None,
            Listener::Unix { name, .. } => Some(name),
        })
    }

    /// The health listener's address.
    pub fn health_addr(&self) -> Option<SocketAddr> {
        self.health.as_ref().map(BoundHealth::addr)
    }

    /// Starts the thread that makes keystores before the first one is asked for, so that its
    /// stack counts with the rest of secret memory.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start_keystores(&self) -> std::io::Result<()> {
        self.keystores.start()
    }

    /// The health listener, to be served before there is anything else to serve.
    pub fn take_health(&mut self) -> Option<BoundHealth> {
        self.health.take()
    }

    /// Serves in the background until `cancel`: then no connection is accepted any more, idle
    /// ones are closed, and requests under way are answered. `tracker` is empty after that.
    pub fn serve<S: Source>(
        self,
        source: Arc<S>,
        context: Context,
        tracker: &TaskTracker,
        cancel: CancellationToken,
    ) {
        self.announce();
        let Context { policy, metrics, audit } = context;
        let permits = Arc::new(Semaphore::new(policy.load().limits.max_connections));
        let outcomes = Outcomes::new(&metrics);
        let streams = Streams { tracker: tracker.clone(), stopping: cancel.clone() };
        let keystores = self.keystores;
        let door = Arc::new(Door { source, policy, audit, outcomes, streams, keystores });
        let connections = (tracker.clone(), cancel.clone());
        let strangers = Strangers::default();
        let make_room = {
            let (strangers, crowded_out) = (strangers.clone(), metrics.requests("crowded_out"));
            move || {
                if strangers.end_oldest() {
                    crowded_out.inc();
                }
            }
        };
        let start = move |stream, peer, permit| {
            let (tracker, cancel) = &connections;
            let place = strangers.enter();
            let number = place.number();
            let session = Session { door: Arc::clone(&door), peer, place };
            let timeouts = (&door.policy.load().limits).into();
            let open = metrics.connection();
            let cancel = cancel.child_token();
            let task = tracker.spawn(InSecretMemory::new(async move {
                let answer = |request| session.respond(request);
                if let Err(error) = connection::serve(stream, timeouts, cancel, answer).await {
                    session.door.outcomes.count_error(&error);
                }
                drop((permit, open));
            }));
            strangers.started(number, task.abort_handle());
        };
        tracker.spawn(accept_loop(self.listeners, permits, cancel, make_room, start));
    }

    fn announce(&self) {
        for listener in &self.listeners {
            match listener {
                Listener::Tcp { addr, .. } => event::listening(*addr),
                Listener::Unix { name, .. } => event::listening_unix(name),
            }
        }
    }
}
