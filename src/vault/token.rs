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
    /// From the `auth` part of the answer to a login that was `asked` for then; it is wiped.
    pub(super) fn from_login(mut auth: Auth, asked: Instant) -> Self {
        let value = SecretBuf::copy_from(auth.client_token.as_bytes());
        auth.client_token.zeroize();
        // A batch token has no accessor, and cannot be revoked.
        let ours = !auth.accessor.is_empty();
        Self {
            value,
            accessor: auth.accessor.into(),
            obtained: Instant::now(),
            life: token_life(life(auth.lease_duration), asked, ours),
            renewable: auth.renewable,
            ours,
            num_uses: auth.num_uses,
        }
        .begun()
    }

    /// A token that the operator brought: looked up, so that a bad one is noticed here.
    pub(super) async fn adopt(transport: &Transport, value: SecretBuf) -> Result<Self, VaultError> {
        let path = "auth/token/lookup-self";
        let asked = now();
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
            life: token_life(ttl, asked, false),
            renewable: found.renewable.unwrap_or_default(),
            ours: false,
            num_uses: found.num_uses,
        }
        .begun())
    }

    fn begun(self) -> Self {
        if !self.renewable {
            self.life.fix();
        }
        self
    }

    /// The same token as the one in use, brought once more, is no other: what was made under it
    /// goes on.
    pub(super) fn after(self, former: Option<&Self>) -> Self {
        let same = former.filter(|it| it.value.constant_time_eq(self.value.expose()));
        match same.filter(|former| !former.life.is_dead() && !former.life.is_superseded()) {
            Some(former) => {
                former.life.look(&self.life);
                Self { life: Arc::clone(&former.life), ..self }
            }
            None => self,
        }
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

fn token_life(ttl: Option<Duration>, asked: Instant, ours: bool) -> Arc<TokenLife> {
    Arc::new(TokenLife::granted(ttl, asked, ours))
}

fn life(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| granted(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(accessor: &str) -> Auth {
        serde_json::from_value(serde_json::json!({
            "client_token": "canary", "accessor": accessor, "policies": [], "token_policies": [],
            "metadata": null, "lease_duration": 60, "renewable": true, "entity_id": "",
            "token_type": "service", "orphan": true,
        }))
        .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_leases_of_a_batch_token_are_ours_to_hand_back() {
        let service = Token::from_login(auth("accessor"), now());
        let batch = Token::from_login(auth(""), now());
        assert!(service.ours && service.life.is_handed_back_at_stop());
        assert!(!batch.ours && !batch.life.is_handed_back_at_stop());
    }

    #[tokio::test(start_paused = true)]
    async fn a_life_runs_from_the_asking() {
        let asked = now();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(Token::from_login(auth("a"), asked).left(), Some(Duration::from_secs(50)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_token_once_more_supersedes_nothing() {
        let first = Token::from_login(auth("a"), now());
        tokio::time::advance(Duration::from_secs(10)).await;
        let again = Token::from_login(auth("a"), now()).after(Some(&first));
        assert!(Arc::ptr_eq(&again.life, &first.life));
        assert_eq!(first.left(), Some(Duration::from_mins(1)));
        let other =
            Token { value: SecretBuf::copy_from(b"other"), ..Token::from_login(auth("b"), now()) };
        assert!(!Arc::ptr_eq(&other.after(Some(&first)).life, &first.life));
        first.life.kill();
        let revived = Token::from_login(auth("a"), now()).after(Some(&first));
        assert!(!revived.is_dead());
    }
}
