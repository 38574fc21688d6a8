//! Why a session was not started, and what the application is told.

use super::super::connect::{ConnectError, Unreached, refuses_certificate};
use super::login::LoginError;
use super::message::fatal;
use super::startup::BadStartup;
use crate::server::Denied;

/// The names are stable: metrics and the audit log use them.
#[derive(Debug)]
pub(super) enum Refusal {
    Malformed,
    Version,
    NoDatabase,
    CallerUnknown,
    TooManyRequests,
    CredentialUnavailable,
    CredentialUnusable,
    CredentialRefused,
    Unreached(Unreached),
    DestinationFailed,
    /// What the server said itself.
    Said(Vec<u8>),
}

impl Refusal {
    pub(super) fn code(&self) -> &'static str {
        self.row().0
    }

    /// Code, `SQLSTATE` and text.
    fn row(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Malformed => ("startup_malformed", "08P01", "invalid startup packet"),
            Self::Version => ("startup_version", "0A000", "unsupported frontend protocol"),
            Self::NoDatabase => ("no_database", "3D000", "no database was named"),
            Self::CallerUnknown => {
                ("caller_unknown", "28000", "no caller rule that may use this matches this process")
            }
            Self::TooManyRequests => ("too_many_requests", "53300", "too many connections for now"),
            Self::CredentialUnavailable => {
                ("credential_unavailable", "57P03", "there is no credential at the moment")
            }
            Self::CredentialUnusable => {
                ("credential_unusable", "28000", "the secret has no user and password")
            }
            Self::CredentialRefused => {
                ("credential_refused", "28000", "the destination refused the credential")
            }
            Self::Unreached(why) => {
                let (state, text) = unreached(*why);
                (why.code(), state, text)
            }
            Self::DestinationFailed => {
                ("destination_failed", "08006", "the destination broke off or made no sense")
            }
            Self::Said(_) => ("destination_refused", "", ""),
        }
    }

    /// `ErrorResponse`.
    pub(super) fn message(&self) -> Vec<u8> {
        match self {
            Self::Said(whole) => whole.clone(),
            other => {
                let (code, state, text) = other.row();
                fatal(state, &format!("sidekey: {text}"), code)
            }
        }
    }
}

impl From<BadStartup> for Refusal {
    fn from(bad: BadStartup) -> Self {
        match bad {
            BadStartup::Malformed => Self::Malformed,
            BadStartup::Version => Self::Version,
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::TooManyRequests(_) => Self::TooManyRequests,
            _ => Self::CallerUnknown,
        }
    }
}

impl From<&ConnectError> for Refusal {
    fn from(error: &ConnectError) -> Self {
        Self::Unreached(error.into())
    }
}

impl From<LoginError> for Refusal {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Refused => Self::CredentialRefused,
            LoginError::Said(whole) => Self::Said(whole),
            LoginError::Method(_) | LoginError::Unproven => Self::Unreached(Unreached::Untrusted),
            LoginError::Io(error) if refuses_certificate(&error) => {
                Self::Unreached(Unreached::CertificateRefused)
            }
            LoginError::Io(_) => Self::DestinationFailed,
        }
    }
}

/// `SQLSTATE` and text.
fn unreached(why: Unreached) -> (&'static str, &'static str) {
    match why {
        Unreached::Unreachable => ("08001", "the destination cannot be reached"),
        Unreached::Untrusted => ("08001", "the destination cannot be trusted"),
        Unreached::Timeout => ("08001", "the destination did not answer in time"),
        Unreached::NoCertificate => ("57P03", "there is no client certificate at the moment"),
        Unreached::CertificateRefused => {
            ("28000", "the destination does not take the client certificate")
        }
    }
}
