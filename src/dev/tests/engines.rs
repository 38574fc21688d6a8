use serde_json::{Value, json};

use super::{Dev, With};

#[tokio::test]
async fn kv2_keeps_versions() {
    let dev = Dev::start().await;
    let (status, first) = dev.root("POST", "secret/data/app", json!({"data": {"a": "1"}})).await;
    assert_eq!((status, &first["data"]["version"]), (200, &json!(1)));
    assert_eq!(first["data"]["deletion_time"], "");
    dev.root("PUT", "secret/data/app", json!({"data": {"a": "2"}, "options": {"cas": 1}})).await;
    let (status, stale) =
        dev.root("POST", "secret/data/app", json!({"data": {}, "options": {"cas": 1}})).await;
    assert_eq!(status, 400);
    let error = "check-and-set parameter did not match the current version";
    assert_eq!(stale, json!({"errors": [error]}));

    let (_, read) = dev.root("GET", "secret/data/app", Value::Null).await;
    assert_eq!(read["data"]["data"]["a"], "2");
    assert_eq!((&read["lease_duration"], &read["mount_type"]), (&json!(0), &json!("kv")));
    let (_, old) = dev.root("GET", "secret/data/app?version=1", Value::Null).await;
    assert_eq!(old["data"]["data"]["a"], "1");

    assert_eq!(dev.root("DELETE", "secret/data/app", Value::Null).await.0, 204);
    let (status, gone) = dev.root("GET", "secret/data/app", Value::Null).await;
    assert_eq!(status, 404);
    assert!(gone["data"]["data"].is_null() && gone["errors"].is_null());
    assert_ne!(gone["data"]["metadata"]["deletion_time"], "");
    dev.root("POST", "secret/undelete/app", json!({"versions": [2]})).await;
    assert_eq!(dev.root("GET", "secret/data/app", Value::Null).await.0, 200);
    dev.root("POST", "secret/destroy/app", json!({"versions": [2]})).await;
    let (_, destroyed) = dev.root("GET", "secret/data/app", Value::Null).await;
    assert_eq!(destroyed["data"]["metadata"]["destroyed"], true);

    let (_, keys) = dev.root("LIST", "secret/metadata", Value::Null).await;
    assert_eq!(keys["data"]["keys"], json!(["app"]));
    let (_, keys) = dev.root("GET", "secret/metadata/?list=true", Value::Null).await;
    assert_eq!(keys["data"]["keys"], json!(["app"]));
    assert_eq!(dev.root("DELETE", "secret/metadata/app", Value::Null).await.0, 204);
    let (status, missing) = dev.root("GET", "secret/data/app", Value::Null).await;
    assert_eq!((status, missing), (404, json!({"errors": []})));
}

#[tokio::test]
async fn kv2_drops_the_oldest_and_merges_patches() {
    let dev = Dev::start().await;
    dev.root("POST", "secret/metadata/app", json!({"max_versions": 2})).await;
    for number in 0..4 {
        dev.root("POST", "secret/data/app", json!({"data": {"n": number, "o": {"x": 1}}})).await;
    }
    let (_, metadata) = dev.root("GET", "secret/metadata/app", Value::Null).await;
    assert_eq!(metadata["data"]["oldest_version"], 3);
    assert_eq!(metadata["data"]["versions"].as_object().unwrap().len(), 2);

    let merge = With {
        token: Some(dev.server.root_token()),
        content_type: "application/merge-patch+json",
        ..With::default()
    };
    let patch = json!({"data": {"n": null, "o": {"y": 2}}});
    assert_eq!(dev.send(merge, "PATCH", "secret/data/app", patch.clone()).await.0, 200);
    let (_, read) = dev.root("GET", "secret/data/app", Value::Null).await;
    assert_eq!(read["data"]["data"], json!({"o": {"x": 1, "y": 2}}));
    assert_eq!(dev.root("PATCH", "secret/data/app", patch).await.0, 415);
}

#[tokio::test]
async fn numbers_come_back_as_they_are_kept() {
    let dev = Dev::start().await;
    let with = With { token: Some(dev.server.root_token()), ..With::default() };
    let number = "123456789012345678901234567890.12345678901234567890";
    let body = format!(r#"{{"data":{{"n":{number}}}}}"#);
    assert_eq!(dev.text(with.clone(), "POST", "secret/data/n", body.clone()).await.0, 200);
    let (_, text) = dev.text(with.clone(), "GET", "secret/data/n", String::new()).await;
    assert!(text.contains("1.2345678901234568e+29"), "KV version 2 keeps floats: {text}");
    dev.root("POST", "sys/mounts/kv1", json!({"type": "kv"})).await;
    assert_eq!(dev.text(with.clone(), "POST", "kv1/n", body).await.0, 204);
    let (_, text) = dev.text(with, "GET", "kv1/n", String::new()).await;
    assert!(text.contains(number), "{text}");
}

#[tokio::test]
async fn kv1_and_cubbyhole() {
    let dev = Dev::start().await;
    assert_eq!(dev.root("POST", "sys/mounts/kv1", json!({"type": "kv"})).await.0, 204);
    assert_eq!(dev.root("PUT", "kv1/a/b", json!({"x": "y"})).await.0, 204);
    let (_, read) = dev.root("GET", "kv1/a/b", Value::Null).await;
    assert_eq!((&read["data"], &read["lease_duration"]), (&json!({"x": "y"}), &json!(2_764_800)));
    assert_eq!(dev.root("LIST", "kv1", Value::Null).await.1["data"]["keys"], json!(["a/"]));
    let (status, again) = dev.root("POST", "sys/mounts/kv1", json!({"type": "kv"})).await;
    assert_eq!((status, again), (400, json!({"errors": ["path is already in use at kv1/"]})));

    dev.root("PUT", "cubbyhole/mine", json!({"x": "y"})).await;
    let other = dev.token(r#"path "none" { capabilities = ["read"] }"#).await;
    assert_eq!(dev.with_token(&other, "GET", "cubbyhole/mine", Value::Null).await.0, 404);
    assert_eq!(dev.root("GET", "cubbyhole/mine", Value::Null).await.0, 200);
}

#[tokio::test]
async fn where_nothing_is() {
    let dev = Dev::start().await;
    let (status, body) = dev.root("GET", "nope/x", Value::Null).await;
    let error = "no handler for route \"nope/x\". route entry not found.";
    assert_eq!((status, body), (404, json!({"errors": [error]})));
    let (status, body) = dev.root("DELETE", "sys/wrapping/unwrap", Value::Null).await;
    assert_eq!(status, 405);
    assert_eq!(body["errors"][0], "1 error occurred:\n\t* unsupported operation\n\n");
    let (status, body) = dev.root("GET", "secret/app", Value::Null).await;
    assert_eq!(status, 404);
    assert!(body["warnings"][0].as_str().unwrap().contains("vault kv get"));
}

#[tokio::test]
async fn leases_renew_up_to_their_max_and_die_with_their_token() {
    let dev = Dev::start().await;
    dev.root("POST", "sys/mounts/database", json!({"type": "database"})).await;
    dev.root("POST", "database/roles/app", json!({"default_ttl": "1m", "max_ttl": "2m"})).await;
    let token = dev.token(r#"path "database/creds/*" { capabilities = ["read"] }"#).await;
    let (_, creds) = dev.with_token(&token, "GET", "database/creds/app", Value::Null).await;
    let lease = creds["lease_id"].as_str().unwrap();
    assert!(lease.starts_with("database/creds/app/"));
    assert_eq!((&creds["lease_duration"], &creds["renewable"]), (&json!(60), &json!(true)));
    assert!(creds["data"]["password"].is_string());

    let renewal = json!({"lease_id": lease, "increment": 90});
    let (_, renewed) = dev.with_token(&token, "PUT", "sys/leases/renew", renewal.clone()).await;
    assert_eq!((&renewed["lease_duration"], &renewed["data"]), (&json!(90), &Value::Null));
    dev.server.set_clock_offset(std::time::Duration::from_secs(80));
    let (_, renewed) = dev.with_token(&token, "PUT", "sys/leases/renew", renewal.clone()).await;
    assert_eq!(renewed["lease_duration"], 40);
    let (_, looked) = dev.root("PUT", "sys/leases/lookup", json!({"lease_id": lease})).await;
    assert_eq!((&looked["data"]["id"], &looked["data"]["ttl"]), (&json!(lease), &json!(40)));

    let (_, second) = dev.with_token(&token, "GET", "database/creds/app", Value::Null).await;
    dev.root("POST", "auth/token/revoke", json!({"token": token})).await;
    let (status, body) =
        dev.root("PUT", "sys/leases/renew", json!({"lease_id": second["lease_id"]})).await;
    assert_eq!((status, body), (400, json!({"errors": ["lease not found"]})));
    dev.server.set_clock_offset(std::time::Duration::from_secs(200));
    let (status, body) = dev.root("PUT", "sys/leases/lookup", json!({"lease_id": lease})).await;
    assert_eq!((status, body), (400, json!({"errors": ["invalid lease"]})));
}

#[tokio::test]
async fn leases_are_revoked_by_prefix_and_may_be_final() {
    let dev = Dev::start().await;
    dev.root("POST", "sys/mounts/database", json!({"type": "database"})).await;
    dev.root("POST", "database/roles/app", json!({"renewable": false})).await;
    let (_, creds) = dev.root("GET", "database/creds/app", Value::Null).await;
    assert_eq!((&creds["lease_duration"], &creds["renewable"]), (&json!(3600), &json!(false)));
    let id = json!({"lease_id": creds["lease_id"]});
    let (_, body) = dev.root("PUT", "sys/leases/renew", id.clone()).await;
    assert_eq!(body, json!({"errors": ["lease is not renewable"]}));
    assert_eq!(dev.root("LIST", "sys/leases/lookup/database/creds/app", Value::Null).await.0, 200);
    let path = "sys/leases/revoke-prefix/database";
    assert_eq!(dev.root("PUT", path, Value::Null).await.0, 204);
    assert_eq!(dev.root("PUT", "sys/leases/lookup", id.clone()).await.0, 400);
    assert_eq!(dev.root("PUT", "sys/leases/revoke", id).await.0, 204);
}

#[tokio::test]
async fn a_static_role_is_rotated_in_time() {
    let dev = Dev::start().await;
    dev.root("POST", "sys/mounts/database", json!({"type": "database"})).await;
    let path = "database/static-roles/app";
    for wrong in [json!({"rotation_period": "1h"}), json!({"username": "u", "rotation_period": 1})]
    {
        assert_eq!(dev.root("POST", path, wrong).await.0, 400);
    }
    let role = json!({"username": "u", "rotation_period": "1h", "db_name": "db"});
    assert_eq!(dev.root("POST", path, role).await.0, 204);
    let (status, first) = dev.root("GET", "database/static-creds/app", Value::Null).await;
    assert_eq!((status, &first["lease_id"]), (200, &json!("")));
    let first = &first["data"];
    assert_eq!((&first["rotation_period"], &first["username"]), (&json!(3600), &json!("u")));
    assert!(first["ttl"].as_u64().unwrap() > 3500);
    dev.server.set_clock_offset(std::time::Duration::from_mins(61));
    let (_, next) = dev.root("GET", "database/static-creds/app", Value::Null).await;
    assert_ne!(next["data"]["password"], first["password"]);
    assert_ne!(next["data"]["last_vault_rotation"], first["last_vault_rotation"]);
    assert_eq!(dev.root("GET", "database/static-creds/none", Value::Null).await.0, 400);
}
