//! A token that is given back.

use std::rc::Rc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::{Failure, VaultError};
use super::keep::within;
use super::token::Token;
use super::transport::Transport;
use crate::observe::event;

/// A token that is not needed any more, and the way to where it came from.
pub(super) struct Former {
    pub(super) token: Rc<Token>,
    pub(super) transport: Rc<Transport>,
}

impl Former {
    /// Revokes it until `end`, or until there is no more patience, and says what came of it.
    pub(super) async fn revoke(&self, end: Instant, at_once: &CancellationToken) {
        self.token.life.kill();
        let revoked = within(end, at_once, self.token.revoke(&self.transport)).await;
        match revoked {
            Some(Ok(())) => event::token_revoked(),
            // Somebody was faster, or an earlier request of ours whose answer got lost.
            Some(Err(error)) if error.failure == Failure::InvalidToken => event::token_revoked(),
            Some(Err(error)) => event::token_not_revoked(&self.token.accessor, &error),
            None => {
                let error = VaultError::new(Failure::Timeout, "auth/token/revoke-self");
                event::token_not_revoked(&self.token.accessor, &error);
            }
        }
    }
}
