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

use crate::config::{AuthMethod, VaultConfig, VaultPath};
use crate::memory::{keep_thread_secret, scrub};
use crate::observe::Metrics;
use crate::secret::{EtagKey, Secret};

mod approle;
mod auth;
mod ceiling;
mod error;
mod read;
mod session;
mod tls;
mod token;
mod transport;

pub use error::{Failure, NetworkReason, Refusal, Retry, VaultError};
pub use session::Login;

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
    Reconfigure {
        vault: Box<VaultConfig>,
        auth: Arc<AuthMethod>,
        login_again: bool,
        reply: Reply<()>,
    },
    Stop {
        budget: Duration,
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
    /// Cancel safety: an abandoned read goes on to its end and is dropped there.
    ///
    /// # Errors
    /// Everything that can go wrong with Vault.
    pub async fn read(&self, path: &VaultPath, version: Option<u64>) -> Result<Secret, VaultError> {
        let (reply, answer) = oneshot::channel();
        let stopping = || VaultError::new(Failure::Stopping, path.as_str());
        let command = Command::Read { path: path.clone(), version, reply };
        self.commands.send(command).map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Takes over new settings, with trust anchors and client certificate read anew.
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
        let stopping = || VaultError::new(Failure::Stopping, "");
        let vault = Box::new(vault);
        let command = Command::Reconfigure { vault, auth, login_again, reply };
        self.commands.send(command).map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Whether we are logged in; changes are announced.
    pub fn login(&self) -> watch::Receiver<Login> {
        self.login.clone()
    }

    /// Ends the thread's work: revokes our own token within `budget`, forgets everything.
    pub async fn stop(&self, budget: Duration) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Stop { budget, reply }).is_ok() {
            let _ = done.await;
        }
    }
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
    keep_thread_secret();
    match prepare(vault, auth, state, metrics) {
        Ok((runtime, fetcher)) => {
            let _ = ready.send(Ok(()));
            let tasks = tokio::task::LocalSet::new();
            tasks.block_on(&runtime, Fetcher::serve(Rc::new(fetcher), inbox));
        }
        Err(error) => {
            let _ = ready.send(Err(error));
        }
    }
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

/// What a read makes of an answer of Vault's.
///
/// # Errors
/// As for [`Upstream::read`].
#[doc(hidden)]
pub fn understand(status: u16, body: &[u8], key: &EtagKey) -> Result<Secret, Failure> {
    read::understand_text(status, body, key)
}

struct Fetcher {
    session: Session,
    key: EtagKey,
}

impl Fetcher {
    async fn serve(fetcher: Rc<Self>, mut inbox: mpsc::UnboundedReceiver<Command>) {
        let keeper = Rc::clone(&fetcher);
        let keeper = tokio::task::spawn_local(async move { keeper.session.keep().await });
        while let Some(command) = inbox.recv().await {
            match command {
                Command::Read { path, version, reply } => {
                    let fetcher = Rc::clone(&fetcher);
                    tokio::task::spawn_local(async move {
                        let _ = reply.send(fetcher.read(&path, version).await);
                    });
                }
                Command::Reconfigure { vault, auth, login_again, reply } => {
                    let _ = reply.send(fetcher.session.reconfigure(*vault, auth, login_again));
                }
                Command::Stop { budget, reply } => {
                    keeper.abort();
                    fetcher.session.end(budget).await;
                    let _ = reply.send(());
                    return;
                }
            }
        }
    }

    async fn read(&self, path: &VaultPath, version: Option<u64>) -> Result<Secret, VaultError> {
        let token = self.session.token(self.session.timeout()).await?;
        let first = self.read_with(&token.value, path, version).await;
        match &first {
            Err(error) if error.retry() == Retry::Reauthenticate => {
                match self.session.doubt(&token, self.session.timeout()).await {
                    Some(token) => self.read_with(&token.value, path, version).await,
                    None => first,
                }
            }
            _ => first,
        }
    }

    async fn read_with(
        &self,
        token: &crate::memory::SecretBuf,
        path: &VaultPath,
        version: Option<u64>,
    ) -> Result<Secret, VaultError> {
        read::read(&self.session.transport(), token, path, version, &self.key).await
    }
}
