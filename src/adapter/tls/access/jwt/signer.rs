//! Issuers' private keys, for tests.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

/// A key made for these tests, PKCS #1: ring makes no RSA keys.
const RSA: &str = "
MIIEpQIBAAKCAQEA2IkXMtNWFO4u6I5RFq48RHE1fIa2NuSAMLu2RZsgoUFf80U6RAVzQ/Tu1BAy1mkoNr5HicwPrq1J
Q7OMbY2w7e+Ri/dZVLsk+lV29GfYlJtWLzYcFA1AlkxzTGmVmEvBqUWuoh5Rk7QAPoWucQLik4KCV8D+oZBLUGOqOyDn
41v9TtDQqBqAmGPrSRKDGl4Lod6zrDzIdzvj7EZh+YKS800IQ0r8B4waMdAq00lVM3eUxghi/DXu1m+SUwRWYKTHWWNm
zdjg59F8zd637VfNft9jf/Q8qTg9evTDH/aKVOVqR0PM6CTkUrgUSzmoKgfdBBn5IzxkMKkWqlfyMPa7WQIDAQABAoIB
ABp/OxggeZUN2O5jBOv3Nf+DkXGbq/Y/Y6ri+4DcxONKtE646tJ6TsKy+Rs44LmxTEcXpXoonwYnZRLcaKuaxjr1gQxd
QCCQ1otuFCSABSYZNJSKJOk0vnGt6QGBnZlRcuEvellTB7VA9nMwKVqhqV923dOWdapIVZkAmysJYarl4+1T2Q2jo/ur
JTRxnZRgGC7cdKQkCFv/DLlHz3cgEB7s1/caHCr4chMpjV5JrZ5ziN/tSYjv8rY7epy7qFulz+Iyx2LQbSvqlZ/3o4HC
v5a09k6rNGP9bdZqO8w6o20VzcB0NCROZ6eVe+tok6fwFXRroo+2NM43KWVvG/TjQLECgYEA/SBiRHP4t9eLcoyNdO3K
Lt33PVu3AAbvLKRJhWJz7iM/yGIE812cB7vLUtIkozuCp+hMXtv/HhNEM1jIjg+9aWdazk5WwuX7JGMM10WZ+/7vaIiM
qXDAUH3aaZMHefGn1yZ/+1giDTowiWGnuXHmLr9RuCphWahTvMPTCHd34bECgYEA2v5ecm1ipCQnY9xa+1k+ESRmJLES
elJFsbJDDr/Dsh7U5jazm8CeVtNq8LmV3E35Cm1G8cyzFPUSqRziRm/WpJuWo/qbuQ1G636rszW+tYB6fPSSN3GIxBT/
fzMJUpgWaHPSlVR5xAbmeDrKeckgTrsc81r7eyOJp8Ehd+t8dikCgYEAkKv+niMuZ1yxXcIJY2g5I3pHwfD2cfSEpJ4t
SygPHG9XGB81tyasdBsYRXjH6eescG0roRfaAwV9+F7pGZDTcDfbRYiuu+wYEx7tiuhD7ywxByzsQDeqIxcbSzX2kvLU
O/rMMQqZQ7gbX5nJ9AquRc+hVEIcq9KyMXQ23GLzyLECgYEAx7/xYipIKTQZActC6bTzGiu7R4iENDLLA1R4OgHMfLIG
u531ogHF66iYCM8e1H4CxPH8Hh360wjfZoXEFz9351lLxHKYi+iCYdd+wc4qD+AK2eMzY4MZntEQY3On80BqYAgVcsRE
9PreSZhGi2NbJrUhqQ+6Bw3ZR7yvzHRtaFECgYEA9dv48nMZDLGvB3Ifq9CNFTN6KRQGT/eZ+K6WX9h824V/HgMLDrQc
kIZMy5SZ+E3012CLfj6WB0XigMSgSToIKUlhBM7ZXwncg0BCg5dhT0C50M82VR33e+0cC6fJzJ4AcUSjNb+PxNBWgumc
2TEfeOXu4SpY7dOt7r4ii7El/qM=";

pub(in super::super) enum Signer {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Signer {
    pub(in super::super) fn p256() -> Self {
        let random = SystemRandom::new();
        let scheme = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(scheme, &random).unwrap();
        Self::P256(EcdsaKeyPair::from_pkcs8(scheme, der.as_ref(), &random).unwrap())
    }

    pub(in super::super) fn p384() -> Self {
        let random = SystemRandom::new();
        let scheme = &ECDSA_P384_SHA384_FIXED_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(scheme, &random).unwrap();
        Self::P384(EcdsaKeyPair::from_pkcs8(scheme, der.as_ref(), &random).unwrap())
    }

    pub(in super::super) fn ed() -> Self {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed(Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap())
    }

    pub(in super::super) fn rsa() -> Self {
        let der = STANDARD.decode(RSA.replace('\n', "")).unwrap();
        Self::Rsa(RsaKeyPair::from_der(&der).unwrap())
    }

    /// The public key, with `kid`.
    pub(in super::super) fn jwk(&self, id: &str) -> Value {
        let mut jwk = match self {
            Self::P256(pair) => point("P-256", pair.public_key().as_ref()),
            Self::P384(pair) => point("P-384", pair.public_key().as_ref()),
            Self::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref()) })
            }
            Self::Rsa(pair) => {
                let PublicKeyComponents { n, e } =
                    PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({ "kty": "RSA", "n": encode(&n), "e": encode(&e) })
            }
        };
        jwk["kid"] = id.into();
        jwk
    }

    /// A token with this head, whatever it says.
    pub(in super::super) fn sign(&self, head: &Value, claims: &Value) -> String {
        let message = unsigned(head, claims);
        let signature = self.signature(message.as_bytes(), head["alg"] == "PS256");
        format!("{message}.{}", encode(&signature))
    }

    fn signature(&self, message: &[u8], pss: bool) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::P256(pair) | Self::P384(pair) => {
                pair.sign(&random, message).unwrap().as_ref().to_vec()
            }
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Rsa(pair) => {
                let padding: &'static dyn ring::signature::RsaEncoding =
                    if pss { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }
}

fn point(curve: &str, bytes: &[u8]) -> Value {
    let (x, y) = bytes[1..].split_at((bytes.len() - 1) / 2);
    json!({ "kty": "EC", "crv": curve, "x": encode(x), "y": encode(y) })
}

/// The first two parts of a token.
pub(in super::super) fn unsigned(head: &Value, claims: &Value) -> String {
    format!("{}.{}", encode(head.to_string().as_bytes()), encode(claims.to_string().as_bytes()))
}

pub(in super::super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
