//! What came of a request, in our own words: by status and body, or by what the network did.

use reqwest::{Method, StatusCode};

use super::error::{Failure, NetworkReason, Refusal, is_about_token, is_vaults, recognize};
use crate::memory::SecretBuf;

/// How the standard library begins what the resolver of the system says.
const LOOKUP: &str = "failed to lookup address information";

/// The word for metrics.
pub(super) fn operation(method: &Method, path: &str) -> &'static str {
    let is_post = method == Method::POST;
    match path {
        _ if path.starts_with("auth/token/") => "token",
        _ if path.starts_with("auth/") && path.ends_with("/login") => "login",
        _ if path.starts_with("sys/wrapping/") => "unwrap",
        "sys/leases/renew" => "renew",
        "sys/leases/revoke" => "revoke",
        _ if is_post && path.ends_with("/revoke") => "revoke",
        _ if is_post => "issue",
        _ => "read",
    }
}

/// What a status other than 2xx and 404 means.
pub(super) fn refused(
    status: StatusCode,
    method: &Method,
    path: &str,
    body: Option<&SecretBuf>,
) -> Failure {
    let body = body.map(SecretBuf::expose).unwrap_or_default();
    match status.as_u16() {
        503 => Failure::Sealed,
        code @ (412 | 429 | 472 | 473) => Failure::Busy(code),
        300..=399 => Failure::Redirect,
        code @ 500.. => Failure::Server(code),
        // A proxy or firewall on the way refuses too; that is no word of Vault's.
        code if !is_vaults(body) => Failure::Foreign(code),
        // A login may be told why; elsewhere it can be the token, whatever else the text says.
        403 if operation(method, path) == "login" => match recognize(body) {
            Refusal::Other => Failure::Denied,
            known => Failure::Refused(403, known),
        },
        403 if is_about_token(body) => Failure::InvalidToken,
        403 => Failure::Denied,
        code => Failure::Refused(code, recognize(body)),
    }
}

/// Says what happened on the network without the URL, which reqwest would add.
pub(super) fn from_reqwest(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        return Failure::Timeout;
    }
    let innermost = innermost(error);
    if error.is_body() || error.is_decode() {
        return Failure::Malformed("the body was cut off");
    }
    let reason = if let Some(io) = innermost.downcast_ref::<std::io::Error>() {
        match io.raw_os_error() {
            Some(_) => io.to_string(),
            None => io.kind().to_string(),
        }
    } else if let Some(tls) = innermost.downcast_ref::<rustls::Error>() {
        match tls {
            rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
                "what answers there does not speak TLS: is the address to begin with http://?"
                    .into()
            }
            _ => tls.to_string(),
        }
    } else if innermost.to_string().starts_with(LOOKUP) {
        "its host name cannot be looked up".into()
    } else if error.is_connect() {
        "the connection failed".into()
    } else {
        "the connection broke before the answer".into()
    };
    Failure::Unreachable(NetworkReason(reason.into()))
}

/// The first cause. An I/O error's source is its cause's source: the cause itself is inside.
fn innermost(error: &reqwest::Error) -> &(dyn std::error::Error + 'static) {
    let mut innermost: &(dyn std::error::Error + 'static) = error;
    loop {
        let wrapped = innermost.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        innermost = match (wrapped, innermost.source()) {
            (Some(wrapped), _) => wrapped,
            (None, Some(source)) => source,
            (None, None) => return innermost,
        };
    }
}
