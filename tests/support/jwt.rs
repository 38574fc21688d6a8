//! JSON web tokens, signed with a key of the test's own.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

/// Who signs.
pub struct Signer {
    key: EcdsaKeyPair,
    public_key: String,
}

impl Signer {
    pub fn new() -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, &pair.serialize_der(), &SystemRandom::new());
        Self { key: key.unwrap(), public_key: pair.public_key_pem() }
    }

    /// As PEM.
    pub fn public_key(&self) -> &str {
        &self.public_key
    }

    /// As a JWK with this `kid`.
    pub fn jwk(&self, id: &str) -> Value {
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({ "kty": "EC", "crv": "P-256", "kid": id, "x": x, "y": y })
    }

    /// A token with these claims beside the times, good for some minutes.
    pub fn sign(&self, claims: Value) -> String {
        self.signed(json!({ "alg": "ES256", "typ": "JWT" }), claims)
    }

    /// The same by the key with this `kid`.
    pub fn sign_as(&self, id: &str, claims: Value) -> String {
        self.signed(json!({ "alg": "ES256", "typ": "JWT", "kid": id }), claims)
    }

    fn signed(&self, head: Value, claims: Value) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let mut all =
            json!({ "iat": now.as_secs(), "nbf": now.as_secs(), "exp": now.as_secs() + 300 });
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(&head), part(&all));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
