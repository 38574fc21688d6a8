//! What is issued is looked at from all sides, and served in every form.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::*;
use crate::config::{CertificateSpec, KeyOrigin, KeyType, VaultPath};
use crate::lease::{Handle, Lease, TokenLife};
use crate::memory::SecretBuf;
use crate::secret::EtagKey;

pub(super) fn spec() -> CertificateSpec {
    CertificateSpec {
        mount: VaultPath::parse("pki").unwrap(),
        role: "web".into(),
        common_name: "app.example.io".into(),
        alt_names: vec!["*.app.example.io".into()],
        ip_sans: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        uri_sans: vec!["spiffe://example.io/app".into()],
        ttl: Some(Duration::from_hours(1)),
        key: KeyOrigin::Vault,
        renew_at_percent: 67,
        required: true,
        revoke: true,
        revoke_replaced_after: None,
    }
}

/// Root, intermediate, and a leaf for what `spec` asks for.
struct Issuance {
    root: Authority,
    intermediate: Authority,
    leaf_key: KeyPair,
    leaf: rcgen::Certificate,
}

struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

fn authority(name: &str, above: Option<&Authority>) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = match above {
        Some(above) => params.signed_by(&key, &above.issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    Authority { certificate, issuer: Issuer::new(params, key) }
}

fn leaf_params() -> CertificateParams {
    let names = ["app.example.io".to_owned(), "*.app.example.io".to_owned()];
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "app.example.io");
    for ip in spec().ip_sans {
        params.subject_alt_names.push(SanType::IpAddress(ip));
    }
    let uri = "spiffe://example.io/app".try_into().unwrap();
    params.subject_alt_names.push(SanType::URI(uri));
    let day = |offset: i64| {
        let days = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let days = i64::try_from(days / 86_400).unwrap() + offset;
        rcgen::date_time_ymd(1970, 1, 1)
            + Duration::from_secs(u64::try_from(days).unwrap() * 86_400)
    };
    (params.not_before, params.not_after) = (day(-2), day(2));
    params
}

impl Issuance {
    fn new() -> Self {
        Self::of(leaf_params())
    }

    fn of(params: CertificateParams) -> Self {
        Self::with(params, KeyPair::generate().unwrap())
    }

    fn with(params: CertificateParams, leaf_key: KeyPair) -> Self {
        let root = authority("root", None);
        let intermediate = authority("intermediate", Some(&root));
        let leaf = params.signed_by(&leaf_key, &intermediate.issuer).unwrap();
        Self { root, intermediate, leaf_key, leaf }
    }

    fn chain(&self) -> [CertificateDer<'static>; 2] {
        [&self.intermediate, &self.root].map(|it| it.certificate.der().clone())
    }

    fn inspect(&self, spec: &CertificateSpec) -> Result<Inspected, Unfit> {
        use rcgen::PublicKeyData as _;
        let key = self.leaf_key.subject_public_key_info();
        inspect(spec, self.leaf.der(), &self.chain(), Some(&key), SystemTime::now())
    }

    /// As Vault, and the sidecar itself, write it.
    fn key_pem(&self) -> String {
        if self.leaf_key.algorithm() != &rcgen::PKCS_ED25519 {
            return self.leaf_key.serialize_pem().trim().to_owned();
        }
        let pem = super::key::private_pem(KeyType::Ed25519, &self.leaf_key.serialize_der());
        String::from_utf8(pem.expose().to_vec()).unwrap().trim().to_owned()
    }

    /// Vault's answer.
    fn json(&self, with_key: bool) -> String {
        let key = with_key.then(|| self.key_pem());
        serde_json::json!({
            "certificate": self.leaf.pem().trim(),
            "issuing_ca": self.intermediate.certificate.pem().trim(),
            "ca_chain": [self.intermediate.certificate.pem().trim(), self.root.certificate.pem().trim()],
            "private_key": key,
            "private_key_type": "ec",
            "serial_number": "0a:0b:0c",
            "expiration": 1_900_000_000,
        })
        .to_string()
    }
}

#[test]
fn what_was_asked_for_is_taken() {
    let found = Issuance::new().inspect(&spec()).unwrap();
    assert!(found.chain_checked);
    assert!(found.left > Duration::from_hours(24) && found.left <= Duration::from_hours(48));
}

#[test]
fn a_host_whose_clock_is_behind_does_not_make_a_life_longer() {
    let (issuance, day) = (Issuance::new(), Duration::from_hours(24));
    let behind = SystemTime::now() - day * 365;
    let found = inspect(&spec(), issuance.leaf.der(), &issuance.chain(), None, behind).unwrap();
    assert_eq!(found.left, day * 4);
}

#[test]
fn a_missing_name_is_named() {
    let issuance = Issuance::new();
    let missing = |spec: &CertificateSpec| match issuance.inspect(spec).unwrap_err() {
        Unfit::NameMissing(name) => name.into_string(),
        other => panic!("{other}"),
    };
    let other = "other.example.io";
    assert_eq!(missing(&CertificateSpec { common_name: other.into(), ..spec() }), other);
    assert_eq!(missing(&CertificateSpec { alt_names: vec![other.into()], ..spec() }), other);
    let ip_sans = vec!["10.0.0.1".parse().unwrap()];
    assert_eq!(missing(&CertificateSpec { ip_sans, ..spec() }), "10.0.0.1");
    let uri_sans = vec!["spiffe://example.io/other".to_owned()];
    let uri = "spiffe://example.io/other";
    assert_eq!(missing(&CertificateSpec { uri_sans, ..spec() }), uri);
}

#[test]
fn another_key_an_end_that_passed_and_a_foreign_chain_are_refused() {
    let (issuance, other) = (Issuance::new(), Issuance::new());
    let (leaf, chain) = (issuance.leaf.der(), issuance.chain());
    let now = SystemTime::now();
    let inspected = |key, chain: &[_], at| inspect(&spec(), leaf, chain, key, at);
    assert_eq!(inspected(Some(&b"another"[..]), &chain, now), Err(Unfit::WrongKey));
    let later = now + Duration::from_hours(72);
    assert_eq!(inspected(None, &chain, later), Err(Unfit::Expired));
    let foreign = inspected(None, &other.chain(), now).unwrap_err();
    assert!(matches!(foreign, Unfit::BrokenChain(_)), "{foreign}");
    let none = inspected(None, &[], now).unwrap_err();
    assert_eq!(none, Unfit::Unreadable("the issuing certificate"));
    let garbage = CertificateDer::from(b"canary".to_vec());
    let unreadable = inspect(&spec(), &garbage, &chain, None, now).unwrap_err();
    assert_eq!(unreadable, Unfit::Unreadable("the certificate"));
    // The root alone does not make the way from the leaf.
    let gap = inspected(None, &chain[1..], now).unwrap_err();
    assert!(matches!(gap, Unfit::BrokenChain(_)), "{gap}");
}

#[test]
fn a_clock_that_is_behind_refuses_nothing() {
    let issuance = Issuance::new();
    let early = SystemTime::now() - Duration::from_hours(24 * 5);
    assert!(inspect(&spec(), issuance.leaf.der(), &issuance.chain(), None, early).is_ok());
}

#[test]
fn an_authority_is_not_served() {
    let mut params = leaf_params();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let refused = Issuance::of(params).inspect(&spec()).unwrap_err();
    assert!(matches!(refused, Unfit::BrokenChain(_)), "{refused}");
}

/// What is served of a certificate for `key`, below an intermediate and a root.
pub(crate) fn served_with(key: KeyPair) -> crate::secret::Secret {
    assembled(&Issuance::with(leaf_params(), key))
}

fn assembled(issuance: &Issuance) -> crate::secret::Secret {
    let json = issuance.json(true);
    let issued: Issued<'_> = serde_json::from_str(&json).unwrap();
    let lease = Lease {
        handle: Handle::Lease("x".into()),
        duration: Duration::from_mins(1),
        ends_at: None,
        renewable: false,
        replace_at_percent: None,
        token: Arc::new(TokenLife::new(None, false)),
    };
    let key = issued.private_key().unwrap();
    assemble(&issued, &key, lease, &EtagKey::random().unwrap()).unwrap()
}

#[test]
fn every_form_is_of_one_issuance() {
    let issuance = Issuance::new();
    let secret = assembled(&issuance);
    let text =
        |form: Form| String::from_utf8(secret.field(form.name()).unwrap().0.to_vec()).unwrap();
    let pems = |form: Form| {
        let certificates = CertificateDer::pem_slice_iter(text(form).as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .unwrap();
        certificates.into_iter().map(|it| it.to_vec()).collect::<Vec<_>>()
    };
    let leaf = issuance.leaf.der().to_vec();
    let [intermediate, root] = issuance.chain().map(|it| it.to_vec());
    assert_eq!(pems(Form::Certificate), std::slice::from_ref(&leaf));
    assert_eq!(pems(Form::Chain), [intermediate.clone(), root.clone()]);
    assert_eq!(pems(Form::FullChain), [leaf.clone(), intermediate.clone()]);
    assert_eq!(pems(Form::Authority), [root]);
    assert_eq!(pems(Form::Bundle), [leaf, intermediate]);
    assert_eq!(text(Form::Key).trim(), issuance.leaf_key.serialize_pem().trim());
    assert!(text(Form::Bundle).starts_with(&text(Form::Key)));
    for form in Form::ALL {
        assert!(text(form).ends_with("-----\n"), "{}", form.name());
        assert_eq!(Form::named(form.name()), Some(form));
    }
    let json: serde_json::Value = serde_json::from_slice(&secret.json()).unwrap();
    let mut sent: serde_json::Value = serde_json::from_str(&issuance.json(true)).unwrap();
    sent.as_object_mut().unwrap().remove("private_key_type");
    let replaced = |text: &serde_json::Value| text.to_string().replace("\\r", "");
    assert_eq!(replaced(&json), replaced(&sent));
    assert_eq!(Form::named("keystore.p12"), None);
}

#[test]
fn a_serial_number_that_is_none_goes_nowhere() {
    let json = Issuance::new().json(false).replace("0a:0b:0c", "0a\\\"canary");
    let issued: Issued<'_> = serde_json::from_str(&json).unwrap();
    assert!(issued.serial_number().is_err());
    assert!(issued.private_key().is_err());
}

#[test]
fn a_key_tells_its_public_half() {
    use rcgen::PublicKeyData as _;
    let key = KeyPair::generate().unwrap();
    let pem = SecretBuf::copy_from(key.serialize_pem().as_bytes());
    assert_eq!(public_key(&pem).unwrap(), Some(key.subject_public_key_info()));
    assert!(public_key(&SecretBuf::copy_from(b"canary")).is_err());
}

proptest::proptest! {
    /// A certificate with a wrong byte, or cut off, is refused or taken, and that is all.
    #[test]
    fn garbled_certificates_never_panic(at in 0usize..600, to in 0u8..=255, cut in 0usize..600) {
        static ISSUANCE: std::sync::LazyLock<(Vec<u8>, [CertificateDer<'static>; 2])> =
            std::sync::LazyLock::new(|| {
                let issuance = Issuance::new();
                (issuance.leaf.der().to_vec(), issuance.chain())
            });
        let (leaf, chain) = &*ISSUANCE;
        let mut garbled = leaf.clone();
        let place = at % garbled.len();
        let before = std::mem::replace(&mut garbled[place], to);
        let now = SystemTime::now();
        let inspected = |der: Vec<u8>| inspect(&spec(), &der.into(), chain, None, now);
        let outcome = inspected(garbled.clone());
        // All of it is signed, or the signature itself.
        proptest::prop_assert_eq!(outcome.is_ok(), before == to, "{:?}", outcome);
        garbled.truncate(cut % leaf.len());
        proptest::prop_assert!(inspected(garbled).is_err());
    }
}
