//! Keystores, read by OpenSSL and by hand. Java and NSS read them in `tests/keystore`.

use std::process::Command;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::derive::{Purpose, derive};
use super::*;
use crate::certificate::Form;
use crate::certificate::tests::served_with;

const PASSWORD: &str = "canary: pass \"word\" ~!";

fn keys() -> [rcgen::KeyPair; 4] {
    let [p256, p384, ed25519] =
        [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519]
            .map(|algorithm| rcgen::KeyPair::generate_for(algorithm).unwrap());
    let rsa = Command::new("openssl").args(["genpkey", "-quiet", "-algorithm", "RSA"]).output();
    let rsa = String::from_utf8(rsa.expect("openssl, as .ci/run names it").stdout).unwrap();
    [p256, p384, ed25519, rcgen::KeyPair::from_pem(&rsa).unwrap()]
}

fn p256() -> Arc<Secret> {
    Arc::new(served_with(rcgen::KeyPair::generate().unwrap()))
}

fn made(secret: &Arc<Secret>, form: KeystoreForm, profile: Profile) -> SecretBuf {
    let order = Order {
        secret: Arc::clone(secret),
        alias: "Web.app".into(),
        form,
        profile,
        password: None,
    };
    make(&order, &KeystorePassword::parse(PASSWORD.as_bytes()).unwrap()).unwrap()
}

/// What OpenSSL prints of a PKCS #12, or nothing when it refuses.
fn openssl(pkcs12: &SecretBuf, profile: Profile, password: &str, more: &[&str]) -> Option<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pkcs12.expose()).unwrap();
    let mut command = Command::new("openssl");
    command.args(["pkcs12", "-nodes", "-in"]).arg(file.path());
    command.arg("-passin").arg(format!("pass:{password}")).args(more);
    if profile == Profile::Legacy {
        command.arg("-legacy");
    }
    let read = command.output().expect("openssl, as .ci/run names it");
    let said = [read.stdout, read.stderr].concat();
    read.status.success().then(|| String::from_utf8(said).unwrap())
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().unwrap()
}

fn pem(secret: &Secret, form: Form) -> bytes::Bytes {
    secret.field(form.name()).unwrap().0
}

#[test]
fn names_are_those_of_the_contract() {
    let names = KeystoreForm::ALL.map(KeystoreForm::name);
    assert_eq!(names, ["keystore.p12", "truststore.p12", "keystore.jks", "truststore.jks"]);
    for form in KeystoreForm::ALL {
        assert_eq!(KeystoreForm::named(form.name()), Some(form));
        assert_eq!(Form::named(form.name()), None);
    }
    assert_eq!(KeystoreForm::named("keystore.pfx"), None);
    assert_eq!(Profile::named("modern"), Some(Profile::default()));
    assert_eq!(Profile::named("legacy"), Some(Profile::Legacy));
    assert_eq!(Profile::named("Modern"), None);
}

/// As `openssl kdf PKCS12KDF` has them; the first three are in many libraries' tests.
#[test]
fn keys_are_derived_as_others_do() {
    let hex = |text: &str| -> Vec<u8> {
        let digits: Vec<_> = text.chars().map(|c| c.to_digit(16).unwrap()).collect();
        digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
    };
    let smeg = hex("0073006d006500670000");
    let queeg = hex("007100750065006500670000");
    let sha1 = &SHA1_FOR_LEGACY_USE_ONLY;
    for (hash, purpose, password, salt, rounds, expected) in [
        (
            sha1,
            Purpose::Key,
            &smeg,
            "0a58cf64530d823f",
            1,
            "8aaae6297b6cb04642ab5b077851284eb7128f1a2a7fbca3",
        ),
        (sha1, Purpose::Iv, &smeg, "0a58cf64530d823f", 1, "79993dfe048d3b76"),
        (
            sha1,
            Purpose::Mac,
            &smeg,
            "3d83c0e4546ac140",
            1,
            "8d967d88f6caa9d714800ab3d48051d63f73a312",
        ),
        (
            sha1,
            Purpose::Key,
            &queeg,
            "05dec959acff72f7",
            1000,
            "ed2034e36328830ff09df1e1a07dd357185dac0d4f9eb3d4",
        ),
        (
            &SHA256,
            Purpose::Mac,
            &queeg,
            "05dec959acff72f7",
            1000,
            "64bd552bb4ecec8224b888d4fa1dc49c6ff894bfc59b10402d83ad46c0d8da4b3939ebc25b29da4f",
        ),
    ] {
        let (salt, expected) = (hex(salt), hex(expected));
        let derived = derive(hash, purpose, password, &salt, rounds, expected.len());
        assert_eq!(derived.expose(), expected, "{purpose:?} {rounds}");
    }
}

#[test]
fn openssl_reads_each_type_of_key_in_both_profiles() {
    for key in keys() {
        let secret = Arc::new(served_with(key));
        let own_key = PrivatePkcs8KeyDer::from_pem_slice(&pem(&secret, Form::Key)).unwrap();
        for profile in [Profile::Modern, Profile::Legacy] {
            let keystore = made(&secret, KeystoreForm::ALL[0], profile);
            let text = openssl(&keystore, profile, PASSWORD, &["-info"]).unwrap();
            let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).unwrap();
            assert_eq!(key.secret_pkcs8_der(), own_key.secret_pkcs8_der());
            let full_chain = certificates(&pem(&secret, Form::FullChain));
            assert_eq!(certificates(text.as_bytes()), full_chain);
            assert_eq!(full_chain.len(), 2, "leaf and intermediate");
            assert!(text.contains("friendlyName: Web.app"), "{text}");
            let (mac, cipher) = match profile {
                Profile::Modern => (
                    "MAC: sha256, Iteration 10000\nMAC length: 32, salt length: 16",
                    "PBES2, PBKDF2, AES-256-CBC, Iteration 10000, PRF hmacWithSHA256",
                ),
                Profile::Legacy => (
                    "MAC: sha1, Iteration 10000\nMAC length: 20, salt length: 16",
                    "pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 10000",
                ),
            };
            assert!(text.contains(mac), "{text}");
            assert_eq!(text.matches(cipher).count(), 2, "key and certificates: {text}");
            for wrong in ["", "canary", "canary: pass \"word\" ~! "] {
                assert_eq!(openssl(&keystore, profile, wrong, &[]), None, "{wrong:?}");
            }
        }
    }
}

#[test]
fn a_truststore_holds_the_authority_as_trusted_and_no_key() {
    let secret = p256();
    for profile in [Profile::Modern, Profile::Legacy] {
        let truststore = made(&secret, KeystoreForm::ALL[1], profile);
        let text = openssl(&truststore, profile, PASSWORD, &["-info"]).unwrap();
        assert_eq!(certificates(text.as_bytes()), certificates(&pem(&secret, Form::Authority)));
        assert!(!text.contains("PRIVATE KEY"), "{text}");
        assert!(text.contains("friendlyName: Web.app"), "{text}");
        let oracle = text.contains("2.16.840.1.113894.746875.1.1: <Unsupported tag 6>");
        assert!(oracle || text.contains("Trusted key usage (Oracle)"), "{text}");
    }
}

#[test]
fn no_two_are_alike() {
    let secret = p256();
    for form in KeystoreForm::ALL {
        let [one, other] = [0, 1].map(|_| made(&secret, form, Profile::Modern));
        // A JKS without a key has no salt.
        let salted = form.holds == Holds::Key || form.container == Container::Pkcs12;
        assert!(one.expose() != other.expose() || !salted, "{}", form.name());
    }
}

/// The reverse of what `jks.rs` does, by the letter of `KeyProtector.recover`.
#[test]
fn a_jks_gives_its_key_back_under_its_password_alone() {
    fn wide(password: &str) -> Vec<u8> {
        password.encode_utf16().flat_map(u16::to_be_bytes).collect()
    }
    fn sha1(parts: &[&[u8]]) -> Vec<u8> {
        let digest = ring::digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, &parts.concat());
        digest.as_ref().to_vec()
    }
    let secret = p256();
    let keystore = made(&secret, KeystoreForm::ALL[2], Profile::default());
    let (content, hash) = keystore.expose().split_at(keystore.len() - 20);
    assert_eq!(sha1(&[&wide(PASSWORD), b"Mighty Aphrodite", content]), hash);
    assert!(content.starts_with(b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x01\0\0\0\x01\0\x07web.app"));

    let after_alias = &content[12 + 4 + 2 + 7 + 8..];
    let (length, rest) = after_alias.split_at(4);
    let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
    let protected = yasna::parse_der(&rest[..length], |reader| {
        reader.read_sequence(|reader| {
            let algorithm = reader.next().read_sequence(|reader| {
                let oid = reader.next().read_oid()?;
                reader.next().read_null()?;
                Ok(oid)
            })?;
            assert_eq!(algorithm.to_string(), "1.3.6.1.4.1.42.2.17.1.1");
            reader.next().read_bytes()
        })
    });
    let protected = protected.unwrap();
    let recovered = |password: &str| {
        let (salt, rest) = protected.split_at(20);
        let (masked, check) = rest.split_at(rest.len() - 20);
        let mut link = salt.to_vec();
        let mut plain = Vec::new();
        for part in masked.chunks(20) {
            link = sha1(&[&wide(password), &link]);
            plain.extend(part.iter().zip(&link).map(|(a, b)| a ^ b));
        }
        (sha1(&[&wide(password), &plain]) == check).then_some(plain)
    };
    let key = PrivatePkcs8KeyDer::from_pem_slice(&pem(&secret, Form::Key)).unwrap();
    assert_eq!(recovered(PASSWORD).as_deref(), Some(key.secret_pkcs8_der()));
    assert_eq!(recovered("canary"), None);
}

#[test]
fn passwords_are_visible_ascii() {
    for good in ["a", "correct horse", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", &"x".repeat(128)] {
        let password = KeystorePassword::parse(good.as_bytes()).unwrap();
        assert_eq!(password.expose(), good.as_bytes());
    }
    for bad in ["", " ", " a", "a ", "a\tb", "a\nb", "a\0", "pässword", &"x".repeat(129)] {
        assert!(KeystorePassword::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
    assert!(KeystorePassword::parse(b"\xff\xfe").is_err());
    let shown = format!("{:?}", KeystorePassword::parse(b"canary").unwrap());
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn generated_passwords_are_long_and_differ() {
    let [one, other] = [0, 1].map(|_| KeystorePassword::generate().unwrap());
    assert_ne!(one.expose(), other.expose());
    for password in [one, other] {
        assert_eq!(password.expose().len(), 32);
        let plain = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        assert!(password.expose().iter().all(plain));
        assert!(KeystorePassword::parse(password.expose()).is_ok());
    }
}

#[test]
fn what_is_no_issuance_goes_into_none() {
    let secret = crate::secret::test_secret(&[
        ("key.pem", "canary"),
        ("fullchain.pem", "canary"),
        ("ca.pem", "canary"),
    ]);
    let secret = Arc::new(secret);
    for form in KeystoreForm::ALL {
        let (alias, profile) = ("a".into(), Profile::default());
        let order = Order { secret: Arc::clone(&secret), alias, form, profile, password: None };
        let password = KeystorePassword::parse(b"canary").unwrap();
        assert_eq!(make(&order, &password).unwrap_err(), Unmade::Unfit);
    }
}
