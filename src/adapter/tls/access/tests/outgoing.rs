//! What the application is told.

use super::*;

fn forwarding(spec: &mut JwtSpec) {
    let header = |claim: &str, name: &'static str| (claim.into(), HeaderName::from_static(name));
    spec.forward = vec![header("sub", "x-user"), header("groups", "x-groups")];
}

async fn applied(
    scene: &Scene,
    claims: &Value,
    headers: &[(&str, &str)],
) -> Result<HeaderMap, Refusal> {
    let bearer = format!("Bearer {}", scene.token(claims));
    let all = [&[("Authorization", bearer.as_str())], headers].concat();
    let mut parts = request("GET", "/", &all);
    scene.access.decide(&Identity::default(), &parts).await?.apply(&mut parts.headers);
    Ok(parts.headers)
}

#[tokio::test]
async fn only_we_say_who_it_is() {
    let scene = Scene::with(forwarding, Vec::new()).await;
    let claims = json!({ "groups": ["dev", "ops"] });
    let forged = [
        ("X-User", "root"),
        ("x_user", "root"),
        ("X-Groups", "root"),
        ("X-Groups", "all"),
        ("X-Users", "stays"),
    ];
    let headers = applied(&scene, &claims, &forged).await.unwrap();
    let mut found: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
    found.sort();
    assert_eq!(found, ["x-groups=dev,ops", "x-user=alice", "x-users=stays"]);
    // A claim that is not there makes no header, and lets none in.
    let headers = applied(&scene, &json!({ "sub": null }), &forged).await.unwrap();
    assert!(!headers.contains_key("x-user") && !headers.contains_key("x_user"));
}

#[tokio::test]
async fn a_claim_with_two_meanings_is_not_passed_on() {
    let scene = Scene::with(forwarding, Vec::new()).await;
    for claims in [
        json!({ "sub": "a\r\nX-Admin: 1" }),
        json!({ "sub": "a\0b" }),
        json!({ "sub": "zoë" }),
        json!({ "sub": " a" }),
        json!({ "sub": "" }),
        json!({ "groups": { "a": 1 } }),
        json!({ "groups": ["dev,ops"] }),
        json!({ "groups": [["dev"]] }),
    ] {
        let refused = applied(&scene, &claims, &[]).await.err();
        assert_eq!(refused, Some(Refusal::ClaimUnusable), "{claims}");
    }
    let headers = applied(&scene, &json!({ "groups": [5, true, "a b"] }), &[]).await.unwrap();
    assert_eq!(headers["x-groups"], "5,true,a b");
}

#[tokio::test]
async fn the_token_goes_no_further_unless_it_shall() {
    let scene = Scene::with(|_| {}, Vec::new()).await;
    let headers = applied(&scene, &json!({}), &[("accept", "a")]).await.unwrap();
    assert_eq!(headers.len(), 1);
    let scene = Scene::with(|spec| spec.pass_token = true, Vec::new()).await;
    let headers = applied(&scene, &json!({}), &[]).await.unwrap();
    assert!(headers["authorization"].to_str().unwrap().starts_with("Bearer "));

    // Of another header, with the application's own password left alone.
    for passed in [false, true] {
        let change = |spec: &mut JwtSpec| {
            spec.header = HeaderName::from_static("x-id-token");
            spec.pass_token = passed;
        };
        let scene = Scene::with(change, Vec::new()).await;
        let token = scene.token(&json!({}));
        let headers = [
            ("X-Id-Token", token.as_str()),
            ("x_id_token", "forged"),
            ("Authorization", "Basic eDp5"),
        ];
        let mut parts = request("GET", "/", &headers);
        let admitted = scene.access.decide(&Identity::default(), &parts).await.unwrap();
        admitted.apply(&mut parts.headers);
        assert_eq!(parts.headers.contains_key("x-id-token"), passed);
        assert!(!parts.headers.contains_key("x_id_token"));
        assert_eq!(parts.headers["authorization"], "Basic eDp5");
    }
    let scene = Scene::with(|spec| spec.required = false, Vec::new()).await;
    let mut parts = request("GET", "/", &[("Authorization", "Basic eDp5")]);
    scene.access.decide(&Identity::default(), &parts).await.unwrap().apply(&mut parts.headers);
    assert_eq!(parts.headers["authorization"], "Basic eDp5");
}
