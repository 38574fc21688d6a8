//! What can go wrong with Vault, in our own words.
//!
//! An error never holds a secret or anything that the other side sent: a path, a status, a
//! duration, and one of a fixed list of reasons.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;

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

/// What a 4xx means, as far as Vault's text was recognized. The text itself is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not recognized.
    Other,
    /// The wrapping token is used up, expired or made up.
    WrappingToken,
    /// The wrapping token was not made by the AppRole mount it should come from.
    ForeignWrappingToken,
    /// The AppRole role-id or secret-id is wrong, used up or expired.
    RoleOrSecretId,
    /// The token's audience is not the role's.
    Audience,
    /// The token is expired.
    TokenExpired,
    /// The service account or namespace is not bound to the role.
    ServiceAccount,
    /// There is no such role.
    Role,
    /// No acceptable client certificate.
    ClientCertificate,
    /// Nothing is mounted at the path.
    Mount,
    /// Vault does not know the lease: it ended, or somebody revoked it.
    Lease,
    /// The PKI role signs no key of such a type.
    KeyType,
    /// The PKI role does not permit a name that was asked for.
    Names,
    /// The certificate would outlive the one that signs it.
    BeyondAuthority,
    /// Vault does not know the certificate.
    Serial,
    /// The login is good, and Vault wants a second factor besides.
    MultiFactor,
    /// The mount is KV v2 and the path has no `data/` in it.
    KvPathWithoutData,
}

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

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Other => "Vault refused the request",
            Self::WrappingToken => {
                "the wrapping token was used already, or it expired, or it never was one \
                 (a plain secret-id needs secret_id_wrapped = false): \
                 have a new wrapped secret-id delivered"
            }
            Self::ForeignWrappingToken => {
                "the wrapping token was not made by this AppRole mount's secret-id path: \
                 it may have been intercepted"
            }
            Self::RoleOrSecretId => {
                "the role-id is unknown, or the secret-id is wrong, used up or expired"
            }
            Self::Audience => "the token's audience is not the one that the role is bound to",
            Self::TokenExpired => "the token is expired",
            Self::ServiceAccount => "the service account or its namespace is not bound to the role",
            Self::Role => "there is no such role",
            Self::ClientCertificate => "no client certificate that the method accepts",
            Self::Mount => "nothing is mounted there",
            Self::Lease => "Vault does not know the lease any more",
            Self::KeyType => "the role signs no key of such a type: see key and key_type",
            Self::Names => "the role does not permit a name that was asked for",
            Self::BeyondAuthority => {
                "it would outlive the certificate that signs it: ask for a shorter ttl"
            }
            Self::Serial => "Vault does not know the certificate",
            Self::MultiFactor => {
                "the login needs a second factor (MFA), which a sidecar has none of"
            }
            Self::KvPathWithoutData => {
                "this mount is KV version 2: its read paths have data/ after the mount, \
                 as in secret/data/app"
            }
        })
    }
}

/// Every error of Vault: `{"errors": [...]}`.
#[derive(Deserialize)]
struct Errors<'a> {
    #[serde(borrow)]
    errors: Vec<Cow<'a, str>>,
}

/// Whether this is an error as Vault gives it, and not a proxy's.
pub(super) fn is_vaults(body: &[u8]) -> bool {
    serde_json::from_slice::<Errors<'_>>(body).is_ok()
}

/// Whether Vault says beside `permission denied` that it is the token: `invalid token`, or
/// `bad token` when it ended in that moment.
pub(super) fn is_about_token(body: &[u8]) -> bool {
    let about =
        |error: &Cow<'_, str>| error.contains("invalid token") || error.contains("bad token");
    serde_json::from_slice::<Errors<'_>>(body).is_ok_and(|said| said.errors.iter().any(about))
}

/// Recognizes Vault's error texts (`{"errors": [...]}`) and forgets them.
pub(super) fn recognize(body: &[u8]) -> Refusal {
    const KNOWN: [(&str, Refusal); 26] = [
        ("role requires keys of type", Refusal::KeyType),
        ("role requires a minimum of", Refusal::KeyType),
        ("not allowed by this role", Refusal::Names),
        ("not allowed in this role", Refusal::Names),
        ("expiration of the ca", Refusal::BeyondAuthority),
        ("certificate with serial", Refusal::Serial),
        ("unknown role", Refusal::Role),
        ("lease not found", Refusal::Lease),
        ("lease expired", Refusal::Lease),
        ("wrapping token is not valid or does not exist", Refusal::WrappingToken),
        ("wrapping token does not exist", Refusal::WrappingToken),
        ("invalid role or secret id", Refusal::RoleOrSecretId),
        ("invalid secret id", Refusal::RoleOrSecretId),
        ("invalid role id", Refusal::RoleOrSecretId),
        ("invalid audience", Refusal::Audience),
        ("audience claim", Refusal::Audience),
        ("token is expired", Refusal::TokenExpired),
        ("expired", Refusal::TokenExpired),
        ("service account name not authorized", Refusal::ServiceAccount),
        ("namespace not authorized", Refusal::ServiceAccount),
        ("invalid role name", Refusal::Role),
        ("could not be found", Refusal::Role),
        ("client certificate", Refusal::ClientCertificate),
        ("login certificate", Refusal::ClientCertificate),
        ("no handler for route", Refusal::Mount),
        ("invalid path for a versioned k/v", Refusal::KvPathWithoutData),
    ];
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    let known = KNOWN.iter().find(|(phrase, _)| text.contains(phrase));
    known.map_or(Refusal::Other, |(_, refusal)| *refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_vaults_words() {
        let body = br#"{"errors":["invalid role or secret ID"]}"#;
        assert_eq!(recognize(body), Refusal::RoleOrSecretId);
        let body = br#"{"errors":["wrapping token is not valid or does not exist"]}"#;
        assert_eq!(recognize(body), Refusal::WrappingToken);
        assert_eq!(recognize(b"canary"), Refusal::Other);
    }

    #[test]
    fn knows_a_dead_token_and_who_speaks() {
        let dead =
            br#"{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}"#;
        let denied = br#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#;
        assert!(is_about_token(dead) && !is_about_token(denied));
        assert!(is_vaults(dead) && is_vaults(denied) && is_vaults(br#"{"errors":[]}"#));
        for foreign in ["", "<html>invalid token</html>", r#"{"message":"invalid token"}"#, "[]"] {
            assert!(!is_vaults(foreign.as_bytes()), "{foreign}");
            assert!(!is_about_token(foreign.as_bytes()), "{foreign}");
        }
    }

    #[test]
    fn an_error_shows_path_and_reason() {
        let error = VaultError::new(Failure::Refused(400, Refusal::Role), "auth/jwt/login");
        assert_eq!(error.to_string(), "auth/jwt/login: there is no such role (400)");
        assert_eq!(error.retry(), Retry::Never);
    }
}
