//! An issuer's keys: RFC 7517. What cannot verify a signature is left out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse, RSAKeyParameters,
};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// More are no key set, but an attempt to have us try them all.
const MOST_KEYS: usize = 100;
/// RFC 7518, 3.3; and what ring verifies at most.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The keys of one issuer that can verify signatures.
pub(in super::super) struct KeySet(Vec<Key>);

struct Key {
    id: Option<Box<str>>,
    material: DecodingKey,
    algorithms: Vec<Algorithm>,
}

/// Not a set of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no set of keys")]
pub(in super::super) struct NoKeySet;

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a JWK Set. Keys that are not understood, or too weak, are left out (RFC 7517, 5).
    pub(in super::super) fn parse(body: &[u8]) -> Result<Self, NoKeySet> {
        let document: Document = serde_json::from_slice(body).map_err(|_| NoKeySet)?;
        if document.keys.len() > MOST_KEYS {
            return Err(NoKeySet);
        }
        Ok(Self(document.keys.iter().filter_map(key).collect()))
    }

    pub(in super::super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys that may have signed a token with this head. Without a key's name, the only one
    /// of its kind, or none.
    pub(super) fn candidates(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &DecodingKey> {
        let fit = move |key: &&Key| {
            key.algorithms.contains(&algorithm) && (id.is_none() || key.id.as_deref() == id)
        };
        let several = id.is_none() && self.0.iter().filter(fit).count() > 1;
        self.0.iter().filter(fit).filter(move |_| !several).map(|key| &key.material)
    }
}

fn key(value: &Value) -> Option<Key> {
    // A private key that is published, or a shared one: whoever reads it can sign.
    if value.get("d").is_some() || value.get("k").is_some() {
        return None;
    }
    let jwk = Jwk::deserialize(value).ok()?;
    let common = &jwk.common;
    let for_signatures =
        common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature);
    let verifies = |all: &Vec<_>| all.contains(&KeyOperations::Verify);
    if !for_signatures || !common.key_operations.as_ref().is_none_or(verifies) {
        return None;
    }
    let (material, mut algorithms) = material(&jwk.algorithm)?;
    if let Some(named) = common.key_algorithm {
        let named = Algorithm::try_from(named).ok()?;
        algorithms.retain(|algorithm| *algorithm == named);
    }
    let id = common.key_id.as_deref().map(Into::into);
    (!algorithms.is_empty()).then_some(Key { id, material, algorithms })
}

fn material(parameters: &AlgorithmParameters) -> Option<(DecodingKey, Vec<Algorithm>)> {
    match parameters {
        AlgorithmParameters::RSA(rsa) => {
            Some((self::rsa(rsa)?, AlgorithmFamily::Rsa.algorithms().to_vec()))
        }
        AlgorithmParameters::EllipticCurve(point) => {
            let (len, algorithm) = match point.curve {
                EllipticCurve::P256 => (32, Algorithm::ES256),
                EllipticCurve::P384 => (48, Algorithm::ES384),
                _ => return None,
            };
            let full = |text: &str| decode(text).is_some_and(|bytes| bytes.len() == len);
            let key = DecodingKey::from_ec_components(&point.x, &point.y).ok();
            Some((key.filter(|_| full(&point.x) && full(&point.y))?, vec![algorithm]))
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            let full = decode(&pair.x).is_some_and(|bytes| bytes.len() == 32);
            let key = DecodingKey::from_ed_components(&pair.x).ok();
            Some((key.filter(|_| full)?, vec![Algorithm::EdDSA]))
        }
        _ => None,
    }
}

fn rsa(parameters: &RSAKeyParameters) -> Option<DecodingKey> {
    let (modulus, exponent) = (decode(&parameters.n)?, decode(&parameters.e)?);
    // Some issuers write a sign.
    let significant = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes.get(zeros..).unwrap_or_default().to_vec()
    };
    let (modulus, exponent) = (significant(&modulus), significant(&exponent));
    let first = modulus.first()?;
    let bits = modulus.len() * 8 - first.leading_zeros() as usize;
    RSA_BITS.contains(&bits).then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
