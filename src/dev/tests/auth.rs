use std::time::Duration;

use serde_json::{Value, json};

use super::{Dev, With};

const INVALID: &str = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n";

#[tokio::test]
async fn who_is_refused_and_how() {
    let dev = Dev::start().await;
    let (status, body) = dev.anonymous("GET", "secret/data/a", Value::Null).await;
    assert_eq!((status, body), (403, json!({"errors": ["permission denied"]})));
    let (status, body) = dev.with_token("nope", "GET", "secret/data/a", Value::Null).await;
    assert_eq!((status, body), (403, json!({"errors": [INVALID]})));
    let token = dev.token(r#"path "secret/data/mine" { capabilities = ["read"] }"#).await;
    assert_eq!(dev.with_token(&token, "GET", "secret/data/mine", Value::Null).await.0, 404);
    let (status, body) = dev.with_token(&token, "GET", "secret/data/a", Value::Null).await;
    let denied = "1 error occurred:\n\t* permission denied\n\n";
    assert_eq!((status, body), (403, json!({"errors": [denied]})));
    let data = json!({"data": {}});
    assert_eq!(dev.with_token(&token, "POST", "secret/data/mine", data).await.0, 403);
    let (_, body) = dev
        .with_token(
            &token,
            "POST",
            "sys/capabilities-self",
            json!({"paths": ["secret/data/mine", "x"]}),
        )
        .await;
    assert_eq!(
        (&body["secret/data/mine"], &body["data"]["x"]),
        (&json!(["read"]), &json!(["deny"]))
    );
}

#[tokio::test]
async fn creating_is_not_updating() {
    let dev = Dev::start().await;
    let token = dev.token(r#"path "secret/data/*" { capabilities = ["create"] }"#).await;
    let data = json!({"data": {"a": 1}});
    assert_eq!(dev.with_token(&token, "POST", "secret/data/a", data.clone()).await.0, 200);
    assert_eq!(dev.with_token(&token, "POST", "secret/data/a", data).await.0, 403);
}

#[tokio::test]
async fn tokens_live_renew_and_expire() {
    let dev = Dev::start().await;
    let asked = json!({"policies": ["default"], "ttl": "60s", "explicit_max_ttl": "100s",
        "meta": {"a": "b"}, "display_name": "x"});
    let (_, made) = dev.root("POST", "auth/token/create", asked).await;
    let auth = &made["auth"];
    let token = auth["client_token"].as_str().unwrap();
    assert!(token.starts_with("hvs."));
    assert_eq!((&auth["lease_duration"], &auth["renewable"]), (&json!(60), &json!(true)));
    assert_eq!((&auth["token_type"], &auth["orphan"]), (&json!("service"), &json!(false)));
    assert_eq!(auth["metadata"], json!({"a": "b"}));

    dev.server.set_clock_offset(Duration::from_secs(50));
    let (_, renewed) =
        dev.with_token(token, "POST", "auth/token/renew-self", json!({"increment": "1h"})).await;
    assert_eq!(renewed["auth"]["lease_duration"], 50);
    let (_, seen) = dev.with_token(token, "GET", "auth/token/lookup-self", Value::Null).await;
    assert_eq!((&seen["data"]["ttl"], &seen["data"]["creation_ttl"]), (&json!(50), &json!(60)));
    assert_eq!(seen["data"]["display_name"], "token-x");
    dev.server.set_clock_offset(Duration::from_secs(101));
    let (status, body) = dev.with_token(token, "GET", "auth/token/lookup-self", Value::Null).await;
    assert_eq!((status, body), (403, json!({"errors": [INVALID]})));

    let (_, root) = dev.root("GET", "auth/token/lookup-self", Value::Null).await;
    assert_eq!((&root["data"]["ttl"], &root["data"]["expire_time"]), (&json!(0), &Value::Null));
    assert_eq!(dev.root("POST", "auth/token/renew-self", Value::Null).await.0, 400);
}

#[tokio::test]
async fn children_go_with_their_parent_and_uses_run_out() {
    let dev = Dev::start().await;
    let parent = dev.token(r#"path "auth/token/*" { capabilities = ["update"] }"#).await;
    let (_, child) = dev.with_token(&parent, "POST", "auth/token/create", json!({})).await;
    let child = child["auth"]["client_token"].as_str().unwrap();
    let (status, body) =
        dev.with_token(&parent, "POST", "auth/token/create", json!({"policies": ["other"]})).await;
    assert_eq!(
        (status, body),
        (400, json!({"errors": ["child policies must be subset of parent"]}))
    );
    assert_eq!(dev.with_token(&parent, "POST", "auth/token/revoke-self", Value::Null).await.0, 204);
    assert_eq!(dev.with_token(child, "GET", "auth/token/lookup-self", Value::Null).await.0, 403);

    let (_, twice) = dev.root("POST", "auth/token/create", json!({"num_uses": 2})).await;
    let twice = twice["auth"]["client_token"].as_str().unwrap();
    for status in [200, 200, 403] {
        assert_eq!(
            dev.with_token(twice, "GET", "auth/token/lookup-self", Value::Null).await.0,
            status
        );
    }

    let (_, batch) =
        dev.root("POST", "auth/token/create", json!({"type": "batch", "policies": ["a"]})).await;
    assert_eq!(
        (&batch["auth"]["accessor"], &batch["auth"]["renewable"]),
        (&json!(""), &json!(false))
    );
    dev.server.revoke_all_tokens_but_root();
    let batch = batch["auth"]["client_token"].as_str().unwrap();
    assert_eq!(dev.with_token(batch, "GET", "auth/token/lookup-self", Value::Null).await.0, 403);
    assert_eq!(dev.root("GET", "auth/token/lookup-self", Value::Null).await.0, 200);
}

#[tokio::test]
async fn wrapping_is_for_one_reader() {
    let dev = Dev::start().await;
    dev.root("POST", "secret/data/a", json!({"data": {"x": "y"}})).await;
    let root = dev.server.root_token();
    let wrap = With { token: Some(root), wrap: "60", ..With::default() };
    let (_, wrapped) = dev.send(wrap.clone(), "GET", "secret/data/a", Value::Null).await;
    let info = &wrapped["wrap_info"];
    assert_eq!((&info["ttl"], &info["creation_path"]), (&json!(60), &json!("secret/data/a")));
    assert!(wrapped["data"].is_null());
    let token = info["token"].as_str().unwrap();
    let (_, looked) = dev.anonymous("POST", "sys/wrapping/lookup", json!({"token": token})).await;
    assert_eq!(looked["data"]["creation_ttl"], 60);
    let (_, rewrapped) = dev.with_token(token, "POST", "sys/wrapping/rewrap", Value::Null).await;
    let fresh = rewrapped["wrap_info"]["token"].as_str().unwrap();
    let (status, body) = dev.with_token(token, "POST", "sys/wrapping/unwrap", Value::Null).await;
    let error = "wrapping token is not valid or does not exist";
    assert_eq!((status, body), (400, json!({"errors": [error]})));
    let (_, body) = dev.with_token(fresh, "POST", "sys/wrapping/unwrap", Value::Null).await;
    assert_eq!(body["data"]["data"]["x"], "y");
    assert_eq!(dev.with_token(fresh, "POST", "sys/wrapping/unwrap", Value::Null).await.0, 400);

    let (_, own) = dev.send(wrap.clone(), "POST", "sys/wrapping/wrap", json!({"n": 1})).await;
    let token = json!({"token": own["wrap_info"]["token"]});
    let (_, body) = dev.root("POST", "sys/wrapping/unwrap", token).await;
    assert_eq!(body["data"], json!({"n": 1}));

    let (_, late) = dev.send(wrap, "GET", "secret/data/a", Value::Null).await;
    dev.server.set_clock_offset(Duration::from_secs(61));
    let token = late["wrap_info"]["token"].as_str().unwrap();
    assert_eq!(dev.with_token(token, "POST", "sys/wrapping/unwrap", Value::Null).await.0, 400);
}

#[tokio::test]
async fn namespaces_are_separate() {
    let dev = Dev::start().await;
    let team =
        With { token: Some(dev.server.root_token()), namespace: "team-a/", ..With::default() };
    assert_eq!(dev.send(team.clone(), "GET", "secret/data/a", Value::Null).await.0, 404);
    let (_, made) = dev.root("POST", "sys/namespaces/team-a", Value::Null).await;
    assert_eq!(made["data"]["path"], "team-a/");
    dev.root("POST", "sys/namespaces/team", Value::Null).await;
    let mount = json!({"type": "kv", "options": {"version": "2"}});
    assert_eq!(dev.send(team.clone(), "POST", "sys/mounts/secret", mount).await.0, 204);
    dev.send(team.clone(), "POST", "secret/data/a", json!({"data": {"x": 1}})).await;
    assert_eq!(dev.root("GET", "team-a/secret/data/a", Value::Null).await.0, 200);
    assert_eq!(dev.root("GET", "secret/data/a", Value::Null).await.0, 404);

    let inner = With { namespace: "team", ..team.clone() };
    let (_, made) =
        dev.send(inner, "POST", "auth/token/create", json!({"policies": ["root"]})).await;
    assert!(made["auth"]["client_token"].is_null());
    let (_, made) = dev.send(team, "POST", "auth/token/create", json!({"policies": ["all"]})).await;
    let token = made["auth"]["client_token"].as_str().unwrap();
    let own = With { token: Some(token), namespace: "team-a", ..With::default() };
    let (_, seen) = dev.send(own, "GET", "auth/token/lookup-self", Value::Null).await;
    assert_eq!(seen["data"]["namespace_path"], "team-a/");
    assert_eq!(dev.with_token(token, "GET", "secret/data/a", Value::Null).await.0, 403);
    assert_eq!(dev.root("DELETE", "sys/namespaces/team-a", Value::Null).await.0, 204);
    assert_eq!(dev.root("GET", "sys/namespaces/team", Value::Null).await.0, 200);
    assert_eq!(dev.with_token(token, "GET", "auth/token/lookup-self", Value::Null).await.0, 403);
}

#[tokio::test]
async fn what_the_command_line_asks_first() {
    let dev = Dev::start().await;
    let (_, seen) = dev.root("GET", "sys/internal/ui/mounts/secret/app", Value::Null).await;
    assert_eq!((&seen["data"]["path"], &seen["data"]["type"]), (&json!("secret/"), &json!("kv")));
    assert_eq!(seen["data"]["options"]["version"], "2");
    let token = dev.token(r#"path "other/*" { capabilities = ["read"] }"#).await;
    let path = "sys/internal/ui/mounts/secret/app";
    assert_eq!(dev.with_token(&token, "GET", path, Value::Null).await.0, 403);
    let (_, mounts) = dev.root("GET", "sys/mounts", Value::Null).await;
    assert_eq!(mounts["secret/"]["type"], "kv");
    assert_eq!(mounts["data"]["cubbyhole/"]["local"], true);
    let (_, policies) = dev.root("LIST", "sys/policies/acl", Value::Null).await;
    assert_eq!(policies["data"]["keys"], json!(["default", "test", "root"]));
    let (_, policy) = dev.root("GET", "sys/policy/test", Value::Null).await;
    assert!(policy["rules"].as_str().unwrap().contains("other/*"));
}
