use ring::hmac;
use serde_json::json;

use super::signer::{Signer, encode, unsigned};
use super::*;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://id.example.com";

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn spec() -> JwtSpec {
    let audience = vec!["shop".into(), "shop-admin".into()];
    let mut spec = JwtSpec { audience, ..super::super::tests::spec() };
    spec.algorithms.extend([Algorithm::ES384, Algorithm::PS256]);
    spec
}

fn good() -> Value {
    json!({ "iss": ISSUER, "aud": "shop", "sub": "alice", "iat": NOW - 60, "nbf": NOW - 60, "exp": NOW + 60 })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn keys(all: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": all }).to_string().as_bytes()).unwrap()
}

fn judge(token: &str, all: &[Value]) -> Result<(), BadToken> {
    Verifier::new(&spec()).verify(token, &keys(all), at(NOW)).map(drop)
}

/// With a good key, by the name of `k`.
fn judge_claims(claims: &Value) -> Result<(), BadToken> {
    let signer = Signer::p256();
    judge(&signer.sign(&json!({ "alg": "ES256", "kid": "k" }), claims), &[signer.jwk("k")])
}

#[test]
fn each_algorithm_verifies() {
    for (algorithm, signer) in [
        ("ES256", Signer::p256()),
        ("ES384", Signer::p384()),
        ("EdDSA", Signer::ed()),
        ("RS256", Signer::rsa()),
        ("PS256", Signer::rsa()),
    ] {
        let head = json!({ "alg": algorithm, "kid": "k", "typ": "JWT" });
        let token = signer.sign(&head, &good());
        let mut jwk = signer.jwk("k");
        assert_eq!(judge(&token, &[jwk.clone()]), Ok(()), "{algorithm}");
        jwk["alg"] = algorithm.into();
        jwk["use"] = "sig".into();
        jwk["key_ops"] = json!(["verify"]);
        assert_eq!(judge(&token, &[jwk]), Ok(()), "{algorithm}");
        let mut broken = token.into_bytes();
        let last = broken.len() - 10;
        broken[last] = if broken[last] == b'A' { b'B' } else { b'A' };
        let broken = String::from_utf8(broken).unwrap();
        assert_eq!(judge(&broken, &[signer.jwk("k")]), Err(BadToken::Signature), "{algorithm}");
    }
}

#[test]
fn no_signature_and_no_public_key_as_a_password() {
    let (rsa, p256) = (Signer::rsa(), Signer::p256());
    let all = [rsa.jwk("r"), p256.jwk("p")];
    for algorithm in ["none", "None", "NONE", ""] {
        let head = json!({ "alg": algorithm, "kid": "r" });
        let token = format!("{}.", unsigned(&head, &good()));
        assert_eq!(judge(&token, &all), Err(BadToken::Unreadable), "{algorithm}");
    }
    for (kid, member) in [("r", "n"), ("p", "x")] {
        let head = json!({ "alg": "HS256", "kid": kid });
        let message = unsigned(&head, &good());
        let public = all.iter().find(|jwk| jwk["kid"] == kid).unwrap();
        for password in [public[member].as_str().unwrap().to_owned(), public.to_string()] {
            let key = hmac::Key::new(hmac::HMAC_SHA256, password.as_bytes());
            let token =
                format!("{message}.{}", encode(hmac::sign(&key, message.as_bytes()).as_ref()));
            assert_eq!(judge(&token, &all), Err(BadToken::Algorithm), "{kid}");
        }
    }
}

#[test]
fn a_key_is_for_what_it_says() {
    let signer = Signer::p256();
    let token = signer.sign(&json!({ "alg": "ES256", "kid": "k" }), &good());
    let changed = |name: &str, value: Value| {
        let mut jwk = signer.jwk("k");
        jwk[name] = value;
        judge(&token, &[jwk])
    };
    assert_eq!(changed("use", json!("sig")), Ok(()));
    for (name, value) in [
        ("use", json!("enc")),
        ("use", json!("other")),
        ("key_ops", json!(["sign"])),
        ("key_ops", json!([])),
        ("alg", json!("ES384")),
        ("alg", json!("RS256")),
        ("alg", json!("HS256")),
        ("alg", json!("ECDH-ES")),
        ("d", json!("AAAA")),
        ("crv", json!("P-384")),
        ("crv", json!("P-521")),
        ("x", json!("AAAA")),
        ("kty", json!("oct")),
        ("kty", json!("RSA")),
    ] {
        assert_eq!(changed(name, value.clone()), Err(BadToken::UnknownKey), "{name} {value}");
    }
    // A head that takes the key for one of another kind.
    for algorithm in ["ES384", "RS256", "PS256", "EdDSA"] {
        let token = signer.sign(&json!({ "alg": algorithm, "kid": "k" }), &good());
        assert_eq!(judge(&token, &[signer.jwk("k")]), Err(BadToken::UnknownKey), "{algorithm}");
    }
    // One that verifies, but is not asked for.
    let only_rsa = JwtSpec { algorithms: vec![Algorithm::RS256], ..spec() };
    let judged = Verifier::new(&only_rsa).verify(&token, &keys(&[signer.jwk("k")]), at(NOW));
    assert_eq!(judged.err(), Some(BadToken::Algorithm));
}

#[test]
fn weak_and_strange_keys_are_left_out() {
    let modulus = |bytes: usize| encode(&[&[0xc1], &*vec![0xff; bytes - 1]].concat());
    let rsa = |bytes: usize| json!({ "kty": "RSA", "kid": "w", "n": modulus(bytes), "e": "AQAB" });
    assert_eq!(keys(&[rsa(128)]).len(), 0, "1024 bits");
    assert_eq!(keys(&[rsa(255)]).len(), 0, "2040 bits");
    assert_eq!(keys(&[rsa(256)]).len(), 1, "2048 bits");
    assert_eq!(keys(&[rsa(2048)]).len(), 0, "16384 bits");
    // The sign that some write makes no key longer.
    let padded = encode(&[&[0, 0xc1], &*vec![0xff; 254]].concat());
    assert_eq!(keys(&[json!({ "kty": "RSA", "n": padded, "e": "AQAB" })]).len(), 0);
    let others = [
        json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "k" }),
        json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA" }),
        json!({ "kty": "OKP", "crv": "X25519", "x": "AAAA" }),
        json!({ "kty": 5 }),
        json!("key"),
        json!(null),
    ];
    assert_eq!(keys(&others).len(), 0);
    let some = [others.as_slice(), &[Signer::ed().jwk("e")]].concat();
    assert_eq!(keys(&some).len(), 1, "the others are passed over");
    for body in ["", "[]", "{}", "{\"keys\": {}}", "{\"keys\": [", "<html>"] {
        assert!(KeySet::parse(body.as_bytes()).is_err(), "{body}");
    }
    let many = vec![Signer::ed().jwk("e"); 101];
    assert!(KeySet::parse(json!({ "keys": many }).to_string().as_bytes()).is_err());
}

#[test]
fn rsa_with_a_written_sign_verifies() {
    let signer = Signer::rsa();
    let token = signer.sign(&json!({ "alg": "RS256", "kid": "k" }), &good());
    let mut jwk = signer.jwk("k");
    let plain = base64::Engine::decode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        jwk["n"].as_str().unwrap(),
    );
    jwk["n"] = encode(&[vec![0], plain.unwrap()].concat()).into();
    assert_eq!(judge(&token, &[jwk]), Ok(()));
}

#[test]
fn which_key() {
    let (one, two, rsa) = (Signer::p256(), Signer::p256(), Signer::rsa());
    let named =
        |signer: &Signer, id: &str| signer.sign(&json!({ "alg": "ES256", "kid": id }), &good());
    let nameless = |signer: &Signer| signer.sign(&json!({ "alg": "ES256" }), &good());
    let all = [one.jwk("1"), two.jwk("2"), rsa.jwk("1")];
    assert_eq!(judge(&named(&one, "1"), &all), Ok(()));
    assert_eq!(judge(&named(&one, "2"), &all), Err(BadToken::Signature));
    assert_eq!(judge(&named(&one, "3"), &all), Err(BadToken::UnknownKey));
    assert_eq!(judge(&named(&one, ""), &all), Err(BadToken::UnknownKey));
    // Without a name: the one key of the kind, or none.
    assert_eq!(judge(&nameless(&one), &all), Err(BadToken::UnknownKey));
    assert_eq!(judge(&nameless(&one), &[one.jwk("1"), rsa.jwk("2")]), Ok(()));
    assert_eq!(judge(&nameless(&two), &[one.jwk("1"), rsa.jwk("2")]), Err(BadToken::UnknownKey));
    // Two under one name: either, and nobody else.
    let twins = [one.jwk("1"), two.jwk("1")];
    assert_eq!(judge(&named(&one, "1"), &twins), Ok(()));
    assert_eq!(judge(&named(&two, "1"), &twins), Ok(()));
    assert_eq!(judge(&named(&Signer::p256(), "1"), &twins), Err(BadToken::Signature));
}

#[test]
fn heads() {
    let signer = Signer::p256();
    let judge_head = |mut head: Value| {
        head["kid"] = "k".into();
        head.as_object_mut().unwrap().entry("alg").or_insert("ES256".into());
        judge(&signer.sign(&head, &good()), &[signer.jwk("k")])
    };
    for kind in ["JWT", "jwt", "at+jwt", "application/at+jwt"] {
        assert_eq!(judge_head(json!({ "typ": kind })), Ok(()), "{kind}");
    }
    for kind in ["logout+jwt", "dpop+jwt", "secevent+jwt", "JOSE+JSON", ""] {
        assert_eq!(judge_head(json!({ "typ": kind })), Err(BadToken::OtherKind), "{kind}");
    }
    assert_eq!(judge_head(json!({ "crit": ["b64"], "b64": false })), Err(BadToken::Critical));
    assert_eq!(judge_head(json!({ "crit": [] })), Err(BadToken::Critical));
    assert_eq!(judge_head(json!({ "zip": "DEF" })), Err(BadToken::Critical));
    assert_eq!(judge_head(json!({ "alg": ["ES256"] })), Err(BadToken::Unreadable));
    assert_eq!(judge_head(json!({ "alg": "ES256K" })), Err(BadToken::Unreadable));
    // The key that a token brings along is not asked for.
    let other = Signer::p256();
    let head = json!({ "alg": "ES256", "kid": "k", "jwk": other.jwk("k"),
                       "jku": "https://evil.invalid/jwks", "x5u": "https://evil.invalid/x" });
    assert_eq!(judge(&other.sign(&head, &good()), &[signer.jwk("k")]), Err(BadToken::Signature));
    // A name twice in the head.
    let head = encode(br#"{"alg":"ES256","kid":"k","kid":"k"}"#);
    let token = format!("{head}.{}.AAAA", encode(good().to_string().as_bytes()));
    assert_eq!(judge(&token, &[signer.jwk("k")]), Err(BadToken::Unreadable));
}

#[test]
fn shapes() {
    let signer = Signer::p256();
    let token = signer.sign(&json!({ "alg": "ES256", "kid": "k" }), &good());
    let parts: Vec<_> = token.split('.').collect();
    let (head, claims, signature) = (parts[0], parts[1], parts[2]);
    for shape in [
        String::new(),
        "..".into(),
        "a.b.c".into(),
        head.into(),
        format!("{head}.{claims}"),
        format!("{head}.{claims}."),
        format!("{head}.{claims}.{signature}."),
        format!("{head}.{claims}.{signature}.{signature}"),
        format!("{head}.{claims}.{signature}="),
        format!("{head}.{claims}.{}", encode(&[0; 64])),
        format!("{head}.{claims}.{}", encode(&[])),
        format!("{head}.{}.{signature}", encode(b"{}")),
    ] {
        assert!(judge(&shape, &[signer.jwk("k")]).is_err(), "{shape}");
    }
}

#[test]
fn for_whom_and_from_whom() {
    use BadToken::{Audience, Issuer};
    assert_eq!(judge_claims(&good()), Ok(()));
    assert_eq!(judge_claims(&with("aud", json!(["other", "shop-admin"]))), Ok(()));
    for (claims, why) in [
        (without("aud"), Audience),
        (with("aud", json!("other")), Audience),
        (with("aud", json!(["other"])), Audience),
        (with("aud", json!([])), Audience),
        (with("aud", json!("sho")), Audience),
        (with("aud", json!("shop ")), Audience),
        (with("aud", json!(5)), Audience),
        (with("aud", json!(null)), Audience),
        (with("aud", json!({ "shop": true })), Audience),
        (without("iss"), Issuer),
        (with("iss", json!("https://id.example.com/")), Issuer),
        (with("iss", json!("https://evil.example.com")), Issuer),
        (with("iss", json!([ISSUER, "x"])), Issuer),
        (with("iss", json!(null)), Issuer),
    ] {
        assert_eq!(judge_claims(&claims), Err(why), "{claims}");
    }
}

#[test]
fn when() {
    use BadToken::{Expired, NoTime, NotYet};
    for (name, value, expected) in [
        ("exp", json!(NOW - 29), Ok(())),
        ("exp", json!(NOW - 30), Err(Expired)),
        ("exp", json!(1_799_999_969.5), Err(Expired)),
        ("exp", json!(0), Err(Expired)),
        ("exp", json!(-1), Err(NoTime)),
        ("exp", json!("1900000000"), Err(NoTime)),
        ("exp", json!(1e300), Err(NoTime)),
        ("exp", json!(u64::MAX), Err(NoTime)),
        ("exp", json!(null), Err(NoTime)),
        ("nbf", json!(NOW + 30), Ok(())),
        ("nbf", json!(NOW + 31), Err(NotYet)),
        ("nbf", json!("0"), Err(NoTime)),
        ("iat", json!(NOW + 30), Ok(())),
        ("iat", json!(NOW + 31), Err(NotYet)),
        ("iat", json!([]), Err(NoTime)),
    ] {
        assert_eq!(judge_claims(&with(name, value.clone())), expected, "{name} {value}");
    }
    assert_eq!(judge_claims(&without("exp")), Err(NoTime));
    assert_eq!(judge_claims(&without("nbf")), Ok(()));
    assert_eq!(judge_claims(&without("iat")), Ok(()));
}

#[test]
fn a_clock_that_is_off() {
    let signer = Signer::ed();
    let token = signer.sign(&json!({ "alg": "EdDSA", "kid": "k" }), &good());
    let verifier = Verifier::new(&spec());
    let judged = |now| verifier.verify(&token, &keys(&[signer.jwk("k")]), now).map(drop);
    for (now, expected) in [
        (at(NOW - 91), Err(BadToken::NotYet)),
        (at(NOW - 90), Ok(())),
        (at(NOW + 89), Ok(())),
        (at(NOW + 90), Err(BadToken::Expired)),
        (at(0), Err(BadToken::NotYet)),
        (SystemTime::UNIX_EPOCH - Duration::from_secs(1), Err(BadToken::NoTime)),
    ] {
        assert_eq!(judged(now), expected, "{now:?}");
    }
}

#[test]
fn what_is_wrong_is_said_without_the_token() {
    let why = judge_claims(&with("iss", json!("canary-i55"))).unwrap_err();
    assert_eq!(format!("{why} {why:?}"), "it is of another issuer Issuer");
}
