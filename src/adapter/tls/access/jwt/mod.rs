//! Whether a token counts: RFC 7519, with the advice of RFC 8725.
//!
//! `jsonwebtoken` reads tokens and compares issuer and audience; `provider` gives it ring's
//! signatures. What it does not judge is judged here: the head, the choice of the key, and time,
//! which is the caller's to tell.

use std::time::{Duration, SystemTime};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use serde_json::{Map, Value};

use crate::config::JwtSpec;

mod claims;
mod key;
mod provider;

pub(super) use claims::Claims;
pub(super) use key::{KeySet, NoKeySet};

/// The end of the year 9999.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// Why a token does not count. Holds nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadToken {
    #[error("it cannot be read")]
    Unreadable,
    #[error("its head asks for what is not known here")]
    Critical,
    #[error("it is a token of another kind")]
    OtherKind,
    #[error("its algorithm is not among those that count")]
    Algorithm,
    #[error("its key is not known")]
    UnknownKey,
    #[error("its signature does not hold")]
    Signature,
    #[error("it is of another issuer")]
    Issuer,
    #[error("it is for another audience")]
    Audience,
    #[error("it says of no time when it ends, or of one that makes no sense")]
    NoTime,
    #[error("it has expired")]
    Expired,
    #[error("it is not good yet")]
    NotYet,
}

/// What every token is judged by.
pub(super) struct Verifier {
    /// One for each algorithm that counts.
    validations: Vec<Validation>,
    leeway: Duration,
}

impl Verifier {
    pub(super) fn new(spec: &JwtSpec) -> Self {
        provider::install();
        let validation = |algorithm: &Algorithm| {
            let mut validation = Validation::new(*algorithm);
            validation.set_issuer(&[&spec.issuer]);
            validation.set_audience(&spec.audience);
            validation.set_required_spec_claims(&["iss", "aud"]);
            // Time is judged below.
            validation.validate_exp = false;
            validation.validate_nbf = false;
            validation
        };
        let validations = spec.algorithms.iter().map(validation).collect();
        Self { validations, leeway: spec.leeway }
    }

    /// What `token` says, when it counts `now`.
    pub(super) fn verify(
        &self,
        token: &str,
        keys: &KeySet,
        now: SystemTime,
    ) -> Result<Claims, BadToken> {
        let head = decode_header(token).map_err(|_| BadToken::Unreadable)?;
        let validation = self.validation(&head)?;
        let mut outcome = Err(BadToken::UnknownKey);
        for key in keys.candidates(head.kid.as_deref(), head.alg) {
            outcome = decode::<Map<String, Value>>(token, key, validation).map_err(|e| reason(&e));
            if outcome.as_ref().err() != Some(&BadToken::Signature) {
                break;
            }
        }
        // Without a name, a key that does not fit may have been replaced.
        if head.kid.is_none() && outcome.as_ref().err() == Some(&BadToken::Signature) {
            return Err(BadToken::UnknownKey);
        }
        let claims = outcome?.claims;
        self.time(&claims, now)?;
        // One issuer, and not a list with it.
        if !claims.get("iss").is_some_and(Value::is_string) {
            return Err(BadToken::Issuer);
        }
        Ok(Claims::new(claims))
    }

    fn validation(&self, head: &Header) -> Result<&Validation, BadToken> {
        if head.crit.is_some() || head.enc.is_some() || head.zip.is_some() {
            return Err(BadToken::Critical);
        }
        // Tokens for a logout, an event or a proof of possession are signed by the same keys.
        let kind = head.typ.as_deref().map(str::to_ascii_lowercase);
        let kind = kind.as_deref().map(|kind| kind.strip_prefix("application/").unwrap_or(kind));
        if !matches!(kind, None | Some("jwt" | "at+jwt")) {
            return Err(BadToken::OtherKind);
        }
        let mut validations = self.validations.iter();
        let fits = |validation: &&Validation| validation.algorithms.contains(&head.alg);
        validations.find(fits).ok_or(BadToken::Algorithm)
    }

    fn time(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<(), BadToken> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| BadToken::NoTime)?;
        let ends = moment(claims, "exp")?.ok_or(BadToken::NoTime)?;
        if now >= ends + self.leeway {
            return Err(BadToken::Expired);
        }
        for start in ["nbf", "iat"] {
            if moment(claims, start)?.is_some_and(|start| now + self.leeway < start) {
                return Err(BadToken::NotYet);
            }
        }
        Ok(())
    }
}

/// A `NumericDate`: seconds since 1970.
fn moment(claims: &Map<String, Value>, name: &str) -> Result<Option<Duration>, BadToken> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..=LAST_SECOND).contains(seconds));
    let moment = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    moment.map(Some).ok_or(BadToken::NoTime)
}

/// Of the library's words only the kind is kept.
fn reason(error: &jsonwebtoken::errors::Error) -> BadToken {
    match error.kind() {
        ErrorKind::InvalidSignature => BadToken::Signature,
        ErrorKind::InvalidIssuer => BadToken::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => BadToken::Issuer,
        ErrorKind::InvalidAudience | ErrorKind::MissingRequiredClaim(_) => BadToken::Audience,
        ErrorKind::InvalidAlgorithm => BadToken::Algorithm,
        _ => BadToken::Unreadable,
    }
}

/// Any bytes as a set of keys, and any text as a token that it judges.
pub fn fuzz(keys: &[u8], token: &str) {
    let Ok(keys) = KeySet::parse(keys) else { return };
    provider::install();
    let algorithms = [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA];
    let verifier =
        Verifier { validations: algorithms.map(Validation::new).into(), leeway: Duration::ZERO };
    let _ = verifier.verify(token, &keys, SystemTime::UNIX_EPOCH);
}

#[cfg(test)]
pub(super) mod signer;
#[cfg(test)]
mod tests;
