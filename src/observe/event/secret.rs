//! What is read or issued, renewed and handed back.

use std::error::Error;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::brief;
use crate::config::{NameKind, SecretName};
use crate::lease::Handle;
use crate::observe::Chain;
use crate::vault::VaultError;

/// A secret was read; `changed` when its content differs from what was held before,
/// `recovered` when the attempt before it had failed.
pub fn secret_fetched(name: &SecretName, version: u64, changed: bool, recovered: bool) {
    if changed || recovered {
        info!(target: "sidekey", %name, version, changed, recovered, "secret read");
    } else {
        debug!(target: "sidekey", %name, version, "secret confirmed");
    }
}

/// A certificate was issued; `serial` is absent where a lease stands for it.
pub fn certificate_issued(
    name: &SecretName,
    version: u64,
    serial: Option<&str>,
    life: Option<Duration>,
) {
    let life = life.map(brief).map(tracing::field::debug);
    info!(target: "sidekey", %name, version, serial, life, "certificate issued");
}

/// Vault made the private key, because the role does not sign ours.
pub fn key_made_by_vault(role: &str, error: &VaultError) {
    debug!(target: "sidekey", role, %error, "key made by Vault: the role signs none of ours");
}

/// A certificate is served although its chain uses an algorithm that we cannot check.
pub fn chain_not_checked(serial: &str) {
    warn!(target: "sidekey", serial, "signature algorithm not known here, chain not checked");
}

/// A value cannot be read for want of a token. Why there is none is said with the login.
pub fn fetch_waits_for_login(name: &SecretName, retry_in: Duration) {
    debug!(target: "sidekey", %name, retry_in = ?brief(retry_in), "not read: not logged in to Vault");
}

/// A secret could not be read, or a certificate not be issued.
pub fn fetch_failed(
    name: &SecretName,
    kind: NameKind,
    error: &(dyn Error + 'static),
    retry_in: Duration,
) {
    let (error, retry_in) = (Chain(error), brief(retry_in));
    match kind {
        NameKind::Secret => {
            warn!(target: "sidekey", %name, %error, ?retry_in, "cannot read the secret");
        }
        NameKind::Certificate => {
            warn!(target: "sidekey", %name, %error, ?retry_in, "cannot get the certificate");
        }
    }
}

/// A value became too old to serve and was dropped.
pub fn expired(name: &SecretName, kind: NameKind) {
    match kind {
        NameKind::Secret => {
            error!(target: "sidekey", %name, "secret expired and could not be replaced");
        }
        NameKind::Certificate => {
            error!(target: "sidekey", %name, "certificate expired and could not be replaced");
        }
    }
}

/// A lease was renewed.
pub fn lease_renewed(name: &SecretName, ttl: Duration) {
    debug!(target: "sidekey", %name, ttl = ?brief(ttl), "lease renewed");
}

/// A lease could not be renewed.
pub fn lease_renewal_failed(name: &SecretName, error: &VaultError, retry_in: Duration) {
    warn!(target: "sidekey", %name, %error, retry_in = ?brief(retry_in), "lease not renewed");
}

/// A lease or certificate was given back, or outlives us: then its id or serial number lets an
/// operator revoke it.
pub fn handed_back(handle: &Handle, outcome: &Result<(), VaultError>) {
    match (handle, outcome) {
        (Handle::Lease(lease_id), Ok(())) => info!(target: "sidekey", lease_id, "lease revoked"),
        (Handle::Lease(lease_id), Err(error)) => {
            warn!(target: "sidekey", lease_id, %error, "lease not revoked");
        }
        (Handle::Certificate { serial, .. }, Ok(())) => {
            info!(target: "sidekey", serial, "certificate revoked");
        }
        (Handle::Certificate { serial, .. }, Err(error)) => {
            warn!(target: "sidekey", serial, %error, "certificate not revoked");
        }
    }
}
