//! Headers that belong to one connection stay behind (RFC 9110, 7.6.1).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

pub(super) use crate::scope::is_alike;

/// They speak of one connection, whether or not `Connection` says so.
pub(super) const OF_ONE_CONNECTION: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What is left for the next connection.
pub(super) fn passed_on(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in OF_ONE_CONNECTION {
        headers.remove(name);
    }
    headers
}

/// Drops what `keep` says no to.
pub(super) fn retain(
    headers: &mut HeaderMap,
    mut keep: impl FnMut(&HeaderName, &HeaderValue) -> bool,
) {
    let all = std::mem::take(headers);
    let mut current = None;
    for (name, value) in all {
        // A repeated name is told once.
        current = name.or(current);
        if let Some(name) = current.as_ref().filter(|name| keep(name, &value)) {
            headers.append(name.clone(), value);
        }
    }
}
