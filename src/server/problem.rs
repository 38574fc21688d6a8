//! Every error of the local door, and the only table from errors to HTTP; the statuses of the
//! codes are in `code.rs`.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderMap, HeaderValue};
use serde::Serialize;

use super::body::Body;
use super::code::Code;
use super::guard::Denied;
use crate::cache::ReadError;
use crate::certificate::KeystoreUnmade;
use crate::secret::Unrepresentable;

/// Why a request is not answered with what it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// A guard refused it.
    Denied(Denied),
    /// No route has this path.
    NotFound,
    /// The health listener has no such path.
    NoProbe,
    /// The query is not understood.
    Query(QueryProblem),
    /// The secret has no such field.
    UnknownField,
    /// A certificate has no such form.
    UnknownForm,
    /// The password for a keystore is not one that it can have.
    KeystorePasswordRefused,
    /// As many keystores as may wait are waiting.
    KeystoresBusy,
    /// The system gave no thread or no randomness for a keystore.
    KeystoreFailed,
    /// No format of ours is asked for.
    NotAcceptable,
    /// The format cannot express a field.
    Unrepresentable(Unrepresentable),
    /// `?encoding=base64` on a field that is not base64.
    NotBase64,
    /// The name was refreshed a moment ago.
    RefreshedJustNow(Duration),
    /// The cache has no answer.
    Read(ReadError),
}

/// What is wrong with a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum QueryProblem {
    /// A parameter that this resource does not have. Names the parameter when it is short and
    /// plain, which a typing error is.
    Unknown(Option<Box<str>>),
    /// A parameter stands there twice.
    Repeated(&'static str),
    /// A parameter's value is not one of those it may have.
    BadValue(&'static str),
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<KeystoreUnmade> for Problem {
    fn from(unmade: KeystoreUnmade) -> Self {
        match unmade {
            KeystoreUnmade::Busy => Self::KeystoresBusy,
            KeystoreUnmade::Unfit => Self::Read(ReadError::Malformed),
            KeystoreUnmade::System => Self::KeystoreFailed,
        }
    }
}

impl Problem {
    /// The stable code.
    pub(super) fn code(&self) -> Code {
        match self {
            Self::Denied(denied) => denied_code(denied),
            Self::NotFound | Self::NoProbe => Code::NotFound,
            Self::Query(_) => Code::BadRequest,
            Self::UnknownField => Code::UnknownField,
            Self::UnknownForm => Code::UnknownForm,
            Self::KeystorePasswordRefused => Code::KeystorePasswordRefused,
            Self::KeystoreFailed => Code::KeystoreFailed,
            Self::NotAcceptable => Code::NotAcceptable,
            Self::Unrepresentable(_) => Code::Unrepresentable,
            Self::NotBase64 => Code::NotBase64,
            Self::RefreshedJustNow(_) | Self::KeystoresBusy => Code::TooManyRequests,
            Self::Read(error) => read_code(error),
        }
    }

    /// One sentence for whoever reads the answer. Says nothing that the asker did not know,
    /// apart from the names of fields of a secret that it may read.
    fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::Denied(denied) => denied_detail(denied).into(),
            Self::NotFound => "see GET /secrets".into(),
            Self::NoProbe => "this is the health listener: /livez, /readyz and /metrics".into(),
            Self::Query(QueryProblem::Unknown(Some(name))) => {
                format!("there is no query parameter {name:?} here").into()
            }
            Self::Query(QueryProblem::Unknown(None)) => "unknown query parameter".into(),
            Self::Query(QueryProblem::Repeated(name)) => {
                format!("query parameter {name:?} is repeated").into()
            }
            Self::Query(QueryProblem::BadValue(name @ ("wait" | "min_ttl"))) => format!(
                "query parameter {name:?} takes a duration such as 30s, and no version beside it"
            )
            .into(),
            Self::Query(QueryProblem::BadValue(name)) => {
                format!("query parameter {name:?} has a value it may not have").into()
            }
            Self::UnknownField => "the secret has no field of this name".into(),
            Self::UnknownForm => "available: cert.pem, key.pem, chain.pem, fullchain.pem, \
                 ca.pem, bundle.pem, keystore.p12, truststore.p12, keystore.jks, truststore.jks; \
                 JSON without any of them"
                .into(),
            Self::KeystorePasswordRefused => "Sidekey-Keystore-Password: once, 1 to 128 visible \
                 ASCII characters or inner spaces; without it one is generated"
                .into(),
            Self::KeystoresBusy => "too many keystores are being made".into(),
            Self::KeystoreFailed => "the system gave no thread or no randomness".into(),
            Self::NotAcceptable => "available: json, env, yaml, properties".into(),
            Self::Unrepresentable(error) => {
                format!("field {:?}: {}", error.field, error.reason).into()
            }
            Self::NotBase64 => "the field's value is not base64 text".into(),
            Self::RefreshedJustNow(_) => "this name was refreshed a moment ago".into(),
            Self::Read(error) => read_detail(error).into(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Denied(Denied::TooManyRequests(wait)) | Self::RefreshedJustNow(wait) => {
                Some(*wait)
            }
            Self::Read(ReadError::NotReady) | Self::KeystoresBusy => Some(Duration::from_secs(1)),
            Self::Read(ReadError::Unavailable { retry_after }) => {
                Some(retry_after.unwrap_or(Duration::from_secs(5)))
            }
            Self::Read(ReadError::Expired | ReadError::MinTtlUnmet) => Some(Duration::from_secs(5)),
            Self::Read(ReadError::Denied | ReadError::NoSecretMemory) => {
                Some(Duration::from_secs(30))
            }
            _ => None,
        }
    }

    /// The answer: `application/problem+json`, RFC 9457.
    pub(super) fn response(&self) -> Response<Body> {
        let code = self.code();
        let (name, status, title) = code.row();
        let body = Document {
            r#type: &format!("urn:sidekey:problem:{name}"),
            title,
            status: status.as_u16(),
            code: name,
            detail: &self.detail(),
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Body::from(Bytes::from(body)));
        *response.status_mut() = status;
        self.set_headers(response.headers_mut());
        response
    }

    fn set_headers(&self, headers: &mut HeaderMap) {
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(wait) = self.retry_after() {
            // Whole seconds, rounded up.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, seconds.max(1).into());
        }
        match self {
            Self::Denied(Denied::CallerUnknown) => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Denied(Denied::Method(allow)) => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allow));
            }
            // What follows on this connection may be the refused body.
            Self::Denied(Denied::Body) => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
}

fn denied_code(denied: &Denied) -> Code {
    match denied {
        Denied::TargetTooLong => Code::TargetTooLong,
        Denied::HeadTooLarge => Code::HeadTooLarge,
        Denied::Host => Code::HostRefused,
        Denied::Forwarded => Code::ForwardedRefused,
        Denied::CrossSite => Code::CrossSiteRefused,
        Denied::Body => Code::BodyRefused,
        Denied::Target(_) => Code::BadRequest,
        Denied::Method(_) => Code::MethodNotAllowed,
        Denied::TooManyRequests(_) => Code::TooManyRequests,
        Denied::CallerUnknown => Code::CallerUnknown,
        Denied::OutOfScope => Code::CallerDenied,
        Denied::UnknownName => Code::UnknownName,
    }
}

fn denied_detail(denied: &Denied) -> &'static str {
    match denied {
        Denied::TargetTooLong => "at most 2048 bytes",
        Denied::HeadTooLarge => "at most 64 headers and 16 KiB",
        Denied::Host => "the Host header must be one of the sidecar's own loopback names",
        Denied::Forwarded => "requests that passed a proxy are not answered",
        Denied::CrossSite => "requests from web pages are not answered",
        Denied::Body => "no request here has a body",
        Denied::Target(why) => why,
        Denied::Method(_) => "see the Allow header",
        Denied::TooManyRequests(_) => "slow down",
        Denied::CallerUnknown => "no caller rule matches this process and its token",
        Denied::OutOfScope => "no caller rule that matches permits this name",
        Denied::UnknownName => "the configuration declares nothing of this name here",
    }
}

fn read_code(error: &ReadError) -> Code {
    match error {
        ReadError::NotReady => Code::NotReady,
        ReadError::Unavailable { .. } => Code::UpstreamUnavailable,
        ReadError::NoSecretMemory => Code::NoSecretMemory,
        ReadError::Expired => Code::Expired,
        ReadError::MinTtlUnmet => Code::MinTtlUnmet,
        ReadError::Denied => Code::UpstreamDenied,
        ReadError::Missing => Code::SecretMissing,
        ReadError::Deleted => Code::VersionDeleted,
        ReadError::Destroyed => Code::VersionDestroyed,
        ReadError::NoSuchVersion => Code::VersionMissing,
        ReadError::Malformed => Code::UpstreamMalformed,
        ReadError::TooLarge => Code::UpstreamTooLarge,
    }
}

fn read_detail(error: &ReadError) -> &'static str {
    match error {
        ReadError::NotReady => "nothing was fetched yet",
        ReadError::Unavailable { .. } => "Vault cannot be asked, and no usable value is left",
        ReadError::NoSecretMemory => {
            "secret memory is full, and the configuration takes no other: \
             raise RLIMIT_MEMLOCK, or have fewer or smaller secrets"
        }
        ReadError::MinTtlUnmet => "Vault gives no value that lives as long as min_ttl",
        ReadError::Expired => "the last value expired and could not be replaced",
        ReadError::Denied => "Vault's policy does not let the sidecar read it",
        ReadError::Missing => "nothing is stored at the path in Vault",
        ReadError::Deleted => "this version was deleted in Vault, and can be undeleted",
        ReadError::Destroyed => "this version was destroyed in Vault",
        ReadError::NoSuchVersion => "Vault has no such version",
        ReadError::Malformed => "Vault's answer is not a secret that can be served",
        ReadError::TooLarge => "Vault's answer is larger than the sidecar takes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[test]
    fn every_503_and_429_says_when_to_come_back() {
        let errors = [
            Problem::Read(ReadError::NotReady),
            Problem::Read(ReadError::Unavailable { retry_after: None }),
            Problem::Read(ReadError::Expired),
            Problem::Read(ReadError::Denied),
            Problem::Read(ReadError::NoSecretMemory),
            Problem::RefreshedJustNow(Duration::from_millis(1)),
            Problem::KeystoresBusy,
            Problem::Denied(Denied::TooManyRequests(Duration::ZERO)),
        ];
        for problem in errors {
            let response = problem.response();
            let wait = response.headers()[header::RETRY_AFTER].to_str().unwrap();
            assert!(wait.parse::<u64>().unwrap() >= 1, "{problem:?}");
        }
        let wait = Some(Duration::from_millis(2500));
        let response = Problem::Read(ReadError::Unavailable { retry_after: wait }).response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "3");
    }

    #[tokio::test]
    async fn the_body_is_a_problem_document() {
        let field = "a\"b".into();
        let problem = Problem::Unrepresentable(Unrepresentable { field, reason: "why" });
        let response = problem.response();
        assert_eq!(response.status(), 422);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["type"], "urn:sidekey:problem:unrepresentable");
        assert_eq!(body["status"], 422);
        assert_eq!(body["code"], "unrepresentable");
        assert!(body["detail"].as_str().unwrap().contains("a\\\"b"));
    }
}
