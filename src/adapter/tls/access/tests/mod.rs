use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use jsonwebtoken::Algorithm;
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

use super::jwks::issuer::TestIssuer;
use super::jwt::signer::Signer;
use super::*;
use crate::config::{ClaimTest, ClaimValue, KeyAddress, KeySource, SanPattern, SpiffePattern};
use crate::scope::{PathPattern, Scope};

mod outgoing;

const ISSUER: &str = "https://id.example.com";
/// No answer and no log may have it.
const CANARY: &str = "canary-j4c";

pub(super) fn spec() -> JwtSpec {
    JwtSpec {
        issuer: ISSUER.into(),
        audience: vec!["shop".into()],
        keys: KeySource::Keys(KeyAddress::parse("https://id.example.com/jwks").unwrap()),
        ca_cert: None,
        algorithms: vec![Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256],
        leeway: Duration::from_secs(30),
        required: true,
        header: header::AUTHORIZATION,
        pass_token: false,
        forward: Vec::new(),
        refresh: Duration::from_mins(10),
        max_stale: Duration::from_hours(1),
        timeout: Duration::from_secs(20),
    }
}

/// An adapter with an issuer that has one key.
struct Scene {
    issuer: TestIssuer,
    signer: Signer,
    access: Access,
    stop: CancellationToken,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Scene {
    async fn with(change: impl FnOnce(&mut JwtSpec), rules: Vec<RuleSpec>) -> Self {
        let (issuer, signer) = (TestIssuer::https().await, Signer::p256());
        issuer.publish(&[signer.jwk("k")]);
        let keys = KeySource::Keys(KeyAddress::parse(&issuer.url("/jwks")).unwrap());
        let mut jwt = JwtSpec { keys, ca_cert: issuer.ca_path(), ..spec() };
        change(&mut jwt);
        let access = Access::new(name(), AccessSpec { jwt: Some(jwt), rules }).unwrap();
        let stop = CancellationToken::new();
        access.start(&TaskTracker::new(), stop.clone());
        Self { issuer, signer, access, stop }
    }

    fn token(&self, more: &Value) -> String {
        token_of(&self.signer, "k", more)
    }

    async fn ask(&self, headers: &[(&str, &str)]) -> Result<Admitted, Refusal> {
        self.access.decide(&Identity::default(), &request("GET", "/", headers)).await
    }

    async fn bearer(&self, token: &str) -> Result<Admitted, Refusal> {
        self.ask(&[("Authorization", &format!("Bearer {token}"))]).await
    }
}

fn name() -> SecretName {
    SecretName::parse("web").unwrap()
}

fn token_of(signer: &Signer, id: &str, more: &Value) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let mut claims =
        json!({ "iss": ISSUER, "aud": "shop", "sub": "alice", "exp": now + 600, "jti": CANARY });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    signer.sign(&json!({ "alg": "ES256", "kid": id }), &claims)
}

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn rule(name: &str) -> RuleSpec {
    RuleSpec {
        name: name.into(),
        san: Vec::new(),
        spiffe: Vec::new(),
        claims: Vec::new(),
        scope: Scope::default(),
    }
}

fn claim(path: &[&str], any: &[&str]) -> ClaimTest {
    let text = |text: &&str| ClaimValue::Text((*text).into());
    ClaimTest {
        path: path.iter().map(|name| (*name).into()).collect(),
        any: any.iter().map(text).collect(),
    }
}

fn scope(methods: &[http::Method], paths: &[&str]) -> Scope {
    let paths: Vec<_> = paths.iter().map(|text| PathPattern::parse(text).unwrap()).collect();
    Scope {
        methods: (!methods.is_empty()).then(|| methods.to_vec()),
        paths: (!paths.is_empty()).then_some(paths),
    }
}

fn rules_alone(rules: Vec<RuleSpec>) -> Access {
    Access::new(name(), AccessSpec { jwt: None, rules }).unwrap()
}

fn certificate(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    change(&mut params);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
}

fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(Ia5String::try_from(text).unwrap())
}

#[test]
fn a_certificate_with_two_ids_has_none() {
    let ids = ["spiffe://example.org/a", "spiffe://example.org/b"];
    for others in [vec![uri(ids[0]), uri(ids[1])], vec![uri(ids[0]), uri("https://example.org")]] {
        let der = certificate(|params| params.subject_alt_names = others);
        let identity = Identity::of(&der);
        assert_eq!((identity.uris.len(), identity.spiffe), (2, None));
    }
}

#[tokio::test]
async fn certificates_against_rules() {
    let san =
        RuleSpec { san: vec![SanPattern::parse("*.ops.example.com").unwrap()], ..rule("ops") };
    let spiffe = vec![SpiffePattern::parse("spiffe://example.org/ns/shop/*").unwrap()];
    let both = RuleSpec { spiffe, scope: scope(&[], &["/shop/*"]), ..rule("shop") };
    let access = rules_alone(vec![san, both]);
    let decide = async |names: Vec<SanType>, path: &str| {
        let der = certificate(|params| {
            params.subject_alt_names = names;
            // No rule goes by it.
            params.distinguished_name.push(DnType::CommonName, "a.ops.example.com");
        });
        let identity = Identity::of(&der);
        let decided = access.decide(&identity, &request("GET", path, &[])).await;
        decided.map(|admitted| admitted.rule.unwrap().to_string())
    };
    let denied = Err(Refusal::AccessDenied);
    assert_eq!(decide(vec![dns("a.ops.example.com")], "/any").await, Ok("ops".into()));
    assert_eq!(decide(vec![], "/any").await, denied);
    assert_eq!(decide(vec![dns("*.ops.example.com")], "/any").await, denied);
    assert_eq!(decide(vec![dns("a.b.ops.example.com")], "/any").await, denied);
    let id = || vec![uri("spiffe://example.org/ns/shop/sa/cart")];
    assert_eq!(decide(id(), "/shop/1").await, Ok("shop".into()));
    assert_eq!(decide(id(), "/other").await, denied);
    assert_eq!(decide(id(), "/shop/%2e%2e/other").await, Err(Refusal::RequestAmbiguous));
    assert_eq!(decide(vec![uri("spiffe://example.org/ns/shopper/sa")], "/shop/1").await, denied);
    let anonymous = access.decide(&Identity::default(), &request("GET", "/shop/1", &[])).await;
    assert_eq!(anonymous.err(), Some(Refusal::AccessDenied));
    assert!(access.decide_connection(&Identity::default()).is_err());
}

#[tokio::test]
async fn without_rules_everybody_is_in() {
    let access = Access::new(name(), AccessSpec::default()).unwrap();
    let odd = request("GET", "/a/../b", &[("x-user", "1")]);
    let admitted = access.decide(&Identity::default(), &odd).await.unwrap();
    assert_eq!(admitted.rule, None);
    let mut headers = odd.headers.clone();
    admitted.apply(&mut headers);
    assert_eq!(headers, odd.headers);
}

#[tokio::test]
async fn tokens_as_they_come() {
    let scene = Scene::with(|_| {}, Vec::new()).await;
    let token = scene.token(&json!({}));
    scene.bearer(&token).await.unwrap();
    for good in [format!("bearer {token}"), format!("BEARER   {token} ")] {
        scene.ask(&[("authorization", &good)]).await.unwrap();
    }
    let bearer = format!("Bearer {token}");
    for (headers, refusal) in [
        (vec![], Refusal::TokenMissing),
        (vec![("Authorization", "Basic eDp5")], Refusal::TokenMissing),
        (vec![("Authorization", "Bearer")], Refusal::TokenInvalid),
        (vec![("Authorization", "Bearer ")], Refusal::TokenInvalid),
        (vec![("Authorization", "Bearer a b")], Refusal::TokenInvalid),
        (
            vec![("Authorization", bearer.as_str()), ("Authorization", "Basic x")],
            Refusal::TokenMalformed,
        ),
        (
            vec![("Authorization", bearer.as_str()), ("Authorization", bearer.as_str())],
            Refusal::TokenMalformed,
        ),
    ] {
        assert_eq!(scene.ask(&headers).await.err(), Some(refusal), "{headers:?}");
    }
    for strange in [
        format!("Bearer\t{token}"),
        format!("Bearer:{token}"),
        format!("Bearer {token},{token}"),
        format!("Bearer {}", "a".repeat(LONGEST_TOKEN + 1)),
    ] {
        let refused = scene.ask(&[("Authorization", &strange)]).await.err();
        assert_eq!(refused, Some(Refusal::TokenInvalid), "{strange}");
    }
    let old = scene.token(&json!({ "exp": 1_000_000_000 }));
    assert_eq!(scene.bearer(&old).await.err(), Some(Refusal::TokenExpired));
    let other = scene.token(&json!({ "aud": "other" }));
    assert_eq!(scene.bearer(&other).await.err(), Some(Refusal::TokenInvalid));
    assert_eq!(scene.issuer.asked(), 1);
}

#[tokio::test]
async fn a_new_key_works_at_its_first_token() {
    let scene = Scene::with(|_| {}, Vec::new()).await;
    scene.issuer.asked_times(0).await;
    // The first request waits for the first keys.
    scene.bearer(&scene.token(&json!({}))).await.unwrap();
    let newer = Signer::p256();
    scene.issuer.publish(&[scene.signer.jwk("k"), newer.jwk("next")]);
    let token = token_of(&newer, "next", &json!({}));
    // The issuer was asked a moment ago.
    assert_eq!(scene.bearer(&token).await.err(), Some(Refusal::TokenInvalid));
    assert_eq!(scene.issuer.asked(), 1);
    scene.access.tokens.as_ref().unwrap().keys.forget_last_look();
    scene.bearer(&token).await.unwrap();
    scene.bearer(&scene.token(&json!({}))).await.unwrap();
    assert_eq!(scene.issuer.asked(), 2);
}

#[tokio::test]
async fn without_keys_nobody_is_judged() {
    let scene = Scene::with(|spec| spec.timeout = Duration::from_millis(100), Vec::new()).await;
    let silent = Scene::with(
        |spec| {
            let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            spec.keys = KeySource::Keys(KeyAddress::parse(&format!("http://{closed}/")).unwrap());
        },
        Vec::new(),
    )
    .await;
    let refused = silent.bearer(&scene.token(&json!({}))).await.unwrap_err();
    assert_eq!(refused, Refusal::KeysUnavailable);
    let response = refused.response();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(silent.ask(&[]).await.err(), Some(Refusal::TokenMissing));
}

#[tokio::test]
async fn claims_against_rules() {
    let ops = RuleSpec { claims: vec![claim(&["groups"], &["ops", "admins"])], ..rule("ops") };
    let nested = claim(&["realm_access", "roles"], &["auditor"]);
    let mfa = ClaimTest { path: vec!["mfa".into()], any: vec![ClaimValue::Bool(true)] };
    let audit = RuleSpec { claims: vec![nested, mfa], ..rule("audit") };
    let read = RuleSpec { claims: vec![claim(&["scope"], &["read"])], ..rule("read") };
    let scene = Scene::with(|_| {}, vec![ops, audit, read]).await;
    for (claims, rule) in [
        (json!({ "groups": ["dev", "ops"] }), Ok("ops")),
        (json!({ "groups": "admins" }), Ok("ops")),
        (json!({ "groups": "dev ops" }), Err(Refusal::AccessDenied)),
        (json!({ "groups": ["ops2", "OPS"] }), Err(Refusal::AccessDenied)),
        (json!({ "groups": { "ops": true } }), Err(Refusal::AccessDenied)),
        (json!({ "groups": [["ops"]] }), Err(Refusal::AccessDenied)),
        (json!({ "realm_access": { "roles": ["auditor"] }, "mfa": true }), Ok("audit")),
        (
            json!({ "realm_access": { "roles": ["auditor"] }, "mfa": "true" }),
            Err(Refusal::AccessDenied),
        ),
        (json!({ "realm_access": { "roles": ["auditor"] } }), Err(Refusal::AccessDenied)),
        (json!({ "realm_access.roles": ["auditor"], "mfa": true }), Err(Refusal::AccessDenied)),
        (json!({ "scope": "write read" }), Ok("read")),
        (json!({ "scope": "readwrite" }), Err(Refusal::AccessDenied)),
        (json!({}), Err(Refusal::AccessDenied)),
    ] {
        let decided = scene.bearer(&scene.token(&claims)).await;
        let decided = decided.map(|admitted| admitted.rule.unwrap().to_string());
        assert_eq!(decided, rule.map(str::to_owned), "{claims}");
    }
}

#[tokio::test]
async fn a_token_may_be_left_out_where_a_rule_asks_for_none() {
    let health = RuleSpec { scope: scope(&[http::Method::GET], &["/health"]), ..rule("health") };
    let ops = RuleSpec {
        claims: vec![claim(&["groups"], &["ops"])],
        scope: scope(&[], &["/ops/*"]),
        ..rule("ops")
    };
    let scene = Scene::with(|spec| spec.required = false, vec![health, ops]).await;
    let decide = async |method: &str, path: &str, token: Option<&str>| {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> =
            bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
        let parts = request(method, path, &headers);
        let decided = scene.access.decide(&Identity::default(), &parts).await;
        decided.map(|admitted| admitted.rule.unwrap().to_string())
    };
    assert_eq!(decide("GET", "/health", None).await, Ok("health".into()));
    assert_eq!(decide("POST", "/health", None).await, Err(Refusal::AccessDenied));
    assert_eq!(decide("GET", "/ops/x", None).await, Err(Refusal::TokenMissing));
    assert_eq!(decide("GET", "/other", None).await, Err(Refusal::AccessDenied));
    let (ops, dev) = (scene.token(&json!({ "groups": ["ops"] })), scene.token(&json!({})));
    assert_eq!(decide("GET", "/ops/x", Some(&ops)).await, Ok("ops".into()));
    assert_eq!(decide("GET", "/ops/x", Some(&dev)).await, Err(Refusal::AccessDenied));
    // One that is there has to be good.
    assert_eq!(decide("GET", "/health", Some("a.b.c")).await, Err(Refusal::TokenInvalid));
}

#[tokio::test]
async fn refusals_say_what_rfc_6750_has_them_say_and_no_more() {
    let scene = Scene::with(|_| {}, Vec::new()).await;
    let token = scene.token(&json!({ "exp": 1 }));
    let answer = async |refusal: Refusal| -> (u16, String, Value) {
        let response: Response<Full<bytes::Bytes>> = refusal.response();
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let challenge = response.headers().get("www-authenticate");
        let challenge = challenge.map(|value| value.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, challenge.unwrap_or_default(), serde_json::from_slice(&body).unwrap())
    };
    let expired = scene.bearer(&token).await.unwrap_err();
    let (status, challenge, body) = answer(expired).await;
    assert_eq!((status, &body["code"]), (401, &json!("token_expired")));
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    for part in token.split('.').chain([CANARY]) {
        assert!(!body.to_string().contains(part) && !challenge.contains(part));
    }
    for (refusal, status, challenge) in [
        (Refusal::TokenMissing, 401, "Bearer realm=\"sidekey\""),
        (Refusal::TokenInvalid, 401, "Bearer realm=\"sidekey\", error=\"invalid_token\""),
        (Refusal::TokenMalformed, 400, "Bearer realm=\"sidekey\", error=\"invalid_request\""),
        (Refusal::AccessDenied, 403, ""),
        (Refusal::ClaimUnusable, 403, ""),
        (Refusal::RequestAmbiguous, 400, ""),
        (Refusal::KeysUnavailable, 503, ""),
    ] {
        let (found, said, body) = answer(refusal).await;
        assert_eq!((found, said.as_str()), (status, challenge), "{refusal}");
        assert_eq!(body["type"], format!("urn:sidekey:problem:{refusal}"));
    }
}

/// Many at once before the first keys: the issuer is asked once.
#[tokio::test]
async fn requests_wait_together_for_the_first_keys() {
    let scene = Arc::new(Scene::with(|_| {}, Vec::new()).await);
    let admitted = Arc::new(AtomicUsize::new(0));
    let tracker = TaskTracker::new();
    for _ in 0..50 {
        let (scene, admitted) = (Arc::clone(&scene), Arc::clone(&admitted));
        tracker.spawn(async move {
            let token = scene.token(&json!({}));
            admitted.fetch_add(usize::from(scene.bearer(&token).await.is_ok()), Ordering::Relaxed);
        });
    }
    tracker.close();
    tracker.wait().await;
    assert_eq!(admitted.load(Ordering::Relaxed), 50);
    assert_eq!(scene.issuer.asked(), 1);
}
