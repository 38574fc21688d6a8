//! Heads on their way through: what belongs to one connection stays behind, and who asked is for
//! us alone to say.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Version};

use super::refusal::Refusal;
use crate::adapter::hop::{is_alike, is_of_one_connection, passed_on, retain};

const CLIENT_CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What starts like this says who asked, and is ours: also where another proxy would say so.
const OUR_PREFIXES: [&str; 4] = ["x-forwarded-", "x-client-cert", "ssl-client-", "x-ssl-client-"];
/// Ours likewise, or of no use to the application: `Proxy` becomes `HTTP_PROXY` in CGI, an
/// expectation is none of its business, and the rest is made anew.
const OURS: [&str; 10] = [
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "client-cert",
    "client-cert-chain",
    "proxy",
    "expect",
    "host",
    "content-length",
];

/// What is said about each request of a connection.
pub(super) struct Origin {
    client: String,
    port: HeaderValue,
    forwarded_for: HeaderValue,
    certificate: Option<HeaderValue>,
    /// Whom the first request was for, as nearly all of a connection are.
    first: OnceLock<Arc<Addressed>>,
}

/// Whom a request is for, and what is said of that.
pub(super) struct Addressed {
    /// Empty where HTTP/1.0 does not say.
    host: HeaderValue,
    forwarded: HeaderValue,
}

impl Origin {
    /// `certificate` as it goes into `X-Forwarded-Client-Cert`.
    pub(super) fn new(client: SocketAddr, server: SocketAddr, certificate: Option<&str>) -> Self {
        let ip = client.ip().to_canonical();
        let value = |text: &str| HeaderValue::from_str(text).ok();
        let empty = || HeaderValue::from_static("");
        Self {
            client: match ip {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("\"[{ip}]\""),
            },
            port: server.port().into(),
            forwarded_for: value(&ip.to_string()).unwrap_or_else(empty),
            certificate: certificate.and_then(value),
            first: OnceLock::new(),
        }
    }

    /// Whom a request is for, when it is one that can be passed on.
    pub(super) fn addressed(&self, parts: &Parts) -> Result<Arc<Addressed>, Refusal> {
        fits(parts)?;
        if let Some(first) = self.first.get().filter(|first| first.is_asked_by(parts)) {
            return Ok(Arc::clone(first));
        }
        let addressed = Arc::new(self.say(host(parts)?.as_ref()));
        if !addressed.host.is_empty() {
            let _ = self.first.set(Arc::clone(&addressed));
        }
        Ok(addressed)
    }

    fn say(&self, host: Option<&Authority>) -> Addressed {
        // No authority has a quote in it.
        let host = host.map_or("", Authority::as_str);
        let named = if host.is_empty() { String::new() } else { format!(";host=\"{host}\"") };
        let forwarded = format!("for={}{named};proto=https", self.client);
        let value = |text: &str| HeaderValue::from_str(text);
        let empty = HeaderValue::from_static("");
        Addressed {
            host: value(host).unwrap_or(empty.clone()),
            forwarded: value(&forwarded).unwrap_or(empty),
        }
    }
}

impl Addressed {
    /// In one way, and in these letters.
    fn is_asked_by(&self, parts: &Parts) -> bool {
        let mut hosts = parts.headers.get_all(header::HOST).into_iter();
        let asked = match (parts.uri.authority(), hosts.next(), hosts.next()) {
            (None, Some(host), None) => host.as_bytes(),
            (Some(authority), None, None) => authority.as_str().as_bytes(),
            _ => return false,
        };
        asked == self.host.as_bytes()
    }
}

fn fits(parts: &Parts) -> Result<(), Refusal> {
    // A trace is answered with the request, and what we put in; a tunnel leads past the path.
    if parts.method == Method::TRACE || parts.method == Method::CONNECT {
        return Err(Refusal::Method);
    }
    if !parts.uri.path().starts_with('/') {
        return Err(Refusal::Target);
    }
    Ok(())
}

/// In HTTP/2 and in a whole URI the authority counts; else there is one `Host` header (RFC 9112,
/// 3.2), which HTTP/1.0 may lack.
fn host(parts: &Parts) -> Result<Option<Authority>, Refusal> {
    let mut hosts = parts.headers.get_all(header::HOST).into_iter();
    let named = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(Refusal::Host),
        (Some(host), None) => Some(authority(host.as_bytes())?),
        (None, None) => None,
    };
    match (parts.uri.authority(), named) {
        (Some(of_uri), named) => {
            let of_uri = authority(of_uri.as_str().as_bytes())?;
            let differs = named.is_some_and(|named| named != of_uri);
            if differs && parts.version == Version::HTTP_2 {
                return Err(Refusal::Host);
            }
            Ok(Some(of_uri))
        }
        (None, Some(named)) => Ok(Some(named)),
        (None, None) if parts.version == Version::HTTP_10 => Ok(None),
        (None, None) => Err(Refusal::Host),
    }
}

/// Host and port, without a user.
fn authority(text: &[u8]) -> Result<Authority, Refusal> {
    let authority = Authority::try_from(text).map_err(|_| Refusal::Host)?;
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return Err(Refusal::Host);
    }
    Ok(authority)
}

/// A request's headers for the application.
pub(super) fn outgoing(
    parts: &mut Parts,
    addressed: &Addressed,
    upgrade: Option<HeaderValue>,
    origin: &Origin,
) -> HeaderMap {
    let headers = std::mem::take(&mut parts.headers);
    let trailers = take_trailer_names(&headers);
    let takes_trailers = takes_trailers(&headers);
    let mut headers = passed_on(headers);
    // Nearly all requests have nothing else to be left behind.
    headers.remove(header::HOST);
    headers.remove(header::CONTENT_LENGTH);
    retain(&mut headers, |name, _| !is_ours(name.as_str()) && !is_of_one_connection(name));
    join_cookies(&mut headers);
    for names in trailers {
        headers.append(header::TRAILER, names);
    }
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    match (upgrade, takes_trailers) {
        (Some(protocol), _) => {
            headers.insert(header::UPGRADE, protocol);
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        (None, true) => _ = headers.insert(header::CONNECTION, HeaderValue::from_static("te")),
        (None, false) => {}
    }
    let via = match parts.version {
        Version::HTTP_2 => "2.0 sidekey",
        Version::HTTP_10 => "1.0 sidekey",
        _ => "1.1 sidekey",
    };
    headers.append(header::VIA, HeaderValue::from_static(via));
    say_who(&mut headers, addressed, origin);
    headers
}

fn say_who(headers: &mut HeaderMap, addressed: &Addressed, origin: &Origin) {
    let Addressed { host, forwarded } = addressed;
    if !host.is_empty() {
        headers.insert(FORWARDED_HOST, host.clone());
    }
    headers.insert(header::HOST, host.clone());
    headers.insert(header::FORWARDED, forwarded.clone());
    headers.insert(FORWARDED_FOR, origin.forwarded_for.clone());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
    headers.insert(FORWARDED_PORT, origin.port.clone());
    if let Some(certificate) = &origin.certificate {
        headers.insert(CLIENT_CERTIFICATE, certificate.clone());
    }
}

/// An answer's headers for the client.
pub(super) fn incoming(headers: HeaderMap, keeps_length: bool) -> HeaderMap {
    let trailers = take_trailer_names(&headers);
    let mut headers = passed_on(headers);
    if !keeps_length {
        headers.remove(header::CONTENT_LENGTH);
    }
    for names in trailers {
        headers.append(header::TRAILER, names);
    }
    headers
}

/// What comes behind a body cannot say who asked either.
pub(super) fn trailers(trailers: &mut HeaderMap) {
    retain(trailers, |name, _| !is_ours(name.as_str()) && !is_of_one_connection(name));
}

/// Many servers read `X_Forwarded_For` as `X-Forwarded-For`.
fn is_ours(name: &str) -> bool {
    let starts = |prefix: &&str| name.get(..prefix.len()).is_some_and(|it| is_alike(it, prefix));
    OUR_PREFIXES.iter().any(starts) || OURS.iter().any(|ours| is_alike(name, ours))
}

/// Announced trailers, which are for the next one too.
fn take_trailer_names(headers: &HeaderMap) -> Vec<HeaderValue> {
    headers.get_all(header::TRAILER).into_iter().cloned().collect()
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    let words = headers.get_all(header::TE).into_iter();
    words
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|word| word.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// HTTP/2 sends them one by one (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).into_iter().nth(1).is_none() {
        return;
    }
    let all = headers.get_all(header::COOKIE).into_iter().map(HeaderValue::as_bytes);
    let joined = all.collect::<Vec<_>>().join(&b"; "[..]);
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests;
