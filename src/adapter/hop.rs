//! Headers that belong to one connection stay behind (RFC 9110, 7.6.1).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

pub(super) use crate::scope::is_alike;

/// They speak of one connection, whether or not `Connection` says so.
const OF_ONE_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Whether it is one of those, under a name that some servers read likewise too.
pub(super) fn is_of_one_connection(name: &HeaderName) -> bool {
    OF_ONE_CONNECTION.iter().any(|of| is_alike(name.as_str(), of.as_str()))
}

/// What is left for the next connection.
pub(super) fn passed_on(mut headers: HeaderMap) -> HeaderMap {
    // Most heads have none of it.
    if !headers.keys().any(|name| OF_ONE_CONNECTION.contains(name)) {
        return headers;
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in &OF_ONE_CONNECTION {
        headers.remove(name);
    }
    headers
}

/// Drops what `keep`, asked once for each, says no to.
pub(super) fn retain(
    headers: &mut HeaderMap,
    mut keep: impl FnMut(&HeaderName, &HeaderValue) -> bool,
) {
    let kept: Vec<bool> = headers.iter().map(|(name, value)| keep(name, value)).collect();
    if kept.iter().all(|kept| *kept) {
        return;
    }
    let all = std::mem::take(headers);
    let mut current = None;
    for ((name, value), kept) in all.into_iter().zip(kept) {
        // A repeated name is told once.
        current = name.or(current);
        if let Some(name) = current.as_ref().filter(|_| kept) {
            headers.append(name.clone(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_asked_for_once_and_dropped_by_itself() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1"), ("a", "3")] {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_static(value));
        }
        let mut asked = 0;
        retain(&mut headers, |_, _| {
            asked += 1;
            true
        });
        assert_eq!((asked, headers.len()), (5, 5));
        retain(&mut headers, |name, value| name != "b" && value != "2");
        let left: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(left, [("a", &b"1"[..]), ("a", b"3"), ("c", b"1")]);
    }
}
