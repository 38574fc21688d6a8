//! A local port that the application speaks plain HTTP, PostgreSQL or anything over TCP to; the
//! real connection is opened here, to the one destination of the configuration, with the
//! credential put in on the way, or shown in its handshake. The application never has it.
//!
//! An accepted connection passes the caller rules and guards that hold at the local door as
//! well; then `http` forwards its requests, `postgres` starts its session and copies, or `tcp`
//! only copies. All reach the destination through `connect`, and none of their connections
//! outlives what it was made with (`tenure`).

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::{SecretCache, Served};
use crate::config::{AmbassadorListen, AmbassadorProtocol, AmbassadorSpec, SecretName};
use crate::memory::InSecretMemory;
use crate::observe::{Access, AmbassadorMetrics, Audit, Metrics, event};
use crate::server::{
    BindError, Denied, Listener, OwnNames, Peer, SharedPolicy, Stream, accept_loop, identify,
};

pub(super) mod connect;
mod http;
mod postgres;
mod tcp;
mod tenure;

use connect::{ConnectError, Connector, Identity, TrustError};
use http::Http;
use postgres::Postgres;
use tcp::Tcp;

#[doc(hidden)]
pub use postgres::parse_client;

/// Why an ambassador cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AmbassadorError {
    /// Its listener cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// There is nothing to judge the destination's certificate by.
    #[error("adapters.ambassador.{name}: no trust anchors for the destination")]
    Trust {
        /// The ambassador.
        name: String,
        /// What was wrong with them.
        source: TrustError,
    },
}

/// Whether the destination's certificate could be judged. Asks nobody.
///
/// # Errors
/// [`AmbassadorError::Trust`].
pub fn rehearse(spec: &AmbassadorSpec) -> Result<(), AmbassadorError> {
    connector(spec).map(drop)
}

fn connector(spec: &AmbassadorSpec) -> Result<Connector, AmbassadorError> {
    let name = || spec.name.as_str().to_owned();
    Connector::new(spec).map_err(|source| AmbassadorError::Trust { name: name(), source })
}

/// What all ambassadors share with the rest of the process.
#[derive(Clone)]
pub struct Shared {
    /// Where credentials come from.
    pub cache: SecretCache,
    /// Caller rules and limits.
    pub policy: SharedPolicy,
    /// Where outcomes are counted.
    pub metrics: Metrics,
    /// Where uses are written down; `None` when turned off.
    pub audit: Option<Audit>,
}

/// An ambassador with its listener bound: nothing is accepted yet.
pub struct Ambassador {
    spec: AmbassadorSpec,
    listener: Listener,
    connector: Connector,
}

impl Ambassador {
    /// Binds the listener and reads the trust anchors. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// An address that cannot be bound, or certificates that cannot be used.
    pub fn bind(spec: AmbassadorSpec) -> Result<Self, AmbassadorError> {
        let listener = match &spec.listen {
            AmbassadorListen::Tcp(addr) => Listener::tcp(addr.get()),
            AmbassadorListen::Unix(name) => {
                Listener::unix(name, OwnNames::unix(std::iter::empty()))
            }
        };
        let key = || format!("adapters.ambassador.{}.listen", spec.name.as_str());
        let listener = listener.map_err(|error| error.of(&key()))?;
        let connector = connector(&spec)?;
        Ok(Self { spec, listener, connector })
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        self.spec.name.as_str()
    }

    /// Where it listens, with the real port; `None` for a unix socket.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        match &self.listener {
            Listener::Tcp { addr, .. } => Some(*addr),
            Listener::Unix { .. } => None,
        }
    }

    /// Serves in the background until `cancel`: then nothing is accepted any more, and what is
    /// under way is brought to its end. `tracker` is empty after that.
    pub fn serve(self, shared: Shared, tracker: &TaskTracker, cancel: CancellationToken) {
        let Self { spec, listener, connector } = self;
        match &listener {
            Listener::Tcp { addr, .. } => event::ambassador_listening(&spec, addr),
            Listener::Unix { name, .. } => event::ambassador_listening(&spec, name),
        }
        let most = shared.policy.load().limits().max_connections;
        let permits = Arc::new(Semaphore::new(spec.max_connections.unwrap_or(most)));
        let station = Arc::new(Station {
            numbers: shared.metrics.ambassador(spec.name.as_str()),
            spec,
            shared,
            connector,
            failing: AtomicBool::new(false),
        });
        let protocol = Protocol::of(&station);
        if let (Protocol::Http(http), Some(_)) = (&protocol, station.spec.client_certificate()) {
            tracker.spawn(Arc::clone(http).follow_certificate(cancel.clone()));
        }
        let connections = (tracker.clone(), cancel.clone());
        let start = move |stream, peer, permit| {
            let (tracker, cancel) = &connections;
            let (protocol, cancel) = (protocol.clone(), cancel.child_token());
            let open = station.numbers.connection();
            tracker.spawn(InSecretMemory::new(async move {
                protocol.serve(stream, peer, cancel).await;
                drop((permit, open));
            }));
        };
        tracker.spawn(accept_loop(vec![listener], permits, cancel, || {}, start));
    }
}

#[derive(Clone)]
enum Protocol {
    Http(Arc<Http>),
    Postgres(Arc<Postgres>),
    Tcp(Arc<Tcp>),
}

impl Protocol {
    fn of(station: &Arc<Station>) -> Self {
        match &station.spec.protocol {
            AmbassadorProtocol::Http(header) => {
                Self::Http(Arc::new(Http::new(Arc::clone(station), header.clone())))
            }
            AmbassadorProtocol::Postgres { .. } => {
                Self::Postgres(Arc::new(Postgres::new(Arc::clone(station))))
            }
            AmbassadorProtocol::Tcp => Self::Tcp(Arc::new(Tcp { station: Arc::clone(station) })),
        }
    }

    fn station(&self) -> &Station {
        match self {
            Self::Http(http) => &http.station,
            Self::Postgres(postgres) => &postgres.station,
            Self::Tcp(tcp) => &tcp.station,
        }
    }

    async fn serve(&self, stream: Stream, peer: Peer, cancel: CancellationToken) {
        self.station().audit_room().await;
        match self {
            Self::Http(http) => Arc::clone(http).serve(stream, peer, cancel).await,
            Self::Postgres(postgres) => postgres.serve(stream, peer, cancel).await,
            Self::Tcp(tcp) => tcp.serve(stream, peer, cancel).await,
        }
    }
}

/// One ambassador at work.
struct Station {
    spec: AmbassadorSpec,
    shared: Shared,
    connector: Connector,
    numbers: AmbassadorMetrics,
    /// The destination could not be reached last time, which the log says once.
    failing: AtomicBool,
}

impl Station {
    /// The caller rule that lets `peer` in.
    fn identify(&self, peer: &Peer, token: Option<&[u8]>) -> Result<Arc<str>, Denied> {
        identify(&self.shared.policy.load(), peer, token, &self.spec.allow)
    }

    /// The secret as it is now; never one past its end.
    async fn secret(&self, name: &SecretName) -> Option<Served> {
        match self.shared.cache.get(name, None).await {
            Ok(served) => Some(served),
            Err(error) => {
                event::ambassador_without_credential(&self.spec.name, name, &error);
                None
            }
        }
    }

    /// The client certificate as it is now, where there is to be one; never one past its end.
    async fn certificate(&self) -> Result<Option<Served>, ConnectError> {
        let Some(name) = self.spec.client_certificate() else { return Ok(None) };
        let served = self.shared.cache.get(name, None).await.inspect_err(|error| {
            event::ambassador_without_credential(&self.spec.name, name, error);
        });
        served.map(Some).map_err(ConnectError::NoCertificate)
    }

    /// Waits while the audit log has no room for what is to be written down.
    async fn audit_room(&self) {
        if let Some(audit) = &self.shared.audit {
            audit.room().await;
        }
    }

    /// Counts and writes down how a request or a session ended.
    fn note(&self, used: &Use<'_>) {
        self.numbers.count(used.outcome);
        let Some(audit) = &self.shared.audit else { return };
        audit.record(&Access {
            action: used.action,
            adapter: Some(self.spec.name.as_str()),
            caller: used.caller,
            uid: used.peer.known_uid(),
            name: self.spec.secret().or(self.spec.client_certificate()).map(SecretName::as_str),
            outcome: used.outcome,
            freshness: used.served.map(|served| served.freshness.as_str()),
            age: used.served.map(|served| served.age),
            transport: used.peer.transport(),
            ..Access::default()
        });
    }

    /// Says once that the destination is out of reach, and once that it is back.
    fn reached(&self, outcome: Result<(), &(dyn std::error::Error + 'static)>) {
        match outcome {
            Ok(()) if self.failing.load(Ordering::Relaxed) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    event::destination_back(&self.spec);
                }
            }
            Ok(()) => {}
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    event::destination_lost(&self.spec, error);
                }
            }
        }
    }
}

/// What is shown to the destination of a certificate that was `served`.
fn identity(served: Option<&Served>) -> Result<Option<Identity>, ConnectError> {
    served.map(|served| Identity::of(&served.secret)).transpose()
}

/// One use of an ambassador, for metrics and audit.
struct Use<'a> {
    action: &'static str,
    peer: &'a Peer,
    caller: Option<&'a str>,
    outcome: &'static str,
    served: Option<&'a Served>,
}

impl fmt::Debug for Ambassador {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ambassador").field("spec", &self.spec).finish_non_exhaustive()
    }
}
