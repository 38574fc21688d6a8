//! Any bytes as the PKI engine's answer, any as a certificate in a good one, and any as its key.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sidekey::certificate::Form;
use sidekey::config::{CertificateSpec, KeyOrigin, VaultPath};
use sidekey::secret::EtagKey;
use sidekey::vault::understand_issued;

static KEY: LazyLock<EtagKey> = LazyLock::new(|| EtagKey::random().expect("randomness"));

static SPEC: LazyLock<CertificateSpec> = LazyLock::new(|| CertificateSpec {
    mount: VaultPath::parse("pki").expect("a path"),
    role: "web".into(),
    common_name: "app.example.io".into(),
    alt_names: Vec::new(),
    ip_sans: Vec::new(),
    uri_sans: Vec::new(),
    ttl: None,
    key: KeyOrigin::Vault,
    renew_at_percent: 67,
    required: true,
    revoke: true,
    revoke_replaced_after: None,
});

/// Authority, certificate and key, DER.
static GOOD: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let root = authority.self_signed(&key).expect("a root").der().to_vec();
    let issuer = Issuer::new(authority, key);
    let leaf = CertificateParams::new(vec!["app.example.io".into()]).expect("a name");
    let key = KeyPair::generate().expect("a key");
    let leaf = leaf.signed_by(&key, &issuer).expect("a leaf").der().to_vec();
    [root, leaf, key.serialized_der().to_vec()]
});

fuzz_target!(|bytes: &[u8]| {
    let _ = understand_issued(200, bytes, &SPEC, &KEY);
    let [root, leaf, key] = &*GOOD;
    let answer = |root: &[u8], leaf: &[u8], key: &[u8]| {
        let pem = |label: &str, der: &[u8]| {
            let text = self::text(der);
            format!("-----BEGIN {label}-----\\n{text}\\n-----END {label}-----")
        };
        let (root, leaf) = (pem("CERTIFICATE", root), pem("CERTIFICATE", leaf));
        let key = pem("PRIVATE KEY", key);
        format!(
            r#"{{"data":{{"certificate":"{leaf}","issuing_ca":"{root}","private_key":"{key}","serial_number":"0a:0b","expiration":1}}}}"#
        )
    };
    let good = understand_issued(200, answer(root, leaf, key).as_bytes(), &SPEC, &KEY);
    let good = good.expect("a good answer");
    assert!(Form::ALL.into_iter().all(|form| good.field(form.name()).is_some()));
    for garbled in [answer(bytes, leaf, key), answer(root, bytes, key), answer(root, leaf, bytes)] {
        let _ = understand_issued(200, garbled.as_bytes(), &SPEC, &KEY);
    }
});

fn text(der: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(der)
}
