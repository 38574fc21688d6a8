//! Staying logged in: one task that logs in, renews, and logs in again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify, watch};
use tokio::time::Instant;

use super::auth::Authenticator;
use super::ceiling::Ceiling;
use super::error::{Failure, Retry, VaultError};
use super::former::Former;
use super::token::Token;
use super::transport::Transport;
use crate::config::{AuthMethod, VaultConfig};
use crate::lease::{Backoff, now, renew_after, replace_last_after, spread};
use crate::observe::{Metrics, event};

/// A token that dies sooner than this after its login does not count as a success, so that a
/// Vault that grants and refuses in turn is not asked in a loop.
const PROVEN_AFTER: Duration = Duration::from_mins(1);
/// How often a held token's end is compared with the clock.
const LOOK: Duration = Duration::from_secs(5);
/// A token that was looked at this lately and lives is not doubted: a 403 is about the path.
const SEEN_LATELY: Duration = Duration::from_secs(10);

/// After a reload to another Vault or login: time for what was made under the old token to be
/// replaced, once there is a new one.
const HANDOVER: Duration = Duration::from_secs(5);
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

/// Why a token is no longer held.
#[derive(PartialEq, Eq)]
enum End {
    /// Its planned replacement is due.
    Due,
    /// Vault does not know it any more.
    Dead,
}

pub(super) struct Session {
    settings: RefCell<VaultConfig>,
    ceiling: RefCell<Arc<Ceiling>>,
    metrics: Metrics,
    transport: RefCell<Rc<Transport>>,
    authenticator: RefCell<Rc<Authenticator>>,
    token: RefCell<Option<Rc<Token>>>,
    /// Tokens of before a reload, which are to be revoked.
    former: RefCell<Vec<Rc<Former>>>,
    state: watch::Sender<Login>,
    /// Rung when the current token was found dead.
    dead: Notify,
    /// Rung when other settings make another login necessary.
    reconfigured: Notify,
    /// One check of a doubted token at a time; holds when it was last seen alive.
    seen_alive: Mutex<Option<Instant>>,
    stopping: Cell<bool>,
}

impl Session {
    pub(super) fn new(
        settings: VaultConfig,
        auth: Arc<AuthMethod>,
        state: watch::Sender<Login>,
        metrics: Metrics,
    ) -> Result<Self, VaultError> {
        let ceiling = Arc::new(Ceiling::new(settings.max_requests_per_second));
        let transport = Transport::new(&settings, Arc::clone(&ceiling), metrics.clone())?;
        Ok(Self {
            settings: RefCell::new(settings),
            ceiling: RefCell::new(ceiling),
            metrics,
            transport: RefCell::new(Rc::new(transport)),
            authenticator: RefCell::new(Rc::new(Authenticator::new(auth))),
            token: RefCell::new(None),
            former: RefCell::default(),
            state,
            dead: Notify::new(),
            reconfigured: Notify::new(),
            seen_alive: Mutex::new(None),
            stopping: Cell::new(false),
        })
    }

    pub(super) fn transport(&self) -> Rc<Transport> {
        Rc::clone(&self.transport.borrow())
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
        let transport = Transport::new(&settings, Arc::clone(&ceiling), self.metrics.clone())?;
        let transport = self.transport.replace(Rc::new(transport));
        self.ceiling.replace(ceiling);
        self.settings.replace(settings);
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
        self.reconfigured.notify_one();
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
        // The stop may have been faster.
        let is_left = |all: &mut Vec<Rc<Former>>| {
            let place = all.iter().position(|other| Rc::ptr_eq(other, &former));
            place.map(|place| all.swap_remove(place)).is_some()
        };
        if is_left(&mut self.former.borrow_mut()) {
            former.revoke(self.timeout()).await;
        }
    }

    /// One attempt to log in. A client certificate is a credential too, and read anew.
    async fn login(&self, authenticator: &Authenticator) -> Result<Token, VaultError> {
        if matches!(*authenticator.method, AuthMethod::Cert { .. }) {
            let ceiling = Arc::clone(&self.ceiling.borrow());
            let settings = self.settings.borrow().clone();
            let transport = Transport::new(&settings, ceiling, self.metrics.clone())?;
            self.transport.replace(Rc::new(transport));
        }
        let outcome = authenticator.login(&self.transport()).await;
        let word = outcome.as_ref().map_or_else(VaultError::outcome, |_| "ok");
        self.metrics.login(authenticator.method.name(), word);
        outcome
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
        if self.stopping.get() {
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

    fn held(&self) -> Option<Rc<Token>> {
        self.token.borrow().as_ref().filter(|token| !token.is_dead()).map(Rc::clone)
    }

    /// After a 403: is it the token? If so it is replaced, and the replacement is returned.
    pub(super) async fn doubt(&self, token: &Rc<Token>, patience: Duration) -> Option<Rc<Token>> {
        let mut seen_alive = self.seen_alive.lock().await;
        match self.held() {
            Some(current) if Rc::ptr_eq(&current, token) => {}
            Some(current) => return Some(current),
            None => {
                drop(seen_alive);
                return self.token(patience).await.ok();
            }
        }
        let recently = |at: Instant| at.elapsed() < SEEN_LATELY;
        if seen_alive.is_some_and(recently) {
            return None;
        }
        if self.is_unknown(token).await {
            drop(seen_alive);
            token.life.kill();
            self.token.replace(None);
            self.state.send_replace(Login::Starting);
            self.dead.notify_one();
            self.token(patience).await.ok()
        } else {
            *seen_alive = Some(Instant::now());
            None
        }
    }

    /// Logs in and stays logged in. Never ends.
    pub(super) async fn keep(&self) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));
        let jitter = self.settings.borrow().start_jitter;
        tokio::time::sleep(spread(jitter)).await;
        loop {
            let authenticator = Rc::clone(&self.authenticator.borrow());
            let wait = match self.login(&authenticator).await {
                Ok(token) => {
                    let address = self.settings.borrow().address.to_string();
                    event::logged_in(&address, &authenticator.method, token.left());
                    let former = self.token.borrow().clone();
                    let token = Rc::new(token.after(former.as_deref()));
                    self.token.replace(Some(Rc::clone(&token)));
                    if let Some(old) = former.filter(|old| !Arc::ptr_eq(&old.life, &token.life)) {
                        old.life.supersede();
                    }
                    self.state.send_replace(Login::In);
                    let end = self.hold(&token).await;
                    if end == End::Due || token.obtained.elapsed() >= PROVEN_AFTER {
                        backoff.reset();
                    }
                    match end {
                        End::Due => Duration::ZERO,
                        End::Dead => self.lost(&mut backoff),
                    }
                }
                Err(error) => self.failed(&authenticator, error, &mut backoff),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.reconfigured.notified() => {}
            }
        }
    }

    /// The first loss of a token is made good at once, further ones after a back-off.
    fn lost(&self, backoff: &mut Backoff) -> Duration {
        self.token.replace(None);
        let first = backoff.failures() == 0;
        let wait = backoff.after_failure(None);
        if first {
            self.state.send_replace(Login::Starting);
            return Duration::ZERO;
        }
        let error = Arc::new(VaultError::new(Failure::NotLoggedIn, "auth"));
        self.state.send_replace(Login::Out { error, retry_at: Instant::now() + wait });
        wait
    }

    fn failed(
        &self,
        authenticator: &Authenticator,
        error: VaultError,
        backoff: &mut Backoff,
    ) -> Duration {
        if matches!(error.failure, Failure::Refused(..) | Failure::Denied) {
            authenticator.forget();
        }
        // The token that is being replaced may still live.
        let left = self.held().and_then(|token| token.left());
        let retry_in = backoff.after_failure_with(error.retry_after, left);
        event::login_failed(&authenticator.method, &error, retry_in);
        let retry_at = Instant::now() + retry_in;
        // A token that is still good stays in use.
        self.state.send_replace(Login::Out { error: Arc::new(error), retry_at });
        retry_in
    }

    /// Keeps `token` alive for as long as that works.
    async fn hold(&self, token: &Token) -> End {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));
        let mut extends = token.renewable;
        let first = token.left().unwrap_or_default();
        let mut next = token.left().map(|ttl| Instant::now() + next_step(ttl, first, extends));
        loop {
            tokio::select! {
                () = sleep_until(next) => {}
                // A host that slept has not moved the timer: look at the clock now and then.
                () = tokio::time::sleep(LOOK) => {
                    if !token.is_dead() {
                        continue;
                    }
                }
                () = self.dead.notified() => {
                    if token.life.is_dead() {
                        return End::Dead;
                    }
                    // Rung for the token before this one.
                    continue;
                }
                () = self.reconfigured.notified() => return End::Due,
            }
            if !extends || token.is_dead() {
                return End::Due;
            }
            let (asked, left) = (now(), token.left());
            match token.renew(&self.transport()).await {
                Ok(ttl) => {
                    backoff.reset();
                    event::token_renewed(ttl);
                    // Vault grants less and less when the maximum life comes near.
                    extends = ttl.is_none() || ttl > left.map(|left| left.mul_f64(1.5));
                    token.life.set_end(ttl.map(|ttl| asked + ttl));
                    token.life.set_extended(extends);
                    next = ttl.map(|ttl| Instant::now() + next_step(ttl, first, extends));
                }
                Err(error) if error.retry() == Retry::Backoff => {
                    let wait = backoff.after_failure_with(error.retry_after, token.left());
                    event::token_renewal_failed(&error, wait);
                    next = Some(Instant::now() + token.left().map_or(wait, |left| wait.min(left)));
                }
                Err(error) => {
                    event::token_renewal_failed(&error, Duration::ZERO);
                    if self.is_unknown(token).await {
                        token.life.kill();
                        return End::Dead;
                    }
                    // It lives, but may not be renewed: it is replaced before its end.
                    extends = false;
                    token.life.set_extended(false);
                    next =
                        token.left().map(|left| Instant::now() + next_step(left, first, extends));
                }
            }
        }
    }

    async fn is_unknown(&self, token: &Token) -> bool {
        let looked_up = token.lookup(&self.transport()).await;
        looked_up.is_err_and(|error| error.retry() == Retry::Reauthenticate)
    }

    /// From now on reads are refused.
    pub(super) fn begin_to_stop(&self) {
        self.stopping.set(true);
    }

    /// The token in use, when there is one.
    pub(super) fn current(&self) -> Option<Rc<Token>> {
        self.held()
    }

    /// Every token that is ours to give back. Nothing asks Vault afterwards.
    pub(super) fn end(&self) -> Vec<Rc<Former>> {
        let current = self.token.take().filter(|token| token.ours);
        let current = current.map(|token| Rc::new(Former { token, transport: self.transport() }));
        self.former.take().into_iter().chain(current).collect()
    }
}

fn next_step(ttl: Duration, first: Duration, extends: bool) -> Duration {
    if extends { renew_after(ttl) } else { replace_last_after(ttl, first) }
}

async fn sleep_until(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next).await,
        None => std::future::pending().await,
    }
}
