//! What must not be found.

use serde_json::{Value, json};
use sidekey::dev::DevTls;

use super::support::canary::canary;
use super::support::needle::Needles;
use super::support::sidecar::Builder;
use super::support::vault::{TestVault, call};

/// Random text that no form of another canary shares a part with.
pub fn random(what: &str, len: usize) -> String {
    use ring::rand::{SecureRandom, SystemRandom};
    const DIGITS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = vec![0; len];
    SystemRandom::new().fill(&mut bytes).unwrap();
    let digit = |byte: &u8| char::from(DIGITS[usize::from(*byte) % DIGITS.len()]);
    let text: String = bytes.iter().map(digit).collect();
    format!("{}{text}", &canary(what)[..10])
}

/// A certificate for a server on this machine.
pub fn own_tls() -> DevTls {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    DevTls {
        cert_chain: pair.cert.pem().into_bytes(),
        key: pair.signing_key.serialize_pem().into_bytes(),
        client_ca: None,
    }
}

/// The values of one secret.
pub struct Values {
    pub quoted: String,
    pub long: String,
    /// 1 MiB: a block that repeats, so that the search stays quick.
    pub big: String,
    pub encoded: String,
}

impl Values {
    pub fn new() -> Self {
        let block = random("b", 3062);
        Self {
            quoted: format!("{}\"\\\n\t{}", random("q", 40), random("r", 40)),
            long: random("l", 190),
            big: block.repeat((1 << 20) / 3072 + 1),
            encoded: random("e", 60),
        }
    }

    pub fn fields(&self) -> Value {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(&self.encoded);
        json!({ "quoted": self.quoted, "long": self.long, "encoded": encoded,
                "access_key": "AKIDEXAMPLE", "secret_key": self.quoted })
    }

    pub fn add_to(&self, needles: &mut Needles, which: &str) {
        for (name, value) in
            [("quoted", &self.quoted), ("long", &self.long), ("encoded", &self.encoded)]
        {
            needles.add(&format!("{which} {name}"), value.as_bytes());
        }
    }
}

/// An `AppRole` named `app`; its role-id and a secret-id.
pub fn approle(vault: &impl TestVault, mut role: Value) -> (String, String) {
    let policy = json!({ "policy": "path \"secret/*\" { capabilities = [\"read\"] }
        path \"pki/*\" { capabilities = [\"create\", \"update\"] }" });
    vault.set_up("POST", "sys/policies/acl/reader", policy);
    vault.set_up("POST", "sys/auth/approle", json!({ "type": "approle" }));
    role["token_policies"] = json!(["reader"]);
    vault.set_up("POST", "auth/approle/role/app", role);
    let role_id = vault.set_up("GET", "auth/approle/role/app/role-id", Value::Null);
    let secret_id = vault.set_up("POST", "auth/approle/role/app/secret-id", json!({}));
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    (text(&role_id["data"]["role_id"]), text(&secret_id["data"]["secret_id"]))
}

/// What comes out of unwrapping is `body`'s secret-id; the wrapping token.
pub fn wrap(vault: &impl TestVault, path: &str, body: Value) -> String {
    let (root, ttl) = (vault.root_token(), [("X-Vault-Wrap-TTL", "60s")]);
    let (_, answer) = call(&vault.url(), "POST", path, Some(&root), &ttl, body);
    let wrapping = answer["wrap_info"]["token"].as_str();
    wrapping.unwrap_or_else(|| panic!("{path}: {answer}")).to_owned()
}

/// A client certificate of our own; its key is searched for. Returns the settings.
pub fn client_certificate(builder: &Builder, needles: &mut Needles) -> String {
    let pair = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["app".into()]).unwrap();
    let certificate = certificate.self_signed(&pair).unwrap();
    let pem = pair.serialize_pem();
    add_ec_key(needles, "client key", &pem);
    let cert_file = builder.file("client.pem", &certificate.pem());
    let key_file = builder.file("client.key", &pem);
    format!("client_cert = \"{cert_file}\"\nclient_key = \"{key_file}\"")
}

/// A key on P-256 or P-384 as PKCS #8: the bare number in either byte order, as ring computes with it,
/// and as PEM text. All forms have one name: a control finds the key when it finds one of them.
pub fn add_ec_key(needles: &mut Needles, which: &str, pem: &str) {
    for (_, form) in forms_of_ec_key(pem) {
        needles.add(which, &form);
    }
}

/// The same, each by a name of its own.
pub fn forms_of_ec_key(pem: &str) -> [(&'static str, Vec<u8>); 4] {
    let (der, text) = pem_body(pem);
    // PKCS #8 starts and ends with what every such key has in common or makes public.
    let (number, own_text, order): (_, _, &[u64]) = match der.len() {
        138 => (36..68, 48..92, &P256),
        185 => (35..83, 48..108, &P384),
        other => panic!("a key of {other} bytes"),
    };
    let number: Vec<u8> = der[number].to_vec();
    let mut reversed = number.clone();
    reversed.reverse();
    let computed_with = montgomery(&number, order);
    [
        ("number", number),
        ("number, reversed", reversed),
        ("number, as it is computed with", computed_with),
        ("text", text.as_bytes()[own_text].to_vec()),
    ]
}

/// An RSA key as PKCS #8: everything behind the modulus and the public exponent, and so the
/// primes and exponents one by one.
pub fn add_rsa_key(needles: &mut Needles, which: &str, pem: &str) {
    let (der, text) = pem_body(pem);
    assert!(der.len() > 1100, "2048 bits");
    needles.add(which, &der[300..]);
    let mut reversed = der[300..].to_vec();
    reversed.reverse();
    needles.add(which, &reversed);
    needles.add(which, &text.as_bytes()[400..]);
}

fn pem_body(pem: &str) -> (Vec<u8>, String) {
    use base64::Engine as _;
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(&text);
    (der.expect("PEM"), text)
}

/// The orders of the curves, little-endian.
const P256: [u64; 4] =
    [0xF3B9_CAC2_FC63_2551, 0xBCE6_FAAD_A717_9E84, u64::MAX, 0xFFFF_FFFF_0000_0000];
const P384: [u64; 6] = [
    0xECEC_196A_CCC5_2973,
    0x581A_0DB2_48B0_A77A,
    0xC763_4D81_F437_2DDF,
    u64::MAX,
    u64::MAX,
    u64::MAX,
];

/// A number, times 2 to the power of the order's bits, modulo the order; little-endian.
fn montgomery(number: &[u8], order: &[u64]) -> Vec<u8> {
    let limb = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
    let mut limbs: Vec<u64> = number.rchunks_exact(8).map(limb).collect();
    for _ in 0..order.len() * 64 {
        let carry = limbs[order.len() - 1] >> 63 == 1;
        for at in (0..order.len()).rev() {
            let low = if at == 0 { 0 } else { limbs[at - 1] >> 63 };
            limbs[at] = limbs[at] << 1 | low;
        }
        if carry || !limbs.iter().rev().lt(order.iter().rev()) {
            let mut borrow = false;
            for (limb, order) in limbs.iter_mut().zip(order) {
                let (less, first) = limb.overflowing_sub(*order);
                let (less, second) = less.overflowing_sub(u64::from(borrow));
                (*limb, borrow) = (less, first | second);
            }
        }
    }
    limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect()
}
