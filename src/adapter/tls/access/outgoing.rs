//! What the application is told about a token, in headers that nobody else can set.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::jwt::Claims;
use crate::config::JwtSpec;
use crate::scope::is_alike;

/// Which headers are ours.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Where the token is, and whether it stays there.
    token: Option<(HeaderName, bool)>,
    claims: Vec<(Box<str>, HeaderName)>,
}

impl Outgoing {
    pub(super) fn new(spec: Option<&JwtSpec>) -> Self {
        let Some(spec) = spec else { return Self::default() };
        let token = Some((spec.header.clone(), spec.pass_token));
        Self { token, claims: spec.forward.clone() }
    }

    /// The headers with claims. A claim that is not there makes none; `None` for one that
    /// cannot be said in a header without a second meaning.
    pub(super) fn told(&self, claims: Option<&Claims>) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let Some(claims) = claims else { return Some(Vec::new()) };
        let mut told = Vec::new();
        for (claim, name) in &self.claims {
            let Some(text) = claims.as_text(claim)? else { continue };
            let mut value = HeaderValue::from_str(&text).ok()?;
            value.set_sensitive(true);
            told.push((name.clone(), value));
        }
        Some(told)
    }

    /// Takes out what only we may say, under names that are alike too.
    pub(super) fn take_out(&self, headers: &mut HeaderMap) {
        let ours: Vec<_> = headers.keys().filter(|name| self.is_ours(name)).cloned().collect();
        for name in ours {
            // A password that is meant for the application stays.
            if name == header::AUTHORIZATION && !has_bearer(headers) {
                continue;
            }
            headers.remove(name);
        }
    }

    /// Whether trailers may not say it: a claim of ours, or a token, which nobody has judged there.
    pub(super) fn is_reserved(&self, name: &HeaderName) -> bool {
        let token = self.token.as_ref();
        self.is_claim(name) || token.is_some_and(|(token, _)| alike(token, name))
    }

    fn is_ours(&self, name: &HeaderName) -> bool {
        let is_token = |(token, passed): &(HeaderName, bool)| {
            alike(token, name) && !(*passed && token == name)
        };
        self.is_claim(name) || self.token.as_ref().is_some_and(is_token)
    }

    fn is_claim(&self, name: &HeaderName) -> bool {
        self.claims.iter().any(|(_, ours)| alike(ours, name))
    }
}

fn alike(one: &HeaderName, other: &HeaderName) -> bool {
    is_alike(one.as_str(), other.as_str())
}

fn has_bearer(headers: &HeaderMap) -> bool {
    let scheme = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    scheme.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
}
