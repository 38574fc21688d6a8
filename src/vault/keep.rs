//! One task that logs in, renews, and logs in again.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::auth::Authenticator;
use super::doubt::Seen;
use super::error::{Failure, Retry, VaultError};
use super::former::Former;
use super::refused::Waits;
use super::session::{Login, Session};
use super::token::Token;
use crate::lease::{Backoff, now, renew_after, replace_after, replace_last_after, spread};
use crate::observe::event;

/// A token that dies sooner than this after its login does not count as a success, so that a
/// Vault that grants and refuses in turn is not asked in a loop.
const PROVEN_AFTER: Duration = Duration::from_mins(1);
/// How often a held token's end is compared with the clock, and the files of the connection with
/// what it was made of.
const LOOK: Duration = Duration::from_secs(5);

/// Why a token is no longer held.
#[derive(PartialEq, Eq)]
enum End {
    /// Its planned replacement is due.
    Due,
    /// Vault does not know it any more.
    Dead,
}

impl Session {
    /// Logs in and stays logged in, until the stop. A login under way is not broken off by that:
    /// its token is ours to give back.
    pub(super) async fn keep(&self) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));
        if !self.pause(spread(self.start_jitter())).await {
            return;
        }
        loop {
            let wait = self.attempt(&mut backoff).await;
            if !self.pause(wait).await {
                return;
            }
        }
    }

    /// Waits, until a reload at most; false when it is over.
    async fn pause(&self, wait: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = self.reconfigured.notified() => true,
            () = tokio::time::sleep(wait) => true,
        }
    }

    /// One login and the life of its token; returns the wait until the next one.
    async fn attempt(&self, backoff: &mut Backoff) -> Duration {
        let authenticator = self.authenticator();
        let credential = authenticator.fingerprint(&self.stamp());
        if let Some(waits) = credential.and_then(|it| authenticator.refused.forbids(it)) {
            let wait = self.wait_for_another(&authenticator, waits);
            // That there is nothing to take its place is no reason to let a good token end.
            return match self.held() {
                Some(token) => self.live(&token, backoff).await,
                None => wait,
            };
        }
        let transport = self.transport_for_login();
        let outcome = match transport {
            Ok(transport) => {
                let outcome = self.login(&authenticator, &transport).await;
                let held = self.token.borrow().clone();
                outcome.map(|token| {
                    let token = Rc::new(token.after(held.as_deref()));
                    Former { token, transport }
                })
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(new) if !self.is_to_log_in_with(&authenticator) => {
                // A reload led elsewhere meanwhile.
                self.return_unused(new).await;
                Duration::ZERO
            }
            Ok(new) => {
                authenticator.refused.forget();
                self.install(&authenticator, &new.token);
                self.live(&new.token, backoff).await
            }
            Err(error) => {
                let noted = credential.is_some_and(|it| authenticator.refused.note(it, &error));
                self.failed(&authenticator, error, noted, backoff)
            }
        }
    }

    fn wait_for_another(&self, authenticator: &Authenticator, waits: Waits) -> Duration {
        if waits.is_new {
            event::login_waits(&authenticator.method, &waits.error);
        }
        // The token that is to be replaced may still be in use.
        self.take_new_files();
        self.say_out(waits.error, waits.look_in);
        waits.look_in
    }

    async fn return_unused(&self, new: Former) {
        if new.token.ours {
            let former = Rc::new(new);
            self.former.borrow_mut().push(Rc::clone(&former));
            self.give_back(&former).await;
        }
    }

    fn install(&self, authenticator: &Authenticator, token: &Rc<Token>) {
        event::logged_in(&self.address(), &authenticator.method, token.left());
        if token.num_uses > 0 {
            event::token_of_few_uses(token.num_uses);
        }
        let old = self.token.replace(Some(Rc::clone(token)));
        if let Some(old) = old.filter(|old| !Arc::ptr_eq(&old.life, &token.life)) {
            old.life.supersede();
        }
        self.state.send_replace(Login::In);
    }

    async fn live(&self, token: &Token, backoff: &mut Backoff) -> Duration {
        let end = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Duration::ZERO,
            end = self.hold(token) => end,
        };
        if end == End::Due || token.obtained.elapsed() >= PROVEN_AFTER {
            backoff.reset();
        }
        match end {
            End::Due => Duration::ZERO,
            End::Dead => self.lost(backoff),
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
        self.say_out(VaultError::new(Failure::NotLoggedIn, "auth"), wait);
        wait
    }

    /// A token that is still good stays in use, and then we are in.
    fn say_out(&self, error: VaultError, retry_in: Duration) {
        if self.held().is_none() {
            let (error, retry_at) = (Arc::new(error), Instant::now() + retry_in);
            self.state.send_replace(Login::Out { error, retry_at });
        }
    }

    fn failed(
        &self,
        authenticator: &Authenticator,
        error: VaultError,
        refused: bool,
        backoff: &mut Backoff,
    ) -> Duration {
        if error.retry() != Retry::Backoff {
            authenticator.forget();
        }
        // The token that is being replaced may still live.
        let left = self.held().and_then(|token| token.left());
        let mut retry_in = backoff.after_failure_with(error.retry_after, left);
        match authenticator.refused.again_in() {
            Some(again_in) if refused => retry_in = again_in,
            // What is waited for is said with the first look.
            None if refused => return Duration::ZERO,
            _ => {}
        }
        event::login_failed(&self.address(), &authenticator.method, &error, retry_in);
        self.say_out(error, retry_in);
        if refused { Duration::ZERO } else { retry_in }
    }

    /// Keeps `token` alive for as long as that works. It may come back here when nothing took its
    /// place: what is known of its life is kept with that.
    async fn hold(&self, token: &Token) -> End {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));
        let mut renews = token.renewable;
        let first_step = if renews { renew_after } else { replace_after };
        let mut next = token.left().map(|left| Instant::now() + first_step(left));
        loop {
            if let Some(end) = self.until(next, token).await {
                return end;
            }
            if !renews || token.is_dead() || !self.is_current(token) {
                return End::Due;
            }
            let asked = now();
            match token.renew(&self.transport()).await {
                Ok(ttl) => {
                    backoff.reset();
                    event::token_renewed(ttl);
                    token.life.renewed(ttl, asked);
                    renews = !token.life.is_fixed();
                    next = ttl.map(|ttl| Instant::now() + next_step(ttl, token));
                }
                Err(error) if error.retry() == Retry::Backoff => {
                    let wait = backoff.after_failure_with(error.retry_after, token.left());
                    event::token_renewal_failed(&error, wait);
                    next = Some(Instant::now() + token.left().map_or(wait, |left| wait.min(left)));
                }
                Err(error) => {
                    event::token_renewal_failed(&error, Duration::ZERO);
                    // A reload may have led to another Vault meanwhile, which is not to see it.
                    if !self.is_current(token) {
                        return End::Due;
                    }
                    if self.look_at(token).await == Seen::Dead {
                        token.life.kill();
                        return End::Dead;
                    }
                    // It lives, but may not be renewed: it is replaced before its end.
                    renews = false;
                    token.life.fix();
                    next = token.left().map(|left| Instant::now() + next_step(left, token));
                }
            }
        }
    }

    /// Waits for `next` or for the token's end by our clock; `Some` when it is over before.
    async fn until(&self, next: Option<Instant>, token: &Token) -> Option<End> {
        loop {
            self.take_new_files();
            let authenticator = self.authenticator();
            if authenticator.may_try_again(&self.stamp()) {
                return Some(End::Due);
            }
            let again_in = authenticator.refused.again_in().filter(|it| !it.is_zero());
            tokio::select! {
                biased;
                () = self.reconfigured.notified() => {
                    if !self.is_current(token) || self.authenticator().brings_another(token) {
                        return Some(End::Due);
                    }
                }
                () = sleep_until(next) => return None,
                // A host that slept has not moved the timer: look at the clock now and then.
                () = tokio::time::sleep(again_in.map_or(LOOK, |it| it.min(LOOK))) => {
                    if token.is_dead() {
                        return None;
                    }
                }
                () = self.dead.notified() => {
                    if token.life.is_dead() {
                        return Some(End::Dead);
                    }
                    // Rung for the token before this one.
                }
            }
        }
    }
}

fn next_step(ttl: Duration, token: &Token) -> Duration {
    if token.life.is_fixed() {
        replace_last_after(ttl, token.life.longest())
    } else {
        renew_after(ttl)
    }
}

async fn sleep_until(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next).await,
        None => std::future::pending().await,
    }
}

/// `work`, unless `end` comes first, or there is no more patience.
pub(super) async fn within<T>(
    end: Instant,
    at_once: &CancellationToken,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        () = at_once.cancelled() => None,
        () = tokio::time::sleep_until(end) => None,
        done = work => Some(done),
    }
}
