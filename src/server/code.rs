//! The stable names of how requests end, with their statuses.

use http::StatusCode;

/// How a request ended. The names are stable: clients, metrics and the audit log use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Ok,
    NotModified,
    BadRequest,
    ForwardedRefused,
    KeystorePasswordRefused,
    CallerUnknown,
    CallerDenied,
    CrossSiteRefused,
    NotFound,
    UnknownName,
    UnknownField,
    UnknownForm,
    SecretMissing,
    VersionDeleted,
    VersionDestroyed,
    VersionMissing,
    MethodNotAllowed,
    NotAcceptable,
    BodyRefused,
    TargetTooLong,
    HostRefused,
    Unrepresentable,
    NotBase64,
    TooManyRequests,
    HeadTooLarge,
    KeystoreFailed,
    UpstreamMalformed,
    UpstreamTooLarge,
    NotReady,
    UpstreamUnavailable,
    NoSecretMemory,
    UpstreamDenied,
    Expired,
    MinTtlUnmet,
}

impl Code {
    pub(super) const ALL: [Self; 34] = [
        Self::Ok,
        Self::NotModified,
        Self::BadRequest,
        Self::ForwardedRefused,
        Self::KeystorePasswordRefused,
        Self::CallerUnknown,
        Self::CallerDenied,
        Self::CrossSiteRefused,
        Self::NotFound,
        Self::UnknownName,
        Self::UnknownField,
        Self::UnknownForm,
        Self::SecretMissing,
        Self::VersionDeleted,
        Self::VersionDestroyed,
        Self::VersionMissing,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::BodyRefused,
        Self::TargetTooLong,
        Self::HostRefused,
        Self::Unrepresentable,
        Self::NotBase64,
        Self::TooManyRequests,
        Self::HeadTooLarge,
        Self::KeystoreFailed,
        Self::UpstreamMalformed,
        Self::UpstreamTooLarge,
        Self::NotReady,
        Self::UpstreamUnavailable,
        Self::NoSecretMemory,
        Self::UpstreamDenied,
        Self::Expired,
        Self::MinTtlUnmet,
    ];

    /// The stable name, the status and the title.
    pub(super) const fn row(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::Ok => ("ok", StatusCode::OK, "OK"),
            Self::NotModified => ("not_modified", StatusCode::NOT_MODIFIED, "Not modified"),
            Self::BadRequest => ("bad_request", StatusCode::BAD_REQUEST, "Malformed request"),
            Self::ForwardedRefused => {
                ("forwarded_refused", StatusCode::BAD_REQUEST, "Forwarded request refused")
            }
            Self::KeystorePasswordRefused => {
                ("keystore_password_refused", StatusCode::BAD_REQUEST, "Keystore password refused")
            }
            Self::CallerUnknown => ("caller_unknown", StatusCode::UNAUTHORIZED, "Unknown caller"),
            Self::CallerDenied => ("caller_denied", StatusCode::FORBIDDEN, "Not for this caller"),
            Self::CrossSiteRefused => {
                ("cross_site_refused", StatusCode::FORBIDDEN, "Browser request refused")
            }
            Self::NotFound => ("not_found", StatusCode::NOT_FOUND, "No such resource"),
            Self::UnknownName => ("unknown_name", StatusCode::NOT_FOUND, "Name not declared"),
            Self::UnknownField => ("unknown_field", StatusCode::NOT_FOUND, "No such field"),
            Self::UnknownForm => ("unknown_form", StatusCode::NOT_FOUND, "No such form"),
            Self::SecretMissing => ("secret_missing", StatusCode::NOT_FOUND, "Nothing is stored"),
            Self::VersionDeleted => ("version_deleted", StatusCode::NOT_FOUND, "Version deleted"),
            Self::VersionDestroyed => {
                ("version_destroyed", StatusCode::NOT_FOUND, "Version destroyed")
            }
            Self::VersionMissing => ("version_missing", StatusCode::NOT_FOUND, "No such version"),
            Self::MethodNotAllowed => {
                ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
            }
            Self::NotAcceptable => ("not_acceptable", StatusCode::NOT_ACCEPTABLE, "No such format"),
            Self::BodyRefused => {
                ("body_refused", StatusCode::PAYLOAD_TOO_LARGE, "Request body refused")
            }
            Self::TargetTooLong => {
                ("target_too_long", StatusCode::URI_TOO_LONG, "Request target too long")
            }
            Self::HostRefused => ("host_refused", StatusCode::MISDIRECTED_REQUEST, "Host refused"),
            Self::Unrepresentable => {
                ("unrepresentable", StatusCode::UNPROCESSABLE_ENTITY, "Format cannot hold it")
            }
            Self::NotBase64 => ("not_base64", StatusCode::UNPROCESSABLE_ENTITY, "Not base64"),
            Self::TooManyRequests => {
                ("too_many_requests", StatusCode::TOO_MANY_REQUESTS, "Too many requests")
            }
            Self::HeadTooLarge => (
                "head_too_large",
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "Request head too large",
            ),
            Self::KeystoreFailed => {
                ("keystore_failed", StatusCode::INTERNAL_SERVER_ERROR, "Keystore not made")
            }
            Self::UpstreamMalformed => {
                ("upstream_malformed", StatusCode::BAD_GATEWAY, "Vault's answer cannot be served")
            }
            Self::UpstreamTooLarge => {
                ("upstream_too_large", StatusCode::BAD_GATEWAY, "Vault's answer is too large")
            }
            Self::NotReady => ("not_ready", StatusCode::SERVICE_UNAVAILABLE, "Not ready"),
            Self::UpstreamUnavailable => {
                ("upstream_unavailable", StatusCode::SERVICE_UNAVAILABLE, "Vault cannot be asked")
            }
            Self::NoSecretMemory => {
                ("no_secret_memory", StatusCode::SERVICE_UNAVAILABLE, "No room in secret memory")
            }
            Self::UpstreamDenied => {
                ("upstream_denied", StatusCode::SERVICE_UNAVAILABLE, "Vault refuses to be read")
            }
            Self::MinTtlUnmet => {
                ("min_ttl_unmet", StatusCode::SERVICE_UNAVAILABLE, "Not enough life left")
            }
            Self::Expired => ("expired", StatusCode::SERVICE_UNAVAILABLE, "The value expired"),
        }
    }

    /// The stable name.
    pub(super) const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The status line's number.
    pub(super) const fn status(self) -> StatusCode {
        self.row().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_distinct_and_indexed_in_order() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for (index, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, index);
        }
    }
    /// `openapi.yaml` has each refusal's code under its status, and no other.
    #[test]
    fn the_description_has_the_same_codes() {
        let description = include_str!("../../openapi.yaml");
        let (_, schemas) = description.split_once("  schemas:\n").unwrap();
        let described: BTreeSet<_> = schemas
            .split("\n    Problem")
            .filter_map(|schema| {
                let status: u16 = schema.split_once(':')?.0.parse().ok()?;
                let codes = schema.split_once("code: { enum: [")?.1.split_once(']')?.0;
                Some(codes.split(", ").map(move |code| (status, code)))
            })
            .flatten()
            .collect();
        let refusals = Code::ALL.iter().filter(|code| code.status().as_u16() >= 400);
        let ours = refusals.map(|code| (code.status().as_u16(), code.as_str())).collect();
        assert_eq!(described, ours);
    }
}
