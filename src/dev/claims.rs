//! JSON web tokens: splitting, signatures, and the registered claims.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::{Map, Value};

use super::clock::Moment;

/// What Vault forgives two clocks that differ.
const CLOCK_SKEW: Duration = Duration::from_mins(1);
/// How long a token without `exp` lives after its `iat` or `nbf`, and the reverse.
const DEFAULT_LEEWAY: Duration = Duration::from_secs(150);

/// A token taken apart; nothing in it is to be believed yet.
pub(super) struct Unverified {
    signed: String,
    signature: Vec<u8>,
    algorithm: String,
    claims: Map<String, Value>,
}

impl Unverified {
    pub(super) fn parse(token: &str) -> Option<Self> {
        let (signed, signature) = token.trim().rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let object = |part: &str| -> Option<Map<String, Value>> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        Some(Self {
            signed: signed.to_owned(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            algorithm: object(header)?.get("alg")?.as_str()?.to_owned(),
            claims: object(payload)?,
        })
    }

    /// The claims, if one of `keys` (as ring takes them) signed them.
    pub(super) fn verify(self, keys: &[Vec<u8>]) -> Option<Map<String, Value>> {
        let algorithm = algorithm(&self.algorithm)?;
        let signed = |key: &Vec<u8>| {
            let key = UnparsedPublicKey::new(algorithm, key);
            key.verify(self.signed.as_bytes(), &self.signature).is_ok()
        };
        keys.iter().any(signed).then_some(self.claims)
    }

    /// The claims whoever signed them, for one who asks the issuer afterwards.
    pub(super) fn trust_anyway(self) -> Map<String, Value> {
        self.claims
    }
}

fn algorithm(name: &str) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match name {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "ES256" => &signature::ECDSA_P256_SHA256_FIXED,
        "ES384" => &signature::ECDSA_P384_SHA384_FIXED,
        "EdDSA" => &signature::ED25519,
        _ => return None,
    })
}

/// The texts of a claim that may be one text or a list of them.
pub(super) fn texts(claim: Option<&Value>) -> BTreeSet<String> {
    match claim {
        Some(Value::String(text)) => BTreeSet::from([text.clone()]),
        Some(Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => BTreeSet::new(),
    }
}

/// Whether the token is valid now, in the words Vault finds for it when it is not.
pub(super) fn check_times(
    claims: &Map<String, Value>,
    now: Moment,
    times_required: bool,
) -> Result<(), &'static str> {
    let time = |name: &str| {
        let seconds = claims.get(name).and_then(Value::as_f64)?;
        Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero())
    };
    let (issued, not_before, expires) = (time("iat"), time("nbf"), time("exp"));
    if issued.is_none() && not_before.is_none() && expires.is_none() {
        return if times_required {
            Err("no issued at (iat), not before (nbf), or expiration time (exp) claims in token")
        } else {
            Ok(())
        };
    }
    let latest = not_before.max(issued);
    let expires = expires.or(latest.map(|start| start.saturating_add(DEFAULT_LEEWAY)));
    let start =
        not_before.or(issued).or(expires.map(|expires| expires.saturating_sub(DEFAULT_LEEWAY)));
    if start.is_some_and(|start| now + CLOCK_SKEW < start) {
        return Err("invalid not before (nbf) claim: token not yet valid");
    }
    if expires.is_some_and(|expires| now > expires.saturating_add(CLOCK_SKEW)) {
        return Err("invalid expiration time (exp) claim: token is expired");
    }
    if issued.is_some_and(|issued| now + CLOCK_SKEW < issued) {
        return Err("invalid issued at (iat) claim: token issued in the future");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Duration::from_secs(1_000_000);

    fn times(claims: Value) -> Result<(), &'static str> {
        check_times(claims.as_object().unwrap(), NOW, true)
    }

    #[test]
    fn times_with_their_leeway() {
        use serde_json::json;
        assert!(times(json!({"exp": 1_000_010})).is_ok());
        assert!(times(json!({"exp": 999_950})).is_ok());
        assert!(times(json!({"exp": 999_900})).unwrap_err().contains("expired"));
        assert!(times(json!({"nbf": 1_000_100, "exp": 1_000_900})).unwrap_err().contains("yet"));
        assert!(times(json!({"iat": 999_900})).is_ok());
        assert!(times(json!({"nbf": 999_000, "iat": 1_000_100})).unwrap_err().contains("future"));
        // As Vault has it: without `iat` or `nbf`, a token starts 150 s before it ends.
        assert!(times(json!({"exp": 1_000_300})).unwrap_err().contains("yet"));
        assert!(times(json!({"sub": "x"})).is_err());
    }

    #[test]
    fn garbage_is_no_token() {
        for text in ["", "a.b", "a.b.c", "....", "e30.e30.e30"] {
            assert!(Unverified::parse(text).is_none(), "{text}");
        }
    }
}
