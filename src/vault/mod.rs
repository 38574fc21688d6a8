//! The upstream. Everything that touches Vault runs on one thread with its own runtime, the
//! fetch thread, and hands over nothing but finished [`Secret`]s.
//!
//! [`Upstream`] is the door to it: `read`, `reconfigure`, `stop`, and the state of the login.

use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{AuthMethod, CertificateSpec, VaultConfig, VaultPath};
use crate::lease::Handle;
use crate::memory::{keep_thread_secret, scrub};
use crate::observe::{Metrics, event};
use crate::secret::{EtagKey, KvVersion, Secret};

mod approle;
mod auth;
mod ceiling;
mod confirm;
mod doubt;
mod envelope;
mod error;
mod fetcher;
mod former;
mod hand_back;
mod keep;
mod lease;
mod outcome;
mod pki;
#[cfg(test)]
pub(crate) mod played;
mod read;
mod refused;
mod resolve;
mod session;
mod stamp;
mod tls;
mod token;
mod transport;

pub use confirm::Confirmed;
pub use error::{Failure, NetworkReason, Refusal, Retry, VaultError};
pub use lease::Renewed;
pub use session::Login;

use fetcher::Fetcher;
use session::Session;

/// The door to the fetch thread. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Upstream {
    commands: mpsc::UnboundedSender<Command>,
    login: watch::Receiver<Login>,
}

/// The fetch thread itself. It ends after [`Upstream::stop`], or when every [`Upstream`] is gone.
#[derive(Debug)]
pub struct FetchThread {
    thread: JoinHandle<()>,
}

#[derive(Debug)]
enum Command {
    Read {
        path: VaultPath,
        version: Option<u64>,
        reply: Reply<Secret>,
    },
    Issue {
        spec: Box<CertificateSpec>,
        reply: Reply<Secret>,
    },
    RevocationList {
        mount: VaultPath,
        reply: Reply<Vec<u8>>,
    },
    Confirm {
        path: VaultPath,
        held: KvVersion,
        reply: Reply<Confirmed>,
    },
    Reconfigure {
        vault: Box<VaultConfig>,
        auth: Arc<AuthMethod>,
        login_again: bool,
        reply: Reply<()>,
    },
    Renew {
        lease_id: Box<str>,
        reply: Reply<Renewed>,
    },
    Revoke {
        handle: Handle,
        reply: Reply<()>,
    },
    Stop {
        budget: Duration,
        handles: Vec<Handle>,
        at_once: CancellationToken,
        reply: oneshot::Sender<()>,
    },
}

type Reply<T> = oneshot::Sender<Result<T, VaultError>>;

impl Upstream {
    /// Starts the fetch thread, which logs in at once and stays logged in.
    ///
    /// # Errors
    /// When the settings cannot work: an unreadable trust anchor, a thread that cannot start.
    pub fn start(
        vault: VaultConfig,
        auth: Arc<AuthMethod>,
        metrics: Metrics,
    ) -> Result<(Self, FetchThread), VaultError> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (state, login) = watch::channel(Login::Starting);
        let (ready, started) = std::sync::mpsc::channel();
        let no_thread = || VaultError::new(Failure::Credential("no thread".into()), "");
        let thread = std::thread::Builder::new()
            .name("fetch".into())
            .stack_size(1 << 20)
            .spawn(move || run(vault, auth, state, metrics, inbox, &ready))
            .map_err(|_| no_thread())?;
        started.recv().map_err(|_| no_thread())??;
        Ok((Self { commands, login }, FetchThread { thread }))
    }

    /// Reads a secret. Answers within about twice the configured timeout, whatever Vault does.
    ///
    /// Cancel safety: an abandoned read that still waits in line is not made; one under way goes
    /// on to its end and is dropped there.
    ///
    /// # Errors
    /// Everything that can go wrong with Vault.
    pub async fn read(&self, path: &VaultPath, version: Option<u64>) -> Result<Secret, VaultError> {
        let (reply, answer) = oneshot::channel();
        let read = self.ask(Command::Read { path: path.clone(), version, reply }, answer).await;
        read.and_then(kept_as_required)
    }

    /// Has a certificate issued. Each call makes another one.
    ///
    /// Cancel safety: an abandoned issuance goes on to its end; Vault keeps what it issued, and
    /// the private key is dropped.
    ///
    /// # Errors
    /// [`Failure::Unfit`] when it is not what was asked for, and everything that can go wrong
    /// with Vault.
    pub async fn issue(&self, spec: &CertificateSpec) -> Result<Secret, VaultError> {
        let (reply, answer) = oneshot::channel();
        let issued = self.ask(Command::Issue { spec: Box::new(spec.clone()), reply }, answer).await;
        issued.and_then(kept_as_required)
    }

    /// The list of revoked certificates of a PKI mount, PEM.
    ///
    /// # Errors
    /// Everything that can go wrong with Vault.
    pub async fn revocation_list(&self, mount: &VaultPath) -> Result<Vec<u8>, VaultError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::RevocationList { mount: mount.clone(), reply }, answer).await
    }

    /// Whether `held` is still the latest version of the KV v2 secret at `path`.
    ///
    /// # Errors
    /// Everything that can go wrong with Vault; that the policy does not let us know is none.
    pub async fn confirm(
        &self,
        path: &VaultPath,
        held: KvVersion,
    ) -> Result<Confirmed, VaultError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Confirm { path: path.clone(), held, reply }, answer).await
    }

    /// Takes over new settings, with trust anchors and client certificate read anew. With
    /// `login_again` the token of before is revoked where it came from, once there is another.
    ///
    /// # Errors
    /// When the settings cannot work; the old ones stay in force then.
    pub async fn reconfigure(
        &self,
        vault: VaultConfig,
        auth: Arc<AuthMethod>,
        login_again: bool,
    ) -> Result<(), VaultError> {
        let (reply, answer) = oneshot::channel();
        let vault = Box::new(vault);
        self.ask(Command::Reconfigure { vault, auth, login_again, reply }, answer).await
    }

    /// Whether we are logged in; changes are announced.
    pub fn login(&self) -> watch::Receiver<Login> {
        self.login.clone()
    }

    /// Asks for more life for a lease.
    ///
    /// # Errors
    /// [`Failure::Refused`] when Vault does not know the lease or will not renew it, and
    /// everything else that can go wrong with Vault.
    pub async fn renew(&self, lease_id: &str) -> Result<Renewed, VaultError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Renew { lease_id: lease_id.into(), reply }, answer).await
    }

    /// Ends a lease or a certificate, and says how that went.
    ///
    /// # Errors
    /// Everything that can go wrong with Vault; said already.
    pub async fn revoke(&self, handle: Handle) -> Result<(), VaultError> {
        let (reply, answer) = oneshot::channel();
        let outcome = self.ask(Command::Revoke { handle: handle.clone(), reply }, answer).await;
        event::handed_back(&handle, &outcome);
        outcome
    }

    async fn ask<T>(
        &self,
        command: Command,
        answer: oneshot::Receiver<Result<T, VaultError>>,
    ) -> Result<T, VaultError> {
        let stopping = || VaultError::new(Failure::Stopping, "");
        self.commands.send(command).map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Ends the thread's work: revokes what `handles` name and our own token within `budget`, in parallel,
    /// says what could not be revoked, forgets everything. Once `at_once` is cancelled, nothing more is
    /// revoked.
    pub async fn stop(&self, budget: Duration, handles: Vec<Handle>, at_once: CancellationToken) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Stop { budget, handles, at_once, reply }).is_ok() {
            let _ = done.await;
        }
    }
}

/// Not where root could read it, when the configuration insists on that.
fn kept_as_required(secret: Secret) -> Result<Secret, VaultError> {
    let kept = secret.is_kept_as_required();
    kept.then_some(secret).ok_or_else(|| VaultError::new(Failure::NoSecretMemory, "memory"))
}

impl FetchThread {
    /// Waits for the thread's end. Blocks.
    pub fn join(self) {
        let _ = self.thread.join();
    }
}

fn run(
    vault: VaultConfig,
    auth: Arc<AuthMethod>,
    state: watch::Sender<Login>,
    metrics: Metrics,
    inbox: mpsc::UnboundedReceiver<Command>,
    ready: &std::sync::mpsc::Sender<Result<(), VaultError>>,
) {
    keep_thread_secret(|| {
        match prepare(vault, auth, state, metrics) {
            Ok((runtime, fetcher)) => {
                let _ = ready.send(Ok(()));
                let tasks = tokio::task::LocalSet::new();
                tasks.block_on(&runtime, Fetcher::serve(Rc::new(fetcher), inbox));
                drop(tasks);
                // A name that is still being looked up holds nobody up.
                runtime.shutdown_background();
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    });
}

fn prepare(
    vault: VaultConfig,
    auth: Arc<AuthMethod>,
    state: watch::Sender<Login>,
    metrics: Metrics,
) -> Result<(Runtime, Fetcher), VaultError> {
    let broken = |what: &str| VaultError::new(Failure::Credential(what.into()), "");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(scrub)
        .build()
        .map_err(|_| broken("no runtime for the fetch thread"))?;
    let key = EtagKey::random().map_err(|_| broken("no randomness from the kernel"))?;
    let session = Session::new(vault, auth, state, metrics)?;
    Ok((runtime, Fetcher { session, key }))
}

/// Whether trust anchors, client certificate and server name can be used. Asks nobody.
///
/// # Errors
/// What is wrong with them.
pub fn rehearse(vault: &VaultConfig) -> Result<(), VaultError> {
    let failed = |failure| VaultError::new(failure, vault.address.as_str());
    tls::rehearse(vault).map_err(failed)
}

/// What a read makes of an answer of Vault's.
///
/// # Errors
/// As for [`Upstream::read`].
#[doc(hidden)]
pub fn understand(status: u16, body: &[u8], key: &EtagKey) -> Result<Secret, Failure> {
    read::understand_text(status, body, key)
}

/// What an issuance makes of an answer of Vault's.
///
/// # Errors
/// As for [`Upstream::issue`].
#[doc(hidden)]
pub fn understand_issued(
    status: u16,
    body: &[u8],
    spec: &CertificateSpec,
    key: &EtagKey,
) -> Result<Secret, Failure> {
    pki::understand_text(status, body, spec, key)
}
