//! Why a request was not answered by the application, and what its sender is told.

use std::error::Error as _;

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderValue};
use http_body_util::Full;

use super::super::access;
use super::super::application::ConnectError;
use super::body::BodyError;
use crate::adapter::problem;
use crate::adapter::upstream::Unanswered;

/// The names are stable: clients and metrics use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Host,
    Target,
    Method,
    BodyTooLong,
    BodyStalled,
    BodyCutOff,
    Unreachable,
    Failed,
    Timeout,
    Access(access::Refusal),
}

impl From<access::Refusal> for Refusal {
    fn from(refusal: access::Refusal) -> Self {
        Self::Access(refusal)
    }
}

impl From<&Unanswered<ConnectError>> for Refusal {
    /// Without the words of hyper's client: they may be the application's.
    fn from(error: &Unanswered<ConnectError>) -> Self {
        let broken = match error {
            Unanswered::Connect(ConnectError::Refused(_)) => return Self::Unreachable,
            Unanswered::Connect(ConnectError::Timeout(_)) => return Self::Timeout,
            Unanswered::Broken(broken) => broken,
        };
        match broken.source().and_then(|source| source.downcast_ref()) {
            Some(BodyError::CutOff(_)) => Self::BodyCutOff,
            Some(BodyError::TooLong) => Self::BodyTooLong,
            Some(BodyError::Stalled) => Self::BodyStalled,
            None => Self::Failed,
        }
    }
}

impl Refusal {
    const fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::Host => ("host_refused", 400, "One valid Host is needed"),
            Self::Target => ("target_refused", 400, "Only a path can be asked for"),
            Self::Method => ("method_refused", 501, "The method is not supported"),
            Self::BodyTooLong => ("body_too_long", 413, "The request's body is too long"),
            Self::BodyStalled => ("body_timeout", 408, "The request's body did not come in time"),
            Self::BodyCutOff => ("body_cut_off", 400, "The request's body was cut off"),
            Self::Unreachable => {
                ("application_unreachable", 502, "The application cannot be reached")
            }
            Self::Failed => {
                ("application_failed", 502, "The application broke off or answered nonsense")
            }
            Self::Timeout => ("application_timeout", 504, "The application did not answer in time"),
            Self::Access(refusal) => refusal.row(),
        }
    }

    pub(super) const fn code(self) -> &'static str {
        self.row().0
    }

    /// It is the application's doing.
    pub(super) const fn is_of_application(self) -> bool {
        matches!(self, Self::Unreachable | Self::Failed | Self::Timeout)
    }

    /// `application/problem+json`, RFC 9457.
    pub(super) fn response(self) -> Response<Full<Bytes>> {
        if let Self::Access(refusal) = self {
            return refusal.response();
        }
        let (code, status, title) = self.row();
        let mut response = problem::response(code, status, title, None);
        let headers = response.headers_mut();
        if self.is_of_application() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        } else {
            // What follows may be a body, or no HTTP at all.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
