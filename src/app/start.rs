//! From the first login to the last name that is waited for.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::{AuthMethod, VaultConfig};
use crate::error::Error;
use crate::lifecycle::Readiness;
use crate::observe::event;
use crate::vault::{Failure, Login, Retry, Upstream, VaultError};

/// How often it is looked whether all is there that readiness waits for besides secrets.
const LOOK: Duration = Duration::from_millis(250);

/// Waits for the first login.
///
/// # Errors
/// At once when Vault refuses it; else at the end of `patience`.
pub(crate) async fn first_login(
    upstream: &Upstream,
    vault: &VaultConfig,
    auth: &AuthMethod,
    patience: Duration,
) -> Result<(), Error> {
    let start = Instant::now();
    let mut login = upstream.login();
    let mut last = VaultError::new(Failure::Timeout, "auth");
    loop {
        match &*login.borrow_and_update() {
            Login::In => return Ok(()),
            Login::Out { error, .. } if is_refusal(error) => return Err(refused(auth, error)),
            Login::Out { error, retry_at } => {
                last = VaultError::clone(error);
                let retry_in = retry_at.saturating_duration_since(Instant::now());
                event::waiting_for_vault(vault.address.as_str(), start.elapsed(), retry_in);
            }
            Login::Starting => {}
        }
        let left = patience.saturating_sub(start.elapsed());
        if !matches!(tokio::time::timeout(left, login.changed()).await, Ok(Ok(()))) {
            break;
        }
    }
    if matches!(last.failure, Failure::Credential(_)) {
        return Err(Error::NoCredential { method: auth.name(), source: last });
    }
    let address = vault.address.to_string();
    Err(Error::VaultUnreachable { address, waited: patience, source: last })
}

fn is_refusal(error: &VaultError) -> bool {
    matches!(error.retry(), Retry::Never | Retry::Reauthenticate)
        && error.failure != Failure::Stopping
}

fn refused(auth: &AuthMethod, error: &VaultError) -> Error {
    Error::LoginRefused {
        method: auth.name(),
        mount: auth.mount().to_owned(),
        identity: auth.identity(),
        source: error.clone(),
    }
}

/// Says who is still missing, first soon and then less and less often.
pub(super) async fn until_ready(readiness: &Readiness) {
    let mut next_word = Duration::from_secs(2);
    let mut last_word = Instant::now();
    let mut changes = readiness.changes();
    loop {
        let pending = readiness.pending();
        if pending.is_empty() {
            event::ready();
            return;
        }
        if last_word.elapsed() >= next_word {
            event::not_ready(&pending);
            last_word = Instant::now();
            next_word = (next_word * 2).min(Duration::from_mins(1));
        }
        let _ = tokio::time::timeout(next_word.min(LOOK), changes.changed()).await;
    }
}
