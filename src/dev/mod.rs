//! A Vault-compatible server in memory, on loopback only.
//!
//! It is the default behind `sidekey dev`, and the Vault of the tests: a real HTTP or
//! HTTPS server whose answers follow Vault 1.19, with faults on a script. It has no
//! storage and no seal worth the name; nobody should keep a real secret in it.
//!
//! ```text
//! http → fault → dispatch: seal → namespace → token → policy → engine → lease, wrapping
//! ```

mod approle;
mod body;
mod cert;
mod claims;
mod clock;

mod database;
mod der;
mod dispatch;
mod fault;
mod fields;
mod grant;
mod hcl;
mod http;
mod jwt;
mod kubernetes;
mod kv1;
mod kv2;
mod lease;
mod log;
mod mount;
mod number;
mod pki;
mod policy;
mod random;
mod reply;
mod request;
mod review;
mod socket;
mod state;
mod sys;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod token_api;
mod version;
mod wrapping;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub use fault::{Fault, Faults, Matcher, On, Script};
pub use log::RequestRecord;
pub use tls::DevTls;

use self::clock::Clock;
use self::http::{Connection, Shared};
use self::mount::Engine;
use self::socket::Socket;
use self::state::{Standby, State};

/// How the dev server starts.
pub struct DevOptions {
    /// A loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The root token, random when there is none.
    pub root_token: Option<String>,
    /// HTTPS instead of HTTP.
    pub tls: Option<DevTls>,
}

impl Default for DevOptions {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 0).into(), root_token: None, tls: None }
    }
}

/// A running dev server; it stops when dropped.
pub struct DevServer {
    addr: SocketAddr,
    https: bool,
    root_token: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl DevServer {
    /// Binds and serves, with `secret/` mounted as a KV version 2 store.
    pub async fn start(options: DevOptions) -> io::Result<Self> {
        if !options.listen.ip().is_loopback() {
            let error = "the dev server listens on a loopback address only";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        let acceptor = options.tls.as_ref().map(tls::acceptor).transpose()?;
        let root_token = match options.root_token {
            Some(token) => token,
            None => format!("dev-{}", random::hex(32)?),
        };
        let listener = TcpListener::bind(options.listen).await?;
        let addr = listener.local_addr()?;
        let state = fresh(&root_token, Clock::new())?;
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            faults: Faults::default(),
            log: Mutex::default(),
        });
        let https = acceptor.is_some();
        #[expect(clippy::disallowed_methods, reason = "its own task, aborted when dropped")]
        let task = tokio::spawn(accept(listener, acceptor, Arc::clone(&shared)));
        Ok(Self { addr, https, root_token, shared, task })
    }

    /// What goes into `VAULT_ADDR`.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.https { "https" } else { "http" }, self.addr)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The token that may do everything.
    pub fn root_token(&self) -> &str {
        &self.root_token
    }

    /// The script of what goes wrong.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// The requests so far in the order of arrival (the last 65536 of them).
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.shared.log().records().cloned().collect()
    }

    /// How many requests with this method came for this path.
    pub fn count(&self, method: &str, path: &str) -> usize {
        let log = self.shared.log();
        log.records().filter(|record| record.method == method && record.path == path).count()
    }

    /// Writes a new version into a KV version 2 store, as in `secret/example`, and says
    /// which one it is; 0 when no such store is mounted.
    pub fn seed_kv2(&self, path: &str, fields: serde_json::Map<String, serde_json::Value>) -> u64 {
        let mut state = self.shared.state();
        let now = state.now();
        let Ok(data) = reply::raw(&fields) else { return 0 };
        let root = state.namespaces.get_mut("");
        match root.and_then(|root| root.route(path)) {
            Some((mount, key)) => match &mut mount.engine {
                Engine::Kv2(store) => store.seed(key, data, now),
                _ => 0,
            },
            None => 0,
        }
    }

    /// Mounts a PKI engine at `pki/` with a root of its own and a role that permits every name.
    /// Does nothing when something is mounted there.
    ///
    /// # Errors
    /// When the kernel gives no randomness.
    pub fn seed_pki(&self, role: &str) -> io::Result<()> {
        let mut state = self.shared.state();
        let now = state.now();
        let failed = |failure: reply::Failure| io::Error::other(failure.errors.join("; "));
        let Some(root) = state.namespaces.get_mut("") else { return Ok(()) };
        if root.mount_of("pki/x").is_none() {
            let mount = mount::Mount::pki(role, now).map_err(failed)?;
            root.mounts.insert("pki/".to_owned(), mount);
        }
        Ok(())
    }

    /// Everything but health and seal status answers 503 from now on.
    pub fn seal(&self) {
        self.shared.state().sealed = true;
    }

    /// Undoes [`seal`](Self::seal).
    pub fn unseal(&self) {
        self.shared.state().sealed = false;
    }

    /// Plays a standby node, which sends clients on to `redirect_to` or, without one,
    /// answers 503.
    pub fn standby(&self, redirect_to: Option<String>) {
        self.shared.state().standby = Some(Standby { active: redirect_to });
    }

    /// Undoes [`standby`](Self::standby).
    pub fn activate(&self) {
        self.shared.state().standby = None;
    }

    /// Every token but the root token is gone, with the leases they held.
    pub fn revoke_all_tokens_but_root(&self) {
        self.shared.state().revoke_all_but_root();
    }

    /// The server's clock is this far ahead of the real one, for tokens, leases and JWTs.
    pub fn set_clock_offset(&self, offset: Duration) {
        self.shared.state().set_clock_offset(offset);
    }

    /// Forgets everything but its address, its root token and its script, as a dev server
    /// that was killed and started again.
    pub fn restart_empty(&self) -> io::Result<()> {
        *self.shared.state() = fresh(&self.root_token, Clock::new())?;
        Ok(())
    }

    /// Stops serving and closes every connection.
    pub async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for DevServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn fresh(root_token: &str, clock: Clock) -> io::Result<State> {
    let failed = |failure: reply::Failure| io::Error::other(failure.errors.join("; "));
    State::new(root_token.to_owned(), clock).map_err(failed)
}

/// Accepts until aborted; the connections' tasks end with this one.
async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                connections.spawn(connected(stream, acceptor.clone(), Arc::clone(&shared)));
            }
            // Out of descriptors, most likely: waiting is better than spinning.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connected(
    stream: tokio::net::TcpStream,
    acceptor: Option<TlsAcceptor>,
    shared: Arc<Shared>,
) {
    let reset = Arc::new(AtomicBool::new(false));
    let socket = Socket::new(stream, Arc::clone(&reset));
    let connection = Connection { shared, peer: Vec::new(), tls: acceptor.is_some(), reset };
    let Some(acceptor) = acceptor else {
        return http::serve(connection, socket).await;
    };
    let Ok(stream) = acceptor.accept(socket).await else { return };
    let peer = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = peer.iter().map(|certificate| certificate.to_vec()).collect();
    http::serve(Connection { peer, ..connection }, stream).await;
}
