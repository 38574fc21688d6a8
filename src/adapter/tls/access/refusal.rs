//! Why a request is not let in, and what its sender is told: RFC 6750 (3) where it is about the
//! token. Nothing of what was sent is repeated.

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderValue};
use http_body_util::Full;

use crate::adapter::problem;

/// The codes are stable: clients, metrics and the audit log use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.code())]
pub(in super::super) enum Refusal {
    /// Method or path could be read in two ways.
    RequestAmbiguous,
    /// More than one token, or a header that is no text.
    TokenMalformed,
    /// No token, where one is needed.
    TokenMissing,
    /// A token that does not count.
    TokenInvalid,
    /// A token that counted once.
    TokenExpired,
    /// No rule lets this in.
    AccessDenied,
    /// A claim that the application is to be told makes no header.
    ClaimUnusable,
    /// The issuer's keys are not known.
    KeysUnavailable,
}

impl Refusal {
    pub(in super::super) const fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::RequestAmbiguous => {
                ("request_ambiguous", 400, "The request can be read in two ways")
            }
            Self::TokenMalformed => ("token_malformed", 400, "One token is expected"),
            Self::TokenMissing => ("token_missing", 401, "A token is needed"),
            Self::TokenInvalid => ("token_invalid", 401, "The token does not count"),
            Self::TokenExpired => ("token_expired", 401, "The token has expired"),
            Self::AccessDenied => ("access_denied", 403, "No rule lets this in"),
            Self::ClaimUnusable => {
                ("claim_unusable", 403, "A claim of the token cannot be passed on")
            }
            Self::KeysUnavailable => {
                ("keys_unavailable", 503, "The issuer's keys are not known at the moment")
            }
        }
    }

    /// The stable code.
    pub(in super::super) const fn code(self) -> &'static str {
        self.row().0
    }

    const fn challenge(self) -> Option<&'static str> {
        match self {
            Self::TokenMalformed => Some("Bearer realm=\"sidekey\", error=\"invalid_request\""),
            Self::TokenMissing => Some("Bearer realm=\"sidekey\""),
            Self::TokenInvalid => Some("Bearer realm=\"sidekey\", error=\"invalid_token\""),
            Self::TokenExpired => Some(
                "Bearer realm=\"sidekey\", error=\"invalid_token\", \
                 error_description=\"expired\"",
            ),
            Self::RequestAmbiguous
            | Self::AccessDenied
            | Self::ClaimUnusable
            | Self::KeysUnavailable => None,
        }
    }

    /// `application/problem+json`, RFC 9457, with `WWW-Authenticate` or `Retry-After` where
    /// there is to be one.
    pub(in super::super) fn response(self) -> Response<Full<Bytes>> {
        let (code, status, title) = self.row();
        let mut response = problem::response(code, status, title, None);
        if let Some(challenge) = self.challenge() {
            let challenge = HeaderValue::from_static(challenge);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
