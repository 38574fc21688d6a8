//! The token that a login gave us, and what keeps it alive.
//!
//! <https://developer.hashicorp.com/vault/api-docs/auth/token>

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use vaultrs::api::token::requests::{
    LookupTokenSelfRequest, RenewTokenSelfRequest, RevokeTokenSelfRequest,
};
use zeroize::Zeroize;

use super::envelope::Auth;
use super::error::{Failure, VaultError};
use super::transport::Transport;
use crate::lease::{TokenLife, granted, now};
use crate::memory::SecretBuf;

/// A token, how long it lives, and whose it is.
pub(super) struct Token {
    pub(super) value: SecretBuf,
    /// Names the token in logs without being one.
    pub(super) accessor: Box<str>,
    pub(super) obtained: Instant,
    /// Shared with the leases that are made under it.
    pub(super) life: Arc<TokenLife>,
    pub(super) renewable: bool,
    /// A login of ours made it, so it is ours to revoke, when that is possible.
    pub(super) ours: bool,
    /// It ends after so many requests; zero without such a limit.
    pub(super) num_uses: u64,
}

impl Token {
    /// From the `auth` part of a login's answer, which is wiped.
    pub(super) fn from_login(mut auth: Auth) -> Self {
        let value = SecretBuf::copy_from(auth.client_token.as_bytes());
        auth.client_token.zeroize();
        // A batch token has no accessor, and cannot be revoked.
        let ours = !auth.accessor.is_empty();
        Self {
            value,
            accessor: auth.accessor.into(),
            obtained: Instant::now(),
            life: token_life(life(auth.lease_duration), true),
            renewable: auth.renewable,
            ours,
            num_uses: auth.num_uses,
        }
    }

    /// A token that the operator brought: looked up, so that a bad one is noticed here.
    pub(super) async fn adopt(transport: &Transport, value: SecretBuf) -> Result<Self, VaultError> {
        let path = "auth/token/lookup-self";
        let envelope = transport.call(&LookupTokenSelfRequest {}, Some(&value)).await?;
        let Some(mut found) = envelope.data else {
            return Err(VaultError::new(Failure::Malformed("no data"), path));
        };
        found.id.zeroize();
        // A token in its last second has a ttl of 0 too; one without an end has no end time.
        let ttl = found.expire_time.is_some().then(|| granted(found.ttl.max(1)));
        Ok(Self {
            value,
            accessor: found.accessor.into(),
            obtained: Instant::now(),
            life: token_life(ttl, false),
            renewable: found.renewable.unwrap_or_default(),
            ours: false,
            num_uses: found.num_uses,
        })
    }

    /// Life left; `None` without an end.
    pub(super) fn left(&self) -> Option<Duration> {
        self.life.ends().map(|ends| ends.saturating_duration_since(now()))
    }

    /// Past its end, by our own clock.
    pub(super) fn is_dead(&self) -> bool {
        self.left() == Some(Duration::ZERO)
    }

    /// Whether Vault still knows it.
    pub(super) async fn lookup(&self, transport: &Transport) -> Result<(), VaultError> {
        Self::lookup_of(transport, &self.value).await
    }

    /// The same of any token.
    pub(super) async fn lookup_of(
        transport: &Transport,
        value: &SecretBuf,
    ) -> Result<(), VaultError> {
        let envelope = transport.call(&LookupTokenSelfRequest {}, Some(value)).await?;
        if let Some(mut found) = envelope.data {
            found.id.zeroize();
        }
        Ok(())
    }

    /// Asks for more life; returns what is left from now on.
    pub(super) async fn renew(
        &self,
        transport: &Transport,
    ) -> Result<Option<Duration>, VaultError> {
        let request = RenewTokenSelfRequest { increment: None };
        let envelope = transport.call(&request, Some(&self.value)).await?;
        let path = "auth/token/renew-self";
        let Some(mut auth) = envelope.auth else {
            return Err(VaultError::new(Failure::Malformed("no auth"), path));
        };
        auth.client_token.zeroize();
        // An end does not go away: none left is no life, not eternal life.
        Ok(life(auth.lease_duration).or(self.left().map(|_| Duration::ZERO)))
    }

    /// Ends it, and with it every lease made under it.
    pub(super) async fn revoke(&self, transport: &Transport) -> Result<(), VaultError> {
        transport.call_empty(&RevokeTokenSelfRequest {}, Some(&self.value)).await
    }
}

fn token_life(ttl: Option<Duration>, ours: bool) -> Arc<TokenLife> {
    Arc::new(TokenLife::new(ttl.map(|ttl| now() + ttl), ours))
}

fn life(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| granted(seconds))
}
