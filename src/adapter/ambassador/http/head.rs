//! Heads on their way through.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};

use super::credential::Credential;
use super::refusal::Refusal;
use crate::adapter::hop::{is_alike, is_of_one_connection, passed_on, retain};
use crate::config::SIDEKEY_TOKEN_HEADER;

/// What is not passed on at all.
pub(super) fn fits(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    // Only the path is the application's to choose.
    if uri.scheme().is_some() || uri.authority().is_some() || !uri.path().starts_with('/') {
        return Err(Refusal::Target);
    }
    // It is answered with the request, and the credential in it.
    if *method == Method::TRACE || *method == Method::CONNECT {
        return Err(Refusal::Method);
    }
    // Clients offer h2c on the side, and go on without it.
    let other_than_h2c = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"h2c");
    if headers.get_all(header::UPGRADE).iter().any(other_than_h2c) {
        return Err(Refusal::Upgrade);
    }
    Ok(())
}

/// A request's headers for the destination: `host`, and the credential in the place of whatever
/// stood under its name.
pub(super) fn outgoing(
    headers: HeaderMap,
    host: &HeaderValue,
    (name, value): (&HeaderName, HeaderValue),
) -> HeaderMap {
    let mut headers = passed_on(headers);
    // Framed anew, by the body that there is.
    let ours = [name.as_str(), SIDEKEY_TOKEN_HEADER, "host", "content-length"];
    retain(&mut headers, |other, _| {
        let alike = |ours: &&str| is_alike(other.as_str(), ours);
        !ours.iter().any(alike) && !is_of_one_connection(other)
    });
    headers.insert(header::HOST, host.clone());
    headers.insert(header::VIA, HeaderValue::from_static("1.1 sidekey"));
    headers.insert(name, value);
    headers
}

/// An answer's headers for the application, and how many were left out because they held the
/// credential.
pub(super) fn incoming(
    headers: HeaderMap,
    keeps_length: bool,
    credential: &Credential,
) -> (HeaderMap, u64) {
    let mut headers = passed_on(headers);
    if !keeps_length {
        headers.remove(header::CONTENT_LENGTH);
    }
    let mut echoes = 0;
    retain(&mut headers, |name, value| {
        let echo = credential.is_in(name.as_str().as_bytes()) || credential.is_in(value.as_bytes());
        echoes += u64::from(echo);
        !echo
    });
    (headers, echoes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HeaderForm;
    use crate::secret::test_secret;

    fn map(headers: &[(&str, &str)]) -> HeaderMap {
        let parse = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        };
        headers.iter().map(parse).collect()
    }

    fn sent(headers: &[(&str, &str)]) -> Vec<String> {
        let ours = HeaderValue::from_static("ours");
        let host = HeaderValue::from_static("api.example.com");
        let name = HeaderName::from_static("x-api-key");
        let out = outgoing(map(headers), &host, (&name, ours));
        let mut out: Vec<_> =
            out.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        out.sort();
        out
    }

    #[test]
    fn the_credential_and_the_host_are_ours() {
        let out = sent(&[
            ("host", "127.0.0.1:9001"),
            ("x-api-key", "theirs"),
            ("x-api-key", "again"),
            ("x_api_key", "smuggled"),
            ("sidekey-token", "token"),
            ("sidekey_token", "token"),
            ("accept", "a"),
            ("accept", "b"),
        ]);
        let expected =
            ["accept=a", "accept=b", "host=api.example.com", "via=1.1 sidekey", "x-api-key=ours"];
        assert_eq!(out, expected);
    }

    #[test]
    fn what_belongs_to_one_connection_stays_behind() {
        let out = sent(&[
            ("connection", "close, X-Hop"),
            ("connection", "x-api-key, host"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic eDp5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("upgrade", "h2c"),
            ("transfer_encoding", "chunked"),
            ("content_length", "5"),
            ("keep_alive", "timeout=5"),
            ("proxy_authorization", "Basic eDp5"),
        ]);
        assert_eq!(out, ["host=api.example.com", "via=1.1 sidekey", "x-api-key=ours"]);
    }

    #[test]
    fn an_echo_does_not_come_back() {
        let secret = test_secret(&[("token", "Canary-T0")]);
        let form = HeaderForm::Field { prefix: "Bearer ".into(), field: "token".into() };
        let credential = Credential::make(&form, &secret).unwrap();
        let headers = map(&[
            ("x-echo", "Bearer Canary-T0"),
            ("location", "/?key=Canary-T0"),
            ("X-Echo-Canary-T0", "1"),
            ("x-folded", "canary-t0"),
            ("location", "/fine"),
            ("content-length", "3"),
            ("connection", "close"),
        ]);
        let (headers, echoes) = incoming(headers, false, &credential);
        assert_eq!(echoes, 4);
        assert_eq!(headers, map(&[("location", "/fine")]));
    }

    #[test]
    fn what_is_not_passed_on() {
        let refusal = |method: Method, uri: &str, headers: &[(&str, &str)]| {
            fits(&method, &uri.parse().unwrap(), &map(headers)).err().map(Refusal::code)
        };
        assert_eq!(refusal(Method::GET, "/a//b?c", &[]), None);
        assert_eq!(refusal(Method::GET, "//other.example/x", &[]), None, "a path all the same");
        assert_eq!(refusal(Method::GET, "http://other.example/", &[]), Some("target_refused"));
        assert_eq!(refusal(Method::OPTIONS, "*", &[]), Some("target_refused"));
        assert_eq!(refusal(Method::CONNECT, "other.example:443", &[]), Some("target_refused"));
        assert_eq!(refusal(Method::TRACE, "/", &[]), Some("method_refused"));
        assert_eq!(refusal(Method::GET, "/", &[("upgrade", "websocket")]), Some("upgrade_refused"));
        assert_eq!(refusal(Method::GET, "/", &[("upgrade", "h2c")]), None);
    }
}
