//! A 403 may be about the path or about the token. Which it is, Vault says itself: the answer
//! about a token that it does not know has `invalid token` beside `permission denied`.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::{Failure, VaultError};
use super::session::{Login, Session};
use super::token::Token;
use super::transport::Transport;
use crate::memory::SecretBuf;
use crate::observe::event;

/// A token that was looked at this lately and lives is not doubted: a 403 is about the path.
const SEEN_LATELY: Duration = Duration::from_secs(10);
/// After a look that told nothing, those who wait in line do not all look for themselves.
const ASKED_LATELY: Duration = Duration::from_secs(1);
/// Nobody's token.
const NOBODY: &[u8] = b"sidekey-asks-how-this-vault-refuses-unknown-tokens";

/// What a look at a token showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Alive,
    Dead,
    /// The look did not reach Vault.
    Unclear,
}

impl Session {
    /// After a 403: is it the token? If so it is replaced, and the replacement is returned.
    pub(super) async fn doubt(&self, token: &Rc<Token>, patience: Duration) -> Option<Rc<Token>> {
        let mut undoubted_until = self.undoubted_until.lock().await;
        match self.held() {
            Some(current) if Rc::ptr_eq(&current, token) => {}
            Some(current) => return Some(current),
            None => {
                drop(undoubted_until);
                return self.token(patience).await.ok();
            }
        }
        if undoubted_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let seen = self.look_at(token).await;
        // A login may have ended meanwhile; its token is not the one that was looked at.
        if !self.is_current(token) {
            drop(undoubted_until);
            return self.token(patience).await.ok();
        }
        let not_again = match seen {
            Seen::Alive => SEEN_LATELY,
            Seen::Unclear => ASKED_LATELY,
            Seen::Dead => {
                drop(undoubted_until);
                self.bury(token);
                return self.token(patience).await.ok();
            }
        };
        *undoubted_until = Some(Instant::now() + not_again);
        None
    }

    fn bury(&self, token: &Token) {
        token.life.kill();
        self.token.replace(None);
        // While the next attempt is waited for, that is still the answer.
        self.state.send_if_modified(|login| {
            let was_in = matches!(login, Login::In);
            if was_in {
                *login = Login::Starting;
            }
            was_in
        });
        self.dead.notify_one();
    }

    /// Whether Vault still knows `token`.
    pub(super) async fn look_at(&self, token: &Token) -> Seen {
        let transport = self.transport();
        match token.lookup(&transport).await.map_err(|error| error.failure) {
            Ok(()) => Seen::Alive,
            Err(Failure::InvalidToken) => Seen::Dead,
            Err(Failure::Denied) => match self.names_unknown_tokens(&transport).await {
                Ok(true) => {
                    if !self.lookup_denied.replace(true) {
                        event::lookup_denied();
                    }
                    Seen::Alive
                }
                // Before 1.15.8 Vault says no more of a dead token than of a policy.
                Ok(false) => Seen::Dead,
                Err(_) => Seen::Unclear,
            },
            Err(_) => Seen::Unclear,
        }
    }

    /// Whether this Vault tells an unknown token from a policy, which is asked until it does.
    async fn names_unknown_tokens(&self, transport: &Transport) -> Result<bool, VaultError> {
        if self.names_unknown.get() {
            return Ok(true);
        }
        match Token::lookup_of(transport, &SecretBuf::copy_from(NOBODY)).await {
            Err(error) if error.failure == Failure::InvalidToken => {
                self.names_unknown.set(true);
                Ok(true)
            }
            Err(error) if error.failure == Failure::Denied => Ok(false),
            Err(error) => Err(error),
            Ok(()) => Ok(false),
        }
    }
}
