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

    /// Takes out what only we may say, under names that are alike too, and says `told`.
    pub(super) fn apply(&self, told: Vec<(HeaderName, HeaderValue)>, headers: &mut HeaderMap) {
        let ours: Vec<_> = headers.keys().filter(|name| self.is_ours(name)).cloned().collect();
        for name in ours {
            // A password that is meant for the application stays.
            if name == header::AUTHORIZATION && !has_bearer(headers) {
                continue;
            }
            headers.remove(name);
        }
        headers.extend(told);
    }

    fn is_ours(&self, name: &HeaderName) -> bool {
        let is_claim = |(_, ours): &(_, HeaderName)| is_alike(ours.as_str(), name.as_str());
        let is_token = |(token, passed): &(HeaderName, bool)| {
            is_alike(token.as_str(), name.as_str()) && !(*passed && token == name)
        };
        self.claims.iter().any(is_claim) || self.token.as_ref().is_some_and(is_token)
    }
}

fn has_bearer(headers: &HeaderMap) -> bool {
    let scheme = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    scheme.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
}
