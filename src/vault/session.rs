//! The session with Vault: the token held, and the way to it. Staying logged in is in `keep`,
//! what a 403 means in `doubt`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::auth::Authenticator;
use super::ceiling::Ceiling;
use super::error::{Failure, VaultError};
use super::former::Former;
use super::stamp::Stamp;
use super::token::Token;
use super::transport::Transport;
use crate::config::{AuthMethod, VaultConfig};
use crate::lease::LATE;
use crate::observe::{Metrics, event};

/// After a reload to another Vault or login: time for what was made under the old token to be
/// replaced, once there is a new one. Reads after a late login begin within half of it.
const HANDOVER: Duration = LATE.saturating_mul(2);
/// The old token is not kept longer, whatever becomes of the new login.
const LONGEST_HANDOVER: Duration = Duration::from_mins(2);

/// Whether we are logged in, for whoever waits for it or reports it.
#[derive(Debug, Clone)]
pub enum Login {
    /// The first attempt has not ended yet.
    Starting,
    /// A token is held.
    In,
    /// The last attempt failed.
    Out {
        /// Why.
        error: Arc<VaultError>,
        /// When the next attempt is made.
        retry_at: Instant,
    },
}

pub(super) struct Session {
    settings: RefCell<VaultConfig>,
    ceiling: RefCell<Arc<Ceiling>>,
    metrics: Metrics,
    transport: RefCell<Rc<Transport>>,
    /// The files that the transport was made of, or last tried with.
    made_of: RefCell<Stamp>,
    authenticator: RefCell<Rc<Authenticator>>,
    pub(super) token: RefCell<Option<Rc<Token>>>,
    /// Tokens of before a reload, which are to be revoked.
    pub(super) former: RefCell<Vec<Rc<Former>>>,
    pub(super) state: watch::Sender<Login>,
    /// Rung when the current token was found dead.
    pub(super) dead: Notify,
    /// Rung by a reload: another login may be necessary, and credentials may have changed.
    pub(super) reconfigured: Notify,
    /// One check of a doubted token at a time; holds until when there is no other.
    pub(super) undoubted_until: Mutex<Option<Instant>>,
    /// It was said that the policy does not let us look at our token.
    pub(super) lookup_denied: Cell<bool>,
    /// This Vault tells a token that it does not know from a policy that denies.
    pub(super) names_unknown: Cell<bool>,
    /// A login was sent, and its answer is not there.
    logging_in: Cell<bool>,
    pub(super) stop: CancellationToken,
}

impl Session {
    pub(super) fn new(
        settings: VaultConfig,
        auth: Arc<AuthMethod>,
        state: watch::Sender<Login>,
        metrics: Metrics,
    ) -> Result<Self, VaultError> {
        let ceiling = Arc::new(Ceiling::new(settings.max_requests_per_second));
        let made_of = RefCell::new(Stamp::of(&settings));
        let transport = Transport::new(&settings, Arc::clone(&ceiling), metrics.clone())?;
        Ok(Self {
            settings: RefCell::new(settings),
            ceiling: RefCell::new(ceiling),
            metrics,
            transport: RefCell::new(Rc::new(transport)),
            made_of,
            authenticator: RefCell::new(Rc::new(Authenticator::new(auth))),
            token: RefCell::new(None),
            former: RefCell::default(),
            state,
            dead: Notify::new(),
            reconfigured: Notify::new(),
            undoubted_until: Mutex::new(None),
            lookup_denied: Cell::new(false),
            names_unknown: Cell::new(false),
            logging_in: Cell::new(false),
            stop: CancellationToken::new(),
        })
    }

    pub(super) fn transport(&self) -> Rc<Transport> {
        Rc::clone(&self.transport.borrow())
    }

    pub(super) fn authenticator(&self) -> Rc<Authenticator> {
        Rc::clone(&self.authenticator.borrow())
    }

    pub(super) fn address(&self) -> String {
        self.settings.borrow().address.to_string()
    }

    pub(super) fn start_jitter(&self) -> Duration {
        self.settings.borrow().start_jitter
    }

    /// The files behind the connection as they are now.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp::of(&self.settings.borrow())
    }

    pub(super) fn timeout(&self) -> Duration {
        self.settings.borrow().timeout
    }

    /// Takes over new settings; `login_again` when the old token is of no use with them.
    pub(super) fn reconfigure(
        &self,
        settings: VaultConfig,
        auth: Arc<AuthMethod>,
        login_again: bool,
    ) -> Result<Option<Rc<Former>>, VaultError> {
        let mut ceiling = Arc::clone(&self.ceiling.borrow());
        if settings.max_requests_per_second != self.settings.borrow().max_requests_per_second {
            ceiling = Arc::new(Ceiling::new(settings.max_requests_per_second));
        }
        let made_of = Stamp::of(&settings);
        let transport = Transport::new(&settings, Arc::clone(&ceiling), self.metrics.clone())?;
        let transport = self.transport.replace(Rc::new(transport));
        self.made_of.replace(made_of);
        self.ceiling.replace(ceiling);
        self.settings.replace(settings);
        self.names_unknown.set(false);
        self.reconfigured.notify_one();
        if !login_again {
            return Ok(None);
        }
        // What one Vault gave is not shown to another.
        let former = self.token.take().map(|token| {
            token.life.hand_back();
            self.state.send_replace(Login::Starting);
            Rc::new(Former { token, transport })
        });
        self.authenticator.replace(Rc::new(Authenticator::new(auth)));
        let former = former.filter(|former| former.token.ours);
        self.former.borrow_mut().extend(former.clone());
        Ok(former)
    }

    /// Revokes a token of before a reload where it came from, once there is another and what was
    /// made under it had time to be replaced; or else after some minutes.
    pub(super) async fn hand_over(&self, former: Rc<Former>) {
        let mut state = self.state.subscribe();
        let replaced = async {
            let _ = state.wait_for(|login| matches!(login, Login::In)).await;
            tokio::time::sleep(HANDOVER).await;
        };
        let _ = tokio::time::timeout(LONGEST_HANDOVER, replaced).await;
        self.give_back(&former).await;
    }

    /// Revokes a token, unless the stop does.
    pub(super) async fn give_back(&self, former: &Rc<Former>) {
        let is_it = |other: &Rc<Former>| Rc::ptr_eq(other, former);
        if !self.former.borrow().iter().any(is_it) {
            return;
        }
        let (end, patient) = (Instant::now() + self.timeout(), CancellationToken::new());
        tokio::select! {
            biased;
            // It is left where the stop finds it.
            () = self.stop.cancelled() => return,
            () = former.revoke(end, &patient) => {}
        }
        self.former.borrow_mut().retain(|other| !is_it(other));
    }

    /// One attempt to log in.
    pub(super) async fn login(
        &self,
        authenticator: &Authenticator,
        transport: &Transport,
    ) -> Result<Token, VaultError> {
        self.logging_in.set(true);
        let outcome = authenticator.login(transport).await;
        self.logging_in.set(false);
        let word = outcome.as_ref().map_or_else(VaultError::outcome, |_| "ok");
        self.metrics.login(authenticator.method.name(), word);
        outcome
    }

    /// With trust anchors and client certificate as they are now.
    pub(super) fn transport_for_login(&self) -> Result<Rc<Transport>, VaultError> {
        self.follow_files()?;
        Ok(self.transport())
    }

    /// Takes files up that were replaced; what they cannot be used for is said.
    pub(super) fn take_new_files(&self) {
        if let Err(error) = self.follow_files() {
            event::connection_files_unusable(&error);
        }
    }

    /// What cannot be used is tried once, and the connection of before goes on.
    fn follow_files(&self) -> Result<(), VaultError> {
        let stamp = self.stamp();
        if *self.made_of.borrow() == stamp {
            return Ok(());
        }
        self.made_of.replace(stamp);
        let ceiling = Arc::clone(&self.ceiling.borrow());
        let settings = self.settings.borrow().clone();
        let transport = Transport::new(&settings, ceiling, self.metrics.clone())?;
        self.transport.replace(Rc::new(transport));
        event::connection_files_taken();
        Ok(())
    }

    /// The token to use: the one held, or the one that the login under way brings.
    pub(super) async fn token(&self, patience: Duration) -> Result<Rc<Token>, VaultError> {
        if let Some(token) = self.held() {
            return Ok(token);
        }
        let mut state = self.state.subscribe();
        // A token that died without notice, as in a suspended process, is being replaced too.
        let decided = state.wait_for(|login| match login {
            Login::Starting => false,
            Login::In => self.held().is_some(),
            Login::Out { .. } => true,
        });
        let _ = tokio::time::timeout(patience, decided).await;
        if self.stop.is_cancelled() {
            return Err(VaultError::new(Failure::Stopping, "auth"));
        }
        if let Some(token) = self.held() {
            return Ok(token);
        }
        let mut error = VaultError::new(Failure::NotLoggedIn, "auth");
        if let Login::Out { retry_at, .. } = &*self.state.borrow() {
            error.retry_after = Some(retry_at.saturating_duration_since(Instant::now()));
        }
        Err(error)
    }

    pub(super) fn held(&self) -> Option<Rc<Token>> {
        self.token.borrow().as_ref().filter(|token| !token.is_dead()).map(Rc::clone)
    }

    /// No login took its place, and no reload took it away.
    pub(super) fn is_current(&self, token: &Token) -> bool {
        self.token
            .borrow()
            .as_ref()
            .is_some_and(|current| std::ptr::eq(&raw const **current, token))
    }

    /// No reload to another login came since `authenticator` was taken.
    pub(super) fn is_to_log_in_with(&self, authenticator: &Rc<Authenticator>) -> bool {
        Rc::ptr_eq(&self.authenticator.borrow(), authenticator)
    }

    pub(super) fn is_logging_in(&self) -> bool {
        self.logging_in.get()
    }

    /// From now on reads are refused, and no login begins.
    pub(super) fn begin_to_stop(&self) {
        self.stop.cancel();
    }

    /// Every token that is ours to give back. Nothing asks Vault afterwards.
    pub(super) fn end(&self) -> Vec<Rc<Former>> {
        let current = self.token.take().filter(|token| token.ours);
        let current = current.map(|token| Rc::new(Former { token, transport: self.transport() }));
        self.former.take().into_iter().chain(current).collect()
    }
}
