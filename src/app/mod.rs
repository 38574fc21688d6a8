//! The only wiring: from a configuration to a running sidecar, and to its orderly end.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::adapter::ambassador::{self, Ambassador};
use crate::adapter::tls::{self, TlsAdapter};
use crate::cache::SecretCache;
use crate::config::{AbstractName, Config, Declarations, Life, Limits, NameKind};
use crate::error::Error;
use crate::lifecycle::{Readiness, Shutdown};
use crate::memory::arena_status;
use crate::notify::Notifier;
use crate::observe::{Audit, Metrics, Outlet, Style, log_to};
use crate::server::{BoundServer, Context, Policy, Server, SharedPolicy};
use crate::vault::{FetchThread, Upstream};

mod memory;
mod reload;
mod start;
mod stop;

pub(crate) use memory::{ENOUGH_MEMORY, cache_capacity, settle_memory};
pub use reload::Reloader;
use reload::{AtStart, Running};
pub(crate) use start::first_login;
use start::until_ready;
use stop::Stop;

/// The sidecar, to be built.
#[derive(Debug)]
pub struct App;

/// The sidecar with its ports bound: addresses are known, nothing is served yet.
pub struct Bound {
    server: BoundServer,
    ambassadors: Vec<Ambassador>,
    tls: Vec<TlsAdapter>,
    upstream: Upstream,
    fetch_thread: FetchThread,
    cache: SecretCache,
    notifier: Arc<Notifier<SecretCache>>,
    readiness: Readiness,
    policy: SharedPolicy,
    metrics: Metrics,
    outlet: Outlet,
    audit: Option<Audit>,
    life: Life,
    running: Arc<Running>,
}

impl App {
    /// Binds the listeners and starts to log in to Vault. Must be called inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// A port that cannot be bound, or settings for Vault that cannot work.
    #[expect(clippy::unused_async, reason = "it needs the runtime, and says so by its type")]
    pub async fn build(config: Config, style: Style) -> Result<Bound, Error> {
        let declarations = config.declarations();
        let server = Server::bind(&config.listen, config.health)?;
        let ambassadors = config.ambassadors.iter().cloned().map(Ambassador::bind);
        let ambassadors = ambassadors.collect::<Result<Vec<_>, _>>()?;
        let tls = config.tls.iter().cloned().map(TlsAdapter::bind);
        let tls = tls.collect::<Result<Vec<_>, _>>()?;
        let at_start = AtStart::of(&config);
        let Config { vault, auth, callers, notify, limits, life, protection, .. } = config;
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        let no_thread =
            |source| Error::System { what: "cannot start the thread of stderr", source };
        let outlet = Outlet::to_stderr(metrics.audit_errors()).map_err(no_thread)?;
        let audit = life.audit.then(|| Audit::new(style, outlet.clone()));
        let auth = Arc::new(auth);
        let (upstream, fetch_thread) =
            Upstream::start(vault.clone(), Arc::clone(&auth), metrics.clone())
                .map_err(Error::VaultSettings)?;
        if declarations.values().any(|what| what.kind() == NameKind::Certificate) {
            let no_thread =
                |source| Error::System { what: "cannot start the keystore thread", source };
            server.start_keystores().map_err(no_thread)?;
        }
        settle_memory(&protection)?;
        let cache = SecretCache::new(&declarations, cache_capacity(&limits), upstream.clone());
        let notifier = Notifier::start(notify, Arc::new(cache.clone()), metrics.clone());
        let awaited = tls.iter().filter_map(TlsAdapter::awaited).collect();
        let readiness = Readiness::new(cache.clone(), awaited);
        update_on_scrape(&metrics, cache.clone(), readiness.clone());
        let running = Arc::new(Running::new(vault, auth, at_start));
        let policy = policy(callers, &declarations, limits).shared();
        Ok(Bound {
            server,
            ambassadors,
            tls,
            upstream,
            fetch_thread,
            cache,
            notifier,
            readiness,
            policy,
            metrics,
            outlet,
            audit,
            life,
            running,
        })
    }
}

impl Bound {
    /// The TCP addresses of the local door, with their real ports.
    pub fn tcp_addrs(&self) -> Vec<SocketAddr> {
        self.server.tcp_addrs()
    }

    /// The abstract unix socket of the local door.
    pub fn unix_name(&self) -> Option<&AbstractName> {
        self.server.unix_name()
    }

    /// The health listener's address.
    pub fn health_addr(&self) -> Option<SocketAddr> {
        self.server.health_addr()
    }

    /// Says in the metrics which layers of the sandbox are in force.
    pub fn note_sandbox(&self, files_and_ports: bool, system_calls: bool) {
        self.metrics.set_sandbox("files_and_ports", files_and_ports);
        self.metrics.set_sandbox("system_calls", system_calls);
    }

    /// The numbers that the health listener shows.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Takes over another configuration while this one runs.
    pub fn reloader(&self) -> Reloader {
        Reloader {
            upstream: self.upstream.clone(),
            cache: self.cache.clone(),
            notifier: Arc::clone(&self.notifier),
            policy: Arc::clone(&self.policy),
            running: Arc::clone(&self.running),
        }
    }

    /// Serves until `shutdown` is asked, then stops in order: not ready, no new connections,
    /// what is in flight ends, our token is given back, everything held is wiped.
    ///
    /// # Errors
    /// When Vault refuses the first login, or cannot be reached within the start-up deadline.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        let (connections, health_tasks) = (TaskTracker::new(), TaskTracker::new());
        let (no_more_connections, no_more_health) =
            (CancellationToken::new(), CancellationToken::new());
        let Self { mut server, upstream, fetch_thread, cache, readiness, outlet, .. } = self;
        log_to(&outlet);
        if let Some(health) = server.take_health() {
            let readiness = Arc::new(readiness.clone());
            health.serve(readiness, self.metrics.clone(), &health_tasks, no_more_health.clone());
        }
        for ambassador in self.ambassadors {
            let shared = ambassador::Shared {
                cache: cache.clone(),
                policy: Arc::clone(&self.policy),
                metrics: self.metrics.clone(),
                audit: self.audit.clone(),
            };
            ambassador.serve(shared, &connections, no_more_connections.clone());
        }
        for adapter in self.tls {
            let shared = tls::Shared {
                cache: cache.clone(),
                upstream: upstream.clone(),
                metrics: self.metrics.clone(),
            };
            adapter.serve(&shared, &connections, no_more_connections.clone());
        }
        let context =
            Context { policy: self.policy, metrics: self.metrics, audit: self.audit.clone() };
        server.serve(Arc::new(cache.clone()), context, &connections, no_more_connections.clone());

        health_tasks.spawn(memory::watch(no_more_health.clone()));
        let (vault, auth) = self.running.upstream();
        cache.fetch_required();
        let started = async {
            first_login(&upstream, &vault, &auth, self.life.startup_deadline).await?;
            until_ready(&readiness).await;
            std::future::pending().await
        };
        let outcome = tokio::select! {
            () = shutdown.asked() => Ok(()),
            outcome = started => outcome,
        };

        let stop = Stop {
            readiness,
            notifier: self.notifier,
            connections,
            no_more_connections,
            cache,
            upstream,
            fetch_thread,
            health_tasks,
            no_more_health,
            outlet,
        };
        stop.in_order(&shutdown, self.life.shutdown_deadline).await;
        outcome
    }
}

fn policy(
    callers: Vec<crate::config::CallerRule>,
    declarations: &Declarations,
    limits: Limits,
) -> Policy {
    let names = declarations.iter().map(|(name, what)| (name.clone(), what.kind()));
    Policy::new(callers, names, limits)
}

fn update_on_scrape(metrics: &Metrics, cache: SecretCache, readiness: Readiness) {
    metrics.on_scrape(move |metrics| {
        let (entries, bytes) = cache.size();
        metrics.set_cache(entries as u64, bytes as u64);
        for (name, age) in cache.ages() {
            metrics.set_cache_age(name.as_str(), age);
            metrics.set_expires_in(name.as_str(), cache.expires_in(&name));
        }
        metrics.set_ready(readiness.pending().is_empty() && !readiness.is_stopping());
        let memory = arena_status();
        metrics.set_memory(&memory);
    });
}
