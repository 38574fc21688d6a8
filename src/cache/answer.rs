//! One answer of the cache, and why there may be none.

use std::sync::Arc;
use std::time::Duration;

use crate::secret::Secret;
use crate::vault::{Failure, Refusal, VaultError};

/// How good an answer is. An expired value is no answer at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Read from Vault within `refresh`.
    Fresh,
    /// Older, because Vault could not be asked; still within `max_stale`.
    Stale,
}

impl Freshness {
    /// The value of the `Sidekey-Freshness` header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
        }
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Served {
    /// The value, immutable and shared.
    pub secret: Arc<Secret>,
    /// The `Sidekey-Version` header: KV v2's own version, else a count of the values seen.
    pub version: u64,
    /// How good it is.
    pub freshness: Freshness,
    /// Time since Vault last confirmed it.
    pub age: Duration,
    /// Life left, for a leased value.
    pub expires_in: Option<Duration>,
}

/// Why there is no answer. Holds names and durations alone, so that it can be shown to anybody
/// who may ask for the name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nothing was fetched yet and Vault has not been logged in to.
    #[error("not fetched yet")]
    NotReady,
    /// Vault cannot be asked, and no value within `max_stale` is left.
    #[error("Vault cannot be asked")]
    Unavailable {
        /// When the next attempt is due.
        retry_after: Option<Duration>,
    },
    /// There is no room for it in secret memory, which the configuration insists on.
    #[error("there is no room in secret memory")]
    NoSecretMemory,
    /// The last value expired and could not be replaced.
    #[error("the last value expired")]
    Expired,
    /// The value has less life left than was asked for, and Vault gives no more.
    #[error("no value that lives so long can be had")]
    MinTtlUnmet,
    /// Vault's policy does not let us read the path.
    #[error("Vault refuses to let the sidecar read it")]
    Denied,
    /// Nothing is stored at the path.
    #[error("nothing is stored there")]
    Missing,
    /// KV v2: the version was deleted (and can be undeleted).
    #[error("the version was deleted")]
    Deleted,
    /// KV v2: the version was destroyed for good.
    #[error("the version was destroyed")]
    Destroyed,
    /// KV v2: there is no such version.
    #[error("there is no such version")]
    NoSuchVersion,
    /// Vault's answer was not a secret that can be served.
    #[error("Vault's answer cannot be served")]
    Malformed,
    /// Vault's answer was larger than the sidecar takes.
    #[error("Vault's answer is too large")]
    TooLarge,
}

impl ReadError {
    /// What a caller may be told of Vault's failure.
    pub(super) fn from_vault(error: &VaultError, seen_before: bool) -> Self {
        let retry_after = error.retry_after;
        match &error.failure {
            Failure::NotLoggedIn if !seen_before => Self::NotReady,
            Failure::NotLoggedIn
            | Failure::Unreachable(_)
            | Failure::Timeout
            | Failure::Ceiling
            | Failure::Sealed
            | Failure::Busy(_)
            | Failure::Server(_)
            | Failure::Credential(_)
            | Failure::InvalidToken
            | Failure::Behind
            | Failure::Stopping => Self::Unavailable { retry_after },
            Failure::NoSecretMemory => Self::NoSecretMemory,
            Failure::Denied => Self::Denied,
            Failure::NotFound
            | Failure::Refused(_, Refusal::Mount | Refusal::KvPathWithoutData) => Self::Missing,
            Failure::Deleted => Self::Deleted,
            Failure::Destroyed => Self::Destroyed,
            Failure::NoSuchVersion => Self::NoSuchVersion,
            Failure::Refused(..)
            | Failure::Malformed(_)
            | Failure::Foreign(_)
            | Failure::Redirect
            | Failure::Unfit(_) => Self::Malformed,
            Failure::TooLarge => Self::TooLarge,
        }
    }

    /// Vault's word that the value does not exist any more, not a failure to ask.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Missing | Self::Deleted | Self::Destroyed | Self::NoSuchVersion)
    }
}
