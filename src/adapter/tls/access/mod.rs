//! Who may do what: the client's certificate and token against the rules of the configuration.
//!
//! A request is read in the one way that it can be (`scope`); its token is judged (`jwt`) by keys
//! of the issuer, which are kept fresh in the background (`jwks`); then the first rule that fits
//! lets it in, and none keeps it out. What the application is told of it (`outgoing`) is set here
//! and never taken from outside.

use std::sync::Arc;
use std::time::SystemTime;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Identity;
use crate::adapter::ambassador::connect::TrustError;
use crate::adapter::hop::retain;
use crate::config::{AccessSpec, JwtSpec, RuleSpec, SecretName};
use crate::observe::tls as event;
use crate::scope::{Target, is_override};

mod jwks;
mod jwt;
mod outgoing;
mod refusal;
mod rule;
#[cfg(test)]
mod tests;

pub(super) use refusal::Refusal;

use jwks::{Keys, Seen};
use jwt::{BadToken, Claims, Verifier};
use outgoing::Outgoing;
use rule::Fit;

#[doc(hidden)]
pub use jwt::fuzz as fuzz_token;

/// Longer ones are refused unread. Most are under two KiB.
const LONGEST_TOKEN: usize = 8 * 1024;

/// The rules of one adapter, at work.
pub(super) struct Access {
    name: SecretName,
    tokens: Option<Tokens>,
    rules: Vec<(Arc<str>, RuleSpec)>,
    /// Whether any rule goes by method or path.
    limits_requests: bool,
    outgoing: Arc<Outgoing>,
}

struct Tokens {
    spec: JwtSpec,
    verifier: Verifier,
    keys: Keys,
}

/// What was let in.
#[derive(Debug)]
pub(super) struct Admitted {
    /// The rule that let it in; `None` where there are no rules.
    pub(super) rule: Option<Arc<str>>,
    outgoing: Arc<Outgoing>,
    told: Vec<(HeaderName, HeaderValue)>,
}

impl Access {
    /// Reads the trust anchors. Asks nobody yet.
    ///
    /// # Errors
    /// Certificates that cannot be used.
    pub(super) fn new(name: SecretName, spec: AccessSpec) -> Result<Self, TrustError> {
        let outgoing = Arc::new(Outgoing::new(spec.jwt.as_ref()));
        let tokens = spec.jwt.map(|spec| {
            let keys = Keys::new(&name, &spec)?;
            Ok(Tokens { verifier: Verifier::new(&spec), keys, spec })
        });
        let rules: Vec<_> =
            spec.rules.into_iter().map(|rule| (Arc::from(&*rule.name), rule)).collect();
        let limits_requests = rules.iter().any(|(_, rule)| rule.scope.is_limited());
        Ok(Self { name, tokens: tokens.transpose()?, rules, limits_requests, outgoing })
    }

    /// Keeps the issuer's keys fresh in the background until `cancel`.
    pub(super) fn start(&self, tracker: &TaskTracker, cancel: CancellationToken) {
        if let Some(tokens) = &self.tokens {
            tokens.keys.start(tracker, cancel);
        }
    }

    /// Whether a request is let in. Waits for the issuer's keys where there are none yet, or
    /// where the token names one that is not known, for `jwks_timeout` at most.
    ///
    /// Cancel safety: nothing is lost; a fetch of keys goes on.
    ///
    /// # Errors
    /// [`Refusal`], with the answer to give.
    pub(super) async fn decide(
        &self,
        identity: &Identity,
        parts: &Parts,
    ) -> Result<Admitted, Refusal> {
        let target = if self.limits_requests {
            let target = Target::read(&parts.method, &parts.uri, &parts.headers);
            Some(target.map_err(|_| Refusal::RequestAmbiguous)?)
        } else {
            None
        };
        let claims = match &self.tokens {
            Some(tokens) => tokens.judge(&parts.headers, &self.name).await?,
            None => None,
        };
        self.admit(identity, claims.as_ref(), target.as_ref())
    }

    /// The same for a connection whose bytes are not looked at.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn decide_connection(&self, identity: &Identity) -> Result<Admitted, Refusal> {
        self.admit(identity, None, None)
    }

    fn admit(
        &self,
        identity: &Identity,
        claims: Option<&Claims>,
        target: Option<&Target<'_>>,
    ) -> Result<Admitted, Refusal> {
        let mut token_would_do = false;
        for (name, rule) in &self.rules {
            match rule::fit(rule, identity, claims, target) {
                Fit::Yes => return self.admitted(Some(Arc::clone(name)), claims),
                Fit::WantsToken => token_would_do = true,
                Fit::No => {}
            }
        }
        if self.rules.is_empty() {
            return self.admitted(None, claims);
        }
        Err(if token_would_do { Refusal::TokenMissing } else { Refusal::AccessDenied })
    }

    fn admitted(
        &self,
        rule: Option<Arc<str>>,
        claims: Option<&Claims>,
    ) -> Result<Admitted, Refusal> {
        let told = self.outgoing.told(claims).ok_or(Refusal::ClaimUnusable)?;
        Ok(Admitted { rule, outgoing: Arc::clone(&self.outgoing), told })
    }
}

impl Tokens {
    /// What the token of a request says, when it has one.
    async fn judge(
        &self,
        headers: &HeaderMap,
        name: &SecretName,
    ) -> Result<Option<Claims>, Refusal> {
        let Some(token) = self.token(headers)? else {
            return if self.spec.required { Err(Refusal::TokenMissing) } else { Ok(None) };
        };
        let judged = self.verify(token).await;
        judged.map(Some).map_err(|why| match why {
            Unjudged::NoKeys => Refusal::KeysUnavailable,
            Unjudged::Bad(why) => {
                event::token_refused(name, &why);
                if why == BadToken::Expired { Refusal::TokenExpired } else { Refusal::TokenInvalid }
            }
        })
    }

    async fn verify(&self, token: &str) -> Result<Claims, Unjudged> {
        let mut seen = self.keys.seen();
        if seen.keys.is_none() {
            seen = self.keys.newer_than(&seen).await.unwrap_or(seen);
        }
        let verify = |seen: &Seen| match &seen.keys {
            Some(keys) => {
                self.verifier.verify(token, keys, SystemTime::now()).map_err(Unjudged::Bad)
            }
            None => Err(Unjudged::NoKeys),
        };
        match verify(&seen) {
            Err(Unjudged::Bad(BadToken::UnknownKey)) => {
                let newer = self.keys.newer_than(&seen).await;
                newer.map_or(Err(Unjudged::Bad(BadToken::UnknownKey)), |newer| verify(&newer))
            }
            judged => judged,
        }
    }

    /// The token as it was sent; `None` without one.
    fn token<'r>(&self, headers: &'r HeaderMap) -> Result<Option<&'r str>, Refusal> {
        let mut values = headers.get_all(&self.spec.header).into_iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Refusal::TokenMalformed);
        }
        let text = value.to_str().map_err(|_| Refusal::TokenMalformed)?.trim();
        let token = if self.spec.header == header::AUTHORIZATION {
            let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
            let (scheme, token) = text.split_at(end);
            if !scheme.eq_ignore_ascii_case("bearer") {
                // The application's own affair.
                return Ok(None);
            }
            token.trim_matches(' ')
        } else {
            text
        };
        let of_token =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if token.is_empty() || token.len() > LONGEST_TOKEN || !token.bytes().all(of_token) {
            return Err(Refusal::TokenInvalid);
        }
        Ok(Some(token))
    }
}

enum Unjudged {
    Bad(BadToken),
    NoKeys,
}

impl Admitted {
    /// Sets what the application is told, and takes out what only we may say: to be called once
    /// all that belongs to one connection is out, so that no `Connection` header can take it out
    /// again.
    pub(super) fn apply(self, headers: &mut HeaderMap) {
        self.outgoing.take_out(headers);
        headers.extend(self.told);
    }

    /// What trailers cannot say either.
    pub(super) fn reserved(&self) -> Reserved {
        Reserved(Arc::clone(&self.outgoing))
    }
}

/// Names that nobody but us may use, or that would change what a rule was asked about.
pub(super) struct Reserved(Arc<Outgoing>);

impl Reserved {
    /// Takes them out of `trailers`, which some servers read as headers.
    pub(super) fn take_out(&self, trailers: &mut HeaderMap) {
        retain(trailers, |name, _| !self.0.is_reserved(name) && !is_override(name.as_str()));
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("name", &self.name).finish_non_exhaustive()
    }
}
