//! TLS for the outside, in front of an application that has none: with a certificate of Vault's
//! that nobody deploys, replaced while connections live.
//!
//! An accepted connection is given TLS (`handshake`) with what is on the `shelf` at that moment;
//! its client's certificate, where one is asked for, is judged by what `clients` keeps. Then
//! `http` forwards its requests, or `tcp` its bytes, to the one port of the `application`.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::ServerConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::adapter::ambassador::connect::TrustError;
use crate::adapter::silence::notice_silence;
use crate::cache::SecretCache;
use crate::config::{TlsMode, TlsSpec};
use crate::lifecycle::Awaited;
use crate::memory::InSecretMemory;
use crate::observe::{Metrics, OpenConnection, TlsMetrics, tls as event};
use crate::server::{BindError, Listener, Stream, accept_loop};
use crate::vault::Upstream;

mod access;
mod application;
mod clients;
mod handshake;
mod http;
mod proxy;
mod settings;
mod shelf;
mod signing;
mod tcp;

use access::{Access, Admitted};
use application::Application;
use clients::{Identity, Keeper, Terms};
use handshake::Secured;
use http::Http;
use proxy::Ends;
use settings::server_config;
use shelf::Shelf;

#[doc(hidden)]
pub use access::fuzz_token;
pub use clients::ClientsError;
#[doc(hidden)]
pub use proxy::{Ends as ProxyEnds, Said as ProxySaid, parse_proxy_header};

/// Why a TLS adapter cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A listener cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// There is nothing to judge the certificates of clients by.
    #[error("adapters.tls.{name}: certificates of clients cannot be judged")]
    Clients {
        /// The adapter.
        name: String,
        /// What was wrong.
        source: ClientsError,
    },
    /// There is nothing to judge the issuer of tokens by.
    #[error("adapters.tls.{name}: no trust anchors for the issuer's keys")]
    Issuer {
        /// The adapter.
        name: String,
        /// What was wrong with them.
        source: TrustError,
    },
}

/// Whether files for mutual TLS and for tokens can be used. Asks nobody.
///
/// # Errors
/// [`TlsError::Clients`], [`TlsError::Issuer`].
pub fn rehearse(spec: &TlsSpec) -> Result<(), TlsError> {
    let name = || spec.name.as_str().to_owned();
    clients::rehearse(spec).map_err(|source| TlsError::Clients { name: name(), source })?;
    access(spec).map(drop)
}

fn access(spec: &TlsSpec) -> Result<Access, TlsError> {
    let name = || spec.name.as_str().to_owned();
    let access = Access::new(spec.name.clone(), spec.access.clone());
    access.map_err(|source| TlsError::Issuer { name: name(), source })
}

/// What all TLS adapters share with the rest of the process.
#[derive(Clone)]
pub struct Shared {
    /// Where the certificate comes from.
    pub cache: SecretCache,
    /// Where the list of revoked certificates comes from.
    pub upstream: Upstream,
    /// Where outcomes are counted.
    pub metrics: Metrics,
}

/// A TLS adapter with its listeners bound: nothing is accepted yet.
pub struct TlsAdapter {
    spec: Arc<TlsSpec>,
    listeners: Vec<Listener>,
    shelf: Arc<Shelf>,
    closed: Arc<ServerConfig>,
    open: Arc<ServerConfig>,
    terms: Option<Arc<Terms>>,
    access: Access,
}

impl TlsAdapter {
    /// Binds the listeners and reads the files of mutual TLS. Must be called inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// An address that cannot be bound, or files that cannot be used.
    pub fn bind(spec: TlsSpec) -> Result<Self, TlsError> {
        rehearse(&spec)?;
        let key = || format!("adapters.tls.{}.listen", spec.name.as_str());
        let listen = |addr: &SocketAddr| Listener::tcp(*addr).map_err(|error| error.of(&key()));
        let listeners = spec.listen.iter().map(listen).collect::<Result<Vec<_>, _>>()?;
        let shelf = Arc::<Shelf>::default();
        let refused = |source| TlsError::Clients {
            name: spec.name.as_str().to_owned(),
            source: ClientsError::Settings(source),
        };
        let closed = server_config(&spec, Arc::<Shelf>::default(), None).map_err(refused)?;
        let open = server_config(&spec, Arc::<Shelf>::clone(&shelf), None).map_err(refused)?;
        let access = access(&spec)?;
        let terms = spec.trust().map(|_| Arc::<Terms>::default());
        Ok(Self { spec: Arc::new(spec), listeners, shelf, closed, open, terms, access })
    }

    /// With mutual TLS nobody can be let in before certificates of clients can be judged.
    pub fn awaited(&self) -> Option<Awaited> {
        let terms = Arc::clone(self.terms.as_ref()?);
        Some(Awaited {
            name: format!("adapters.tls.{}", self.spec.name),
            is_there: Box::new(move || terms.load().is_some()),
        })
    }

    /// Where it listens, with the real ports.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        let addr = |listener: &Listener| match listener {
            Listener::Tcp { addr, .. } => Some(*addr),
            Listener::Unix { .. } => None,
        };
        self.listeners.iter().filter_map(addr).collect()
    }

    /// Serves in the background until `cancel`: then nothing is accepted any more, and what is
    /// under way is brought to its end. `tracker` is empty after that.
    pub fn serve(self, shared: &Shared, tracker: &TaskTracker, cancel: CancellationToken) {
        for addr in self.addrs() {
            event::listening(&self.spec, addr);
        }
        let Self { spec, listeners, shelf, closed, open, terms, access } = self;
        access.start(tracker, cancel.clone());
        let numbers = Arc::new(shared.metrics.tls(spec.name.as_str()));
        let station = Arc::new(Station {
            spec,
            shelf,
            closed,
            open,
            terms,
            access,
            numbers,
            failing: AtomicBool::new(false),
        });
        station.keep(shared, tracker, &cancel);
        let permits = Arc::new(Semaphore::new(station.spec.limits.max_connections));
        let service = Service::of(&station);
        let (tasks, stop) = (tracker.clone(), cancel.clone());
        let start = move |stream, peer: crate::server::Peer, permit| {
            // Listeners are TCP alone.
            let Some((client, server)) = peer.addresses() else { return };
            if let Stream::Left(tcp) = &stream {
                notice_silence(tcp, station.spec.limits.keepalive);
            }
            let ends = Ends { client, server };
            let hold = Hold { open: station.numbers.connection(), permit };
            let (station, service) = (Arc::clone(&station), service.clone());
            let context = (tasks.clone(), stop.child_token());
            // What was read last stays in a connection's buffers: a client's token, for one.
            let serve = async move { serve(&station, service, stream, ends, hold, context).await };
            tasks.spawn(InSecretMemory::new(serve));
        };
        tracker.spawn(accept_loop(listeners, permits, cancel, || {}, start));
    }
}

/// What a connection takes up until it is closed, also when it becomes another one by an upgrade.
struct Hold {
    #[expect(dead_code, reason = "held for its drop")]
    permit: OwnedSemaphorePermit,
    #[expect(dead_code, reason = "held for its drop")]
    open: OpenConnection,
}

#[derive(Clone)]
enum Service {
    Http(Arc<Http>),
    Tcp { application: Arc<Application>, announce: bool },
}

impl Service {
    fn of(station: &Arc<Station>) -> Self {
        let patience = station.spec.limits.connect_timeout;
        let application = Application { forward: station.spec.forward.clone(), patience };
        match &station.spec.mode {
            TlsMode::Http(limits) => {
                let station = Arc::clone(station);
                Self::Http(Arc::new(Http::new(station, limits.clone(), application)))
            }
            TlsMode::Tcp { proxy_protocol, .. } => {
                Self::Tcp { application: Arc::new(application), announce: *proxy_protocol }
            }
        }
    }
}

async fn serve(
    station: &Station,
    service: Service,
    stream: Stream,
    ends: Ends,
    hold: Hold,
    (tracker, stop): (TaskTracker, CancellationToken),
) {
    let shaken = tokio::select! {
        shaken = handshake::shake(station, stream, ends) => shaken,
        // Nobody was promised anything yet.
        () = stop.cancelled() => return,
    };
    let secured: Secured = match shaken {
        Ok(secured) => secured,
        Err(failed) => {
            station.numbers.handshake(failed.outcome);
            let client = ends.client.ip();
            event::handshake_failed(&station.spec, client, failed.outcome, &failed.why);
            return;
        }
    };
    station.numbers.handshake("ok");
    let ended = match service {
        Service::Http(http) => http.serve(secured, hold, tracker, stop).await,
        Service::Tcp { application, announce } => {
            let ended = tcp::serve(station, &application, announce, secured, stop).await;
            drop(hold);
            ended
        }
    };
    station.numbers.ended(ended);
}

/// One adapter at work.
struct Station {
    spec: Arc<TlsSpec>,
    shelf: Arc<Shelf>,
    /// Settings without a certificate, for a refusal that the client understands.
    closed: Arc<ServerConfig>,
    /// Settings that ask clients for nothing.
    open: Arc<ServerConfig>,
    /// Settings that ask clients for certificates, where they are asked.
    terms: Option<Arc<Terms>>,
    /// Who may do what.
    access: Access,
    numbers: Arc<TlsMetrics>,
    /// The application could not be reached last time, which the log says once.
    failing: AtomicBool,
}

impl Station {
    /// Keeps certificate and judgement of clients in line with Vault, in the background.
    fn keep(&self, with: &Shared, tracker: &TaskTracker, stop: &CancellationToken) {
        let (changed, certificate) = watch::channel(0);
        let (in_use, spec) = (Arc::clone(&self.shelf), Arc::clone(&self.spec));
        let (cache, until) = (with.cache.clone(), stop.clone());
        tracker.spawn(async move { in_use.keep(&spec, &cache, &changed, &until).await });
        let (Some(terms), Some(trust)) = (&self.terms, self.spec.trust()) else { return };
        let keeper = Keeper {
            spec: Arc::clone(&self.spec),
            shelf: Arc::clone(&self.shelf),
            upstream: with.upstream.clone(),
            numbers: Arc::clone(&self.numbers),
            terms: Arc::clone(terms),
        };
        tracker.spawn(keeper.run(trust.clone(), certificate, stop.clone()));
    }

    /// What a handshake goes by now.
    fn settings(&self) -> Arc<ServerConfig> {
        match &self.terms {
            None => Arc::clone(&self.open),
            Some(terms) => terms.load_full().unwrap_or_else(|| Arc::clone(&self.closed)),
        }
    }

    /// Counts what a rule let in.
    fn count(&self, admitted: &Admitted) {
        if let Some(rule) = &admitted.rule {
            self.numbers.admitted(rule);
        }
    }

    /// Says once that the application is out of reach, and once that it is back.
    fn reached(&self, outcome: Result<(), &(dyn std::error::Error + 'static)>) {
        match outcome {
            Ok(()) if self.failing.load(Ordering::Relaxed) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    event::application_back(&self.spec);
                }
            }
            Ok(()) => {}
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    event::application_lost(&self.spec, error);
                }
            }
        }
    }
}

impl fmt::Debug for TlsAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAdapter").field("spec", &self.spec).finish_non_exhaustive()
    }
}
