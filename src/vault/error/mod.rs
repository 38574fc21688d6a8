//! What can go wrong with Vault, in our own words.
//!
//! An error never holds a secret or anything that the other side sent: a path, a status, a
//! duration, and one of a fixed list of reasons.

mod refusal;

use std::fmt;
use std::time::Duration;

pub use refusal::Refusal;
pub(super) use refusal::{is_about_token, is_vaults, recognize};

use crate::certificate::Unfit;

/// A failed operation on Vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultError {
    /// What happened.
    pub failure: Failure,
    /// The path below `/v1/` that was asked.
    pub path: Box<str>,
    /// `Retry-After`, when Vault sent one.
    pub retry_after: Option<Duration>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No connection.
    Unreachable(NetworkReason),
    /// No answer, or no end of it, within the timeout.
    Timeout,
    /// The process's own ceiling on requests leaves no room soon enough.
    Ceiling,
    /// 503: sealed, or not initialized.
    Sealed,
    /// 429 or 473: too many requests, or a standby that cannot answer.
    Busy(u16),
    /// Any other 5xx.
    Server(u16),
    /// 403.
    Denied,
    /// 403, because Vault does not know the token.
    InvalidToken,
    /// A 4xx that is not Vault's: something between here and Vault gave it.
    Foreign(u16),
    /// 404 with nothing behind it.
    NotFound,
    /// KV v2: the version asked for was deleted.
    Deleted,
    /// KV v2: the version asked for was destroyed.
    Destroyed,
    /// KV v2: there is no such version.
    NoSuchVersion,
    /// Any other 4xx, with what it means where that is known.
    Refused(u16, Refusal),
    /// The answer was no answer: broken JSON, wrong shape, cut off.
    Malformed(&'static str),
    /// The answer, or what it announces, is over the limit.
    TooLarge,
    /// There is no room for the answer in secret memory, which the configuration insists on.
    NoSecretMemory,
    /// A redirect that is not followed: a second one, or one to plain HTTP.
    Redirect,
    /// A certificate was issued, and is not what was asked for.
    Unfit(Unfit),
    /// A local credential file cannot be used.
    Credential(Box<str>),
    /// An older version than the one held: a standby that lags behind.
    Behind,
    /// There is no valid token at the moment; the login's own failure is reported elsewhere.
    NotLoggedIn,
    /// The sidecar is stopping.
    Stopping,
}

/// Why there was no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkReason(pub(super) Box<str>);

/// What to do about a failure: one decision for login, renewal and cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Asking again will not help: something has to be changed first.
    Never,
    /// Ask again later.
    Backoff,
    /// The token may be dead: log in again, once.
    Reauthenticate,
}

impl VaultError {
    pub(crate) fn new(failure: Failure, path: &str) -> Self {
        Self { failure, path: path.into(), retry_after: None }
    }

    /// What to do about it.
    pub fn retry(&self) -> Retry {
        match self.failure {
            Failure::Denied | Failure::InvalidToken => Retry::Reauthenticate,
            Failure::NotFound
            | Failure::Deleted
            | Failure::Destroyed
            | Failure::NoSuchVersion
            | Failure::Refused(..)
            | Failure::Stopping => Retry::Never,
            Failure::Unreachable(_)
            | Failure::Timeout
            | Failure::Ceiling
            | Failure::Sealed
            | Failure::Busy(_)
            | Failure::Server(_)
            | Failure::Malformed(_)
            | Failure::Foreign(_)
            | Failure::TooLarge
            | Failure::NoSecretMemory
            | Failure::Unfit(_)
            // Two nodes that both think the other is active, until they have agreed.
            | Failure::Redirect
            | Failure::Credential(_)
            | Failure::Behind
            | Failure::NotLoggedIn => Retry::Backoff,
        }
    }

    /// One word for metrics.
    pub fn outcome(&self) -> &'static str {
        match self.failure {
            Failure::Unreachable(_) => "unreachable",
            Failure::Timeout => "timeout",
            Failure::Ceiling => "ceiling",
            Failure::Sealed => "sealed",
            Failure::Busy(_) => "busy",
            Failure::Server(_) => "server_error",
            Failure::Denied | Failure::InvalidToken => "denied",
            Failure::NotFound | Failure::Deleted | Failure::Destroyed | Failure::NoSuchVersion => {
                "not_found"
            }
            Failure::Refused(..) => "refused",
            Failure::Malformed(_)
            | Failure::Foreign(_)
            | Failure::TooLarge
            | Failure::Redirect
            | Failure::Unfit(_) => "malformed",
            Failure::NoSecretMemory => "no_memory",
            Failure::Credential(_) => "credential",
            Failure::Behind => "behind",
            Failure::NotLoggedIn => "not_logged_in",
            Failure::Stopping => "stopping",
        }
    }
}

impl From<Unfit> for Failure {
    fn from(why: Unfit) -> Self {
        Self::Unfit(why)
    }
}

impl fmt::Display for VaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.failure)
    }
}

impl std::error::Error for VaultError {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(NetworkReason(reason)) => write!(f, "cannot reach Vault: {reason}"),
            Self::Timeout => f.write_str("Vault did not answer in time"),
            Self::Ceiling => f.write_str("held back by max_requests_per_second"),
            Self::Sealed => f.write_str("Vault is sealed or not initialized (503)"),
            Self::Busy(status) => write!(f, "Vault is busy or a standby ({status})"),
            Self::Server(status) => write!(f, "Vault failed ({status})"),
            Self::Denied => f.write_str("permission denied (403)"),
            Self::InvalidToken => {
                f.write_str("permission denied (403): Vault does not know the token")
            }
            Self::Foreign(status) => {
                write!(
                    f,
                    "an answer that is not Vault's ({status}), from something on the way to it"
                )
            }
            Self::NotFound => f.write_str("nothing is stored there (404)"),
            Self::Deleted => f.write_str("the version was deleted"),
            Self::Destroyed => f.write_str("the version was destroyed"),
            Self::NoSuchVersion => f.write_str("there is no such version"),
            Self::Refused(status, refusal) => write!(f, "{refusal} ({status})"),
            Self::Malformed(what) => write!(f, "Vault's answer is broken: {what}"),
            Self::TooLarge => f.write_str("Vault's answer is too large"),
            Self::NoSecretMemory => f.write_str(
                "no room in secret memory, which [memory] require_secret_memory asks for: \
                 raise RLIMIT_MEMLOCK, or have fewer or smaller secrets",
            ),
            Self::Redirect => f.write_str("Vault redirects to where we do not follow"),
            Self::Unfit(why) => write!(f, "Vault issued another certificate than asked for: {why}"),
            Self::Credential(what) => f.write_str(what),
            Self::Behind => f.write_str("Vault's answer is older than what it said before"),
            Self::NotLoggedIn => f.write_str("not logged in to Vault"),
            Self::Stopping => f.write_str("the sidecar is stopping"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_path_and_reason() {
        let error = VaultError::new(Failure::Refused(400, Refusal::Role), "auth/jwt/login");
        assert_eq!(error.to_string(), "auth/jwt/login: there is no such role (400)");
        assert_eq!(error.retry(), Retry::Never);
    }
}
