//! A token that is given back.

use std::rc::Rc;
use std::time::Duration;

use super::error::{Failure, VaultError};
use super::token::Token;
use super::transport::Transport;
use crate::observe::event;

/// A token that is not needed any more, and the way to where it came from.
pub(super) struct Former {
    pub(super) token: Rc<Token>,
    pub(super) transport: Rc<Transport>,
}

impl Former {
    /// Revokes it within `budget`, and says what came of it.
    pub(super) async fn revoke(&self, budget: Duration) {
        self.token.life.kill();
        let revoked = tokio::time::timeout(budget, self.token.revoke(&self.transport)).await;
        match revoked {
            Ok(Ok(())) => event::token_revoked(),
            Ok(Err(error)) => event::token_not_revoked(&self.token.accessor, &error),
            Err(_) => {
                let error = VaultError::new(Failure::Timeout, "auth/token/revoke-self");
                event::token_not_revoked(&self.token.accessor, &error);
            }
        }
    }
}
