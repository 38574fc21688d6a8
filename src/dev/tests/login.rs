use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use serde_json::{Value, json};

use super::super::{Fault, Matcher};
use super::{Dev, With};

const RSA_PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAraJynpLylxGfOx7fyOkD
IFloMg1t6Elrl2NNnkS1DPt8WKT4M8XzHGd4qpK739ynVXW0UxJJoIygEmlFum1G
DRDvGN2HB9eYphi+o/qG2Z+BwM1GeYtWfYm140FfUmGN54pu3qUIZAnV8TaO2x2o
etTZzD9CQ8XEL/6HU4tgjpXx8FlZH9TCch5ChbVWarvPWYyPwow5dkc7/oXQR+VJ
jZoMkpBsS1uVDrtLJLl7bi/6etZErax6k4BwiTxqnpq5S8T+OiQDgkJtqSy6EU7L
G3xDuLo10oi+L7aAboW/mFlSKKPkwP1721qXXPLc51gz4HuXhPdwaiqbQHpYkMiV
3wIDAQAB
-----END PUBLIC KEY-----";
/// Signed by the key above, which nobody has any more; good until the year 2200.
const RSA_TOKEN: &str = "\
    eyJhbGciOiAiUlMyNTYifQ.eyJpc3MiOiAibWUiLCAic3ViIjogInUiLCAiYXVkIjogInZhdWx0IiwgImVudiI6I\
    CJwcm9kIiwgImlhdCI6IDE3MzU2ODk2MDAsICJleHAiOiA3MjU4MTE4NDAwfQ.fBOzCeSafJyCvMuM8EDWIh3luu\
    7eborxbkOwX2x1IllHCRHMxGB4XZ-JbRBVIPzItHknEGcGFBhI5UJgvA6beWkOkGf1CQ2jidIIFdartU-6Q5RBwq\
    e71yfQ5eq1o1Tz2y7qTeEB4MZfSyVath4_30qYE1siHbN068nQsJbq8UeZen8z7KVn_hEYSaWpxPwhnBeKmp5iOm\
    W-yFShUPbQUrwxqJa_-2QJ1GH1aDt_g0LYxOMiNFcLEzQ_AhIYCrMvMzOU4cQB6_WeFrlpFgjEmX_-eWo2VJHtLi\
    RsuXEowHw1VkpPR4M8Irp41BtXun_q9K_ungt_g2Hs7NtHY0a3Rg";

fn unsigned(algorithm: &str, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(&json!({"alg": algorithm})), part(claims))
}

fn now() -> u64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn approle_counts_its_secret_ids() {
    let dev = Dev::start().await;
    assert_eq!(dev.root("POST", "sys/auth/approle", json!({"type": "approle"})).await.0, 204);
    let role = json!({"token_policies": "app", "token_ttl": "20m", "token_max_ttl": "30m",
        "secret_id_num_uses": 2});
    assert_eq!(dev.root("POST", "auth/approle/role/app", role).await.0, 204);
    let (_, id) = dev.root("GET", "auth/approle/role/app/role-id", Value::Null).await;
    let (_, secret) = dev.root("POST", "auth/approle/role/app/secret-id", json!({})).await;
    assert_eq!(secret["data"]["secret_id_num_uses"], 2);
    let login = json!({"role_id": id["data"]["role_id"], "secret_id": secret["data"]["secret_id"]});
    for _ in 0..2 {
        let (status, body) = dev.anonymous("POST", "auth/approle/login", login.clone()).await;
        assert_eq!((status, &body["auth"]["lease_duration"]), (200, &json!(1200)));
        assert_eq!(body["auth"]["policies"], json!(["app", "default"]));
        assert_eq!(body["auth"]["metadata"]["role_name"], "app");
        assert!(body["data"].is_null());
    }
    let refused = (400, json!({"errors": ["invalid role or secret ID"]}));
    assert_eq!(dev.anonymous("POST", "auth/approle/login", login).await, refused);
    let wrong = json!({"role_id": "x", "secret_id": "y"});
    assert_eq!(dev.anonymous("POST", "auth/approle/login", wrong).await, refused);

    let (_, again) = dev.root("POST", "auth/approle/role/app/secret-id", json!({})).await;
    let login = json!({"role_id": id["data"]["role_id"], "secret_id": again["data"]["secret_id"]});
    let (_, body) = dev.anonymous("POST", "auth/approle/login", login).await;
    let token = body["auth"]["client_token"].as_str().unwrap();
    assert_eq!(dev.with_token(token, "GET", "auth/token/lookup-self", Value::Null).await.0, 200);
    let path = "sys/leases/revoke-prefix/auth/approle/login";
    assert_eq!(dev.root("PUT", path, Value::Null).await.0, 204);
    assert_eq!(dev.with_token(token, "GET", "auth/token/lookup-self", Value::Null).await.0, 403);

    let wrap = With { token: Some(dev.server.root_token()), wrap: "2m", ..With::default() };
    let path = "auth/approle/role/app/secret-id";
    let (_, wrapped) = dev.send(wrap, "POST", path, Value::Null).await;
    assert_eq!(wrapped["wrap_info"]["creation_path"], path);
    let token = wrapped["wrap_info"]["token"].as_str().unwrap();
    let (_, secret) = dev.with_token(token, "POST", "sys/wrapping/unwrap", Value::Null).await;
    let secret_id = &secret["data"]["secret_id"];
    let destroy = json!({"secret_id": secret_id});
    let path = "auth/approle/role/app/secret-id/destroy";
    assert_eq!(dev.root("POST", path, destroy).await.0, 204);
    let login = json!({"role_id": id["data"]["role_id"], "secret_id": secret_id});
    assert_eq!(dev.anonymous("POST", "auth/approle/login", login).await, refused);
}

async fn jwt(public_key: String) -> Dev {
    let dev = Dev::start().await;
    dev.root("POST", "sys/auth/ci", json!({"type": "jwt"})).await;
    let config = json!({"jwt_validation_pubkeys": [public_key], "bound_issuer": "me"});
    assert_eq!(dev.root("POST", "auth/ci/config", config).await.0, 204);
    let role = json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"],
        "bound_claims": {"env": ["prod", "test"]}, "token_policies": ["app"]});
    assert_eq!(dev.root("POST", "auth/ci/role/app", role).await.0, 204);
    dev
}

#[tokio::test]
async fn jwt_checks_signature_and_claims() {
    let key = rcgen::KeyPair::generate().unwrap();
    let random = SystemRandom::new();
    let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let signer = EcdsaKeyPair::from_pkcs8(signing, &key.serialize_der(), &random).unwrap();
    let dev = jwt(key.public_key_pem()).await;
    let good = json!({"iss": "me", "sub": "u", "aud": "vault", "env": "prod", "iat": now(), "exp": now() + 300});
    let login = async |changed: Value| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
        let text = unsigned("ES256", &claims);
        let signature = signer.sign(&random, text.as_bytes()).unwrap();
        let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature));
        let body = json!({"role": "app", "jwt": token});
        let (status, body) = dev.anonymous("POST", "auth/ci/login", body).await;
        (status, body["errors"][0].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(login(json!({})).await, (200, String::new()));
    for (change, part) in [
        (json!({"exp": 1}), "error validating token: invalid expiration time (exp) claim"),
        (json!({"nbf": now() + 900}), "token not yet valid"),
        (json!({"iss": "you"}), "invalid issuer (iss) claim"),
        (json!({"aud": ["other"]}), "invalid audience (aud) claim"),
        (json!({"env": "dev"}), "error validating claims: claim \"env\" does not match"),
    ] {
        let (status, error) = login(change).await;
        assert!(status == 400 && error.contains(part), "{status} {error}");
    }
    dev.server.set_clock_offset(Duration::from_secs(500));
    assert_eq!(login(json!({})).await.0, 400);
    let forged = format!("{}.AAAA", unsigned("ES256", &good));
    let (_, body) =
        dev.anonymous("POST", "auth/ci/login", json!({"role": "app", "jwt": forged})).await;
    assert!(body["errors"][0].as_str().unwrap().contains("error verifying token signature"));
    let (_, body) = dev.anonymous("POST", "auth/ci/login", json!({"role": "no"})).await;
    assert_eq!(body["errors"][0], "role \"no\" could not be found");
}

#[tokio::test]
async fn jwt_takes_rs256() {
    let dev = jwt(RSA_PUBLIC_KEY.to_owned()).await;
    let body = json!({"role": "app", "jwt": RSA_TOKEN});
    assert_eq!(dev.anonymous("POST", "auth/ci/login", body).await.0, 200);
    let other = RSA_TOKEN.replacen("eyJ", "eyK", 2);
    let body = json!({"role": "app", "jwt": other});
    assert_eq!(dev.anonymous("POST", "auth/ci/login", body).await.0, 400);
}

#[tokio::test]
async fn jwt_takes_ed25519() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let signer = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&key.serialize_der()).unwrap();
    let dev = jwt(key.public_key_pem()).await;
    let claims = json!({"iss": "me", "sub": "u", "aud": "vault", "env": "test", "iat": now(), "exp": now() + 300});
    let text = unsigned("EdDSA", &claims);
    let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(signer.sign(text.as_bytes())));
    let (status, body) =
        dev.anonymous("POST", "auth/ci/login", json!({"role": "app", "jwt": token})).await;
    assert_eq!((status, &body["auth"]["metadata"]["role"]), (200, &json!("app")));
}

#[tokio::test]
async fn kubernetes_asks_the_api() {
    // Another dev server plays the Kubernetes API: its script answers the review.
    let (dev, api) = (Dev::start().await, Dev::start().await);
    dev.root("POST", "sys/auth/kubernetes", json!({"type": "kubernetes"})).await;
    let config = json!({"kubernetes_host": api.server.url(), "token_reviewer_jwt": "r"});
    dev.root("POST", "auth/kubernetes/config", config).await;
    let role = json!({"bound_service_account_names": ["app"], "token_policies": ["app"],
        "bound_service_account_namespaces": ["default"], "audience": "vault"});
    assert_eq!(dev.root("POST", "auth/kubernetes/role/app", role).await.0, 204);
    let login = async |name: &str| {
        let claims = json!({"aud": ["vault"], "iat": now(), "exp": now() + 600, "kubernetes.io": {
            "namespace": "default", "serviceaccount": {"name": name, "uid": "1"}}});
        let token = format!("{}.AAAA", unsigned("RS256", &claims));
        let body = json!({"role": "app", "jwt": token});
        dev.anonymous("POST", "auth/kubernetes/login", body).await
    };
    let review = Matcher::post("/apis/authentication.k8s.io/v1/tokenreviews");
    let answer = |status: Value| {
        let body = json!({"kind": "TokenReview", "status": status}).to_string();
        api.server.faults().on(review.clone()).respond(Fault::body(201, "application/json", body));
    };
    answer(json!({"authenticated": true, "audiences": ["vault"],
        "user": {"username": "system:serviceaccount:default:app", "uid": "1"}}));
    let (status, body) = login("app").await;
    assert_eq!((status, &body["auth"]["policies"]), (200, &json!(["app", "default"])));
    assert_eq!(body["auth"]["metadata"]["service_account_name"], "app");

    answer(json!({"authenticated": false, "error": "no"}));
    assert_eq!(login("app").await, (403, json!({"errors": ["permission denied"]})));
    let (status, body) = login("other").await;
    let error = "service account name not authorized";
    assert_eq!((status, body), (403, json!({"errors": [error]})));
    assert_eq!(api.server.requests().len(), 2);
}
