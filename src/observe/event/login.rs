//! Logins to Vault, and the token that they give.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::brief;
use crate::config::AuthMethod;
use crate::vault::VaultError;

/// A login succeeded; `ttl` is the token's life, when it ends at all.
pub fn logged_in(address: &str, method: &AuthMethod, ttl: Option<Duration>) {
    let (name, mount) = (method.name(), method.mount());
    let ttl = ttl.map(brief).map(tracing::field::debug);
    info!(target: "sidekey", address, method = name, mount, ttl, "logged in to Vault");
}

/// A login failed.
pub fn login_failed(address: &str, method: &AuthMethod, error: &VaultError, retry_in: Duration) {
    let (name, mount, identity) = (method.name(), method.mount(), method.identity());
    warn!(target: "sidekey", address, method = name, mount, identity, %error, retry_in = ?brief(retry_in), "login failed");
}

/// A login was refused for good: nothing is sent until there is another credential.
pub fn login_waits(method: &AuthMethod, error: &VaultError) {
    let (name, mount, identity) = (method.name(), method.mount(), method.identity());
    let file = method.credential_file().map(|file| tracing::field::display(file.display()));
    warn!(target: "sidekey", method = name, mount, identity, %error, file, "login refused, waiting for another credential");
}

/// The stop came while a login was under way, and did not wait for its end any longer.
pub fn login_cut_off(method: &AuthMethod) {
    let (name, mount, identity) = (method.name(), method.mount(), method.identity());
    warn!(target: "sidekey", method = name, mount, identity, "a login was under way, its token may live on");
}

/// The policy does not let us ask whether our token lives.
pub fn lookup_denied() {
    warn!(target: "sidekey", "the policy lacks read on auth/token/lookup-self, as a 403 of Vault without `invalid token` shows");
}

/// Vault ends our token after so many requests.
pub fn token_of_few_uses(requests: u64) {
    warn!(target: "sidekey", requests, "the token ends after so many requests: the role has token_num_uses");
}

/// Trust anchors or client certificate were replaced, and taken.
pub fn connection_files_taken() {
    info!(target: "sidekey", "trust anchors and client certificate read anew");
}

/// Trust anchors or client certificate were replaced by something that cannot be used.
pub fn connection_files_unusable(error: &VaultError) {
    warn!(target: "sidekey", %error, "trust anchors or client certificate unusable, those of before stay");
}

/// The start waits for Vault.
pub fn waiting_for_vault(address: &str, waited: Duration, retry_in: Duration) {
    debug!(target: "sidekey", address, waited = ?brief(waited), retry_in = ?brief(retry_in), "waiting for Vault");
}

/// Our token was renewed.
pub fn token_renewed(ttl: Option<Duration>) {
    let ttl = ttl.map(brief).map(tracing::field::debug);
    debug!(target: "sidekey", ttl, "token renewed");
}

/// Our token could not be renewed.
pub fn token_renewal_failed(error: &VaultError, retry_in: Duration) {
    warn!(target: "sidekey", %error, retry_in = ?brief(retry_in), "token not renewed");
}

/// Our token was given back.
pub fn token_revoked() {
    info!(target: "sidekey", "token revoked");
}

/// Our token outlives us; its accessor lets an operator revoke it.
pub fn token_not_revoked(accessor: &str, error: &VaultError) {
    warn!(target: "sidekey", accessor, %error, "token not revoked");
}
