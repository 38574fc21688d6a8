//! stub until the observing module lands
#![allow(missing_docs, unused_variables, unreachable_pub)]
use std::time::Duration;
#[derive(Debug, Default)]
pub struct Metrics;
impl Metrics {
    pub fn upstream(&self, operation: &'static str, outcome: &'static str, elapsed: Duration) {}
    pub fn login(&self, method: &'static str, outcome: &'static str) {}
}
pub mod event {
    use super::Duration;
    use crate::config::AuthMethod;
    use crate::vault::VaultError;
    pub fn logged_in(method: &AuthMethod, ttl: Option<Duration>) {}
    pub fn login_failed(method: &AuthMethod, error: &VaultError, retry_in: Duration) {}
    pub fn token_renewed(ttl: Option<Duration>) {}
    pub fn token_renewal_failed(error: &VaultError, retry_in: Duration) {}
    pub fn secret_fetched(
        name: &crate::config::SecretName,
        path: &crate::config::VaultPath,
        version: u64,
        changed: bool,
        recovered: bool,
    ) {
    }
    pub fn fetch_failed(name: &crate::config::SecretName, error: &VaultError, retry_in: Duration) {}
    pub fn secret_expired(name: &crate::config::SecretName) {}
    pub fn token_revoked() {}
    pub fn token_not_revoked(accessor: &str, error: &VaultError) {}
}
