//! Why a request was not answered by the destination, and what the application is told.

use std::error::Error;
use std::io;

use http::Response;
use http::header::{self, HeaderValue};

use super::super::connect::{ConnectError, Unreached, refuses_certificate};
use super::body::Reply;
use crate::adapter::problem;
use crate::adapter::upstream::Unanswered;
use crate::server::Denied;

/// The names are stable: clients, metrics and the audit log use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Host,
    Forwarded,
    CrossSite,
    Target,
    Method,
    Upgrade,
    Ambiguous,
    OutOfScope,
    CallerUnknown,
    TooManyRequests,
    RequestCutOff,
    CredentialUnavailable,
    CredentialUnusable,
    Unreached(Unreached),
    DestinationFailed,
}

impl From<&Unanswered<ConnectError>> for Refusal {
    /// Without the words of hyper's client: they may be the destination's.
    fn from(error: &Unanswered<ConnectError>) -> Self {
        match error {
            Unanswered::Connect(error) => Self::Unreached(error.into()),
            Unanswered::Broken(error) => Self::of_broken(error),
        }
    }
}

impl Refusal {
    pub(super) fn of(denied: &Denied) -> Self {
        match denied {
            Denied::Forwarded => Self::Forwarded,
            Denied::CrossSite => Self::CrossSite,
            Denied::CallerUnknown | Denied::OutOfScope | Denied::UnknownName => Self::CallerUnknown,
            Denied::TooManyRequests(_) => Self::TooManyRequests,
            Denied::Host
            | Denied::TargetTooLong
            | Denied::HeadTooLarge
            | Denied::Body
            | Denied::Target(_)
            | Denied::Method(_) => Self::Host,
        }
    }

    fn of_broken(error: &hyper::Error) -> Self {
        let mut source: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(cause) = source {
            if cause.downcast_ref::<io::Error>().is_some_and(refuses_certificate) {
                return Self::Unreached(Unreached::CertificateRefused);
            }
            if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_user) {
                return Self::RequestCutOff;
            }
            source = cause.source();
        }
        Self::DestinationFailed
    }

    const fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::Host => ("host_refused", 421, "Host refused"),
            Self::Forwarded => ("forwarded_refused", 400, "Forwarded request refused"),
            Self::CrossSite => ("cross_site_refused", 403, "Browser request refused"),
            Self::Target => ("target_refused", 400, "Only a path can be asked for"),
            Self::Method => ("method_refused", 405, "Method refused"),
            Self::Upgrade => ("upgrade_refused", 501, "Upgrades are not supported"),
            Self::Ambiguous => ("request_ambiguous", 400, "The request can be read in two ways"),
            Self::OutOfScope => ("out_of_scope", 403, "This method and path are not let through"),
            Self::CallerUnknown => ("caller_unknown", 401, "Unknown caller"),
            Self::TooManyRequests => ("too_many_requests", 429, "Too many requests"),
            Self::RequestCutOff => ("request_cut_off", 400, "The request's body was cut off"),
            Self::CredentialUnavailable => {
                ("credential_unavailable", 503, "There is no credential at the moment")
            }
            Self::CredentialUnusable => {
                ("credential_unusable", 503, "The secret makes no header that can be sent")
            }
            Self::Unreached(why) => {
                let (status, title) = unreached(why);
                (why.code(), status, title)
            }
            Self::DestinationFailed => {
                ("destination_failed", 502, "The destination broke off or answered nonsense")
            }
        }
    }

    /// What to do about it, as far as that is not the title's matter.
    const fn detail(self) -> &'static str {
        match self {
            Self::Host => "ask for the ambassador's own address, as in its `listen`",
            Self::Forwarded => "requests that passed a proxy are not answered",
            Self::CrossSite => "requests from web pages are not answered",
            Self::Target => "send the path alone, as to the destination itself",
            Self::Method => "CONNECT and TRACE go nowhere: use the ambassador as the destination",
            Self::Upgrade => "for protocols other than HTTP there are ambassadors with `tcp`",
            Self::Ambiguous => "write length, encoding and path in one way",
            Self::OutOfScope => "see `methods` and `paths` of the ambassador",
            Self::CallerUnknown => "see `allow` of the ambassador and [[callers]]",
            Self::TooManyRequests => "see [limits]",
            Self::RequestCutOff => "send as many bytes as announced",
            Self::CredentialUnavailable => "the sidecar's log says why its secret was not read",
            Self::CredentialUnusable => "see `credential` and `field` of the ambassador",
            Self::Unreached(why) => look_at(why),
            Self::DestinationFailed => "the destination's own log may say why",
        }
    }

    pub(super) const fn code(self) -> &'static str {
        self.row().0
    }

    /// What follows may be a body, or no HTTP at all; and strangers keep no connection.
    const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Host
                | Self::Forwarded
                | Self::CrossSite
                | Self::Target
                | Self::Method
                | Self::Upgrade
                | Self::Ambiguous
                | Self::OutOfScope
                | Self::CallerUnknown
                | Self::TooManyRequests
        )
    }

    /// `application/problem+json`, RFC 9457.
    pub(super) fn response(self) -> Response<Reply> {
        let (code, status, title) = self.row();
        let mut response =
            problem::response(code, status, title, Some(self.detail())).map(Reply::Whole);
        let headers = response.headers_mut();
        if self.is_final() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

const fn unreached(why: Unreached) -> (u16, &'static str) {
    match why {
        Unreached::Unreachable => (502, "The destination cannot be reached"),
        Unreached::Untrusted => (502, "The destination cannot be trusted"),
        Unreached::Timeout => (504, "The destination did not answer in time"),
        Unreached::NoCertificate => (503, "There is no client certificate at the moment"),
        Unreached::CertificateRefused => {
            (502, "The destination does not take the client certificate")
        }
    }
}

const fn look_at(why: Unreached) -> &'static str {
    match why {
        Unreached::Unreachable => "see `destination` of the ambassador, and the log",
        Unreached::Untrusted => "see `destination` and `ca_cert` of the ambassador, and the log",
        Unreached::Timeout => "see `connect_timeout` and `response_timeout` of the ambassador",
        Unreached::NoCertificate => "the sidecar's log says why it was not issued",
        Unreached::CertificateRefused => "see `client_certificate` of the ambassador",
    }
}
