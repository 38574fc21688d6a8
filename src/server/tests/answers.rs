//! What an admitted request gets.

use std::time::SystemTime;

use super::*;

#[tokio::test]
async fn a_whole_secret_is_what_vault_sent() {
    let door = start(default_rules(), limits());
    let reply = door.get("/secrets/db").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.text(), r#"{"password":"canary-db","port":5432,"o":{"a":1}}"#);
    for (name, value) in [
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("sidekey-freshness", "fresh"),
        ("sidekey-version", "7"),
        ("vary", "Accept"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
    assert!(reply.header("date").is_some() && reply.header("server").is_none());
    assert!(reply.header("sidekey-expires-in").is_none());
    let etag = reply.header("etag").unwrap();
    assert!(etag.len() == 34 && etag.starts_with('"') && etag.ends_with('"'));
    door.stop().await;
}

#[tokio::test]
async fn fields_are_bare() {
    let door = start(default_rules(), limits());
    door.source.set("web", Ok(served(r#"{"a/b é":"x\ny","":"e","n":null,"l":[1, 2]}"#)));
    for (target, body, kind) in [
        ("/secrets/db/password", "canary-db", "text/plain; charset=utf-8"),
        ("/secrets/db/port", "5432", "text/plain; charset=utf-8"),
        ("/secrets/db/o", r#"{"a":1}"#, "application/json"),
        ("/secrets/web/a%2Fb%20%C3%A9", "x\ny", "text/plain; charset=utf-8"),
        ("/secrets/web/n", "null", "text/plain; charset=utf-8"),
        ("/secrets/web/l", "[1, 2]", "application/json"),
    ] {
        let reply = door.get(target).await;
        assert_eq!((reply.status, reply.text()), (200, body), "{target}");
        assert_eq!(reply.header("content-type"), Some(kind), "{target}");
        assert_eq!(reply.header("vary"), None);
    }
    let missing = door.get("/secrets/db/Password").await;
    assert_eq!((missing.status, &*missing.code()), (404, "unknown_field"));
    door.stop().await;
}

#[tokio::test]
async fn other_forms_are_asked_for_by_parameter_or_accept() {
    let door = start(default_rules(), limits());
    door.source.set("web", Ok(served(r#"{"a":"1 2"}"#)));
    let json = door.get("/secrets/web").await;
    let json_tag = json.header("etag").unwrap().trim_matches('"').to_owned();
    for (format, accept, body, kind) in [
        ("env", "text/plain", "a='1 2'\n", "text/plain; charset=utf-8"),
        ("yaml", "application/yaml", "a: \"1 2\"\n", "application/yaml"),
        (
            "properties",
            "text/x-java-properties",
            "a=1 2\n",
            "text/x-java-properties; charset=utf-8",
        ),
    ] {
        // The parameter wins over the header.
        let by_name =
            door.get_with(&format!("/secrets/web?format={format}"), "Accept: image/png\r\n").await;
        let by_accept = door.get_with("/secrets/web", &format!("Accept: {accept}\r\n")).await;
        assert_eq!(by_name.header("vary"), None);
        assert_eq!(by_accept.header("vary"), Some("Accept"));
        for reply in [by_name, by_accept] {
            assert_eq!((reply.status, reply.text()), (200, body));
            assert_eq!(reply.header("content-type"), Some(kind));
            assert_eq!(reply.header("etag"), Some(&*format!("\"{json_tag}-{format}\"")));
        }
    }
    door.source.set("web", Ok(served(r#"{"a":"x\u0000canary"}"#)));
    let reply = door.get("/secrets/web?format=env").await;
    assert_eq!((reply.status, &*reply.code()), (422, "unrepresentable"));
    assert!(reply.text().contains("\\\"a\\\"") && !reply.text().contains("canary"));
    door.stop().await;
}

#[tokio::test]
async fn what_the_asker_has_is_not_sent_again() {
    let door = start(default_rules(), limits());
    let first = door.get("/secrets/db/password").await;
    let etag = first.header("etag").unwrap();
    for tags in [etag.to_owned(), format!("W/{etag}"), "*".into(), format!("\"x\", {etag}")] {
        let reply =
            door.get_with("/secrets/db/password", &format!("If-None-Match: {tags}\r\n")).await;
        assert_eq!((reply.status, reply.body.len()), (304, 0), "{tags}");
        assert_eq!(reply.header("etag"), Some(etag));
        assert_eq!(reply.header("sidekey-version"), Some("7"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    let other = door.get_with("/secrets/db/password", "If-None-Match: \"x\"\r\n").await;
    assert_eq!(other.status, 200);
    // A missing field stays missing.
    let missing = door.get_with("/secrets/db/none", "If-None-Match: *\r\n").await;
    assert_eq!(missing.status, 404);
    door.source.set("db", Ok(Served { version: 8, ..served(r#"{"password":"next"}"#) }));
    let changed =
        door.get_with("/secrets/db/password", &format!("If-None-Match: {etag}\r\n")).await;
    assert_eq!((changed.status, changed.header("sidekey-version")), (200, Some("8")));
    door.stop().await;
}

#[tokio::test]
async fn a_field_has_a_tag_of_its_own() {
    let door = start(default_rules(), limits());
    let key = EtagKey::random().unwrap();
    let set = |json: &str| {
        let secret = Arc::new(render(json, &key, None, None).unwrap());
        door.source.set("web", Ok(Served { secret, ..served("{}") }));
    };
    let tag = async |target: &str| door.get(target).await.header("etag").unwrap().to_owned();
    set(r#"{"a":"1","b":"1","c":1,"d":"[]","e":[]}"#);
    let (whole, a) = (tag("/secrets/web").await, tag("/secrets/web/a").await);
    assert_ne!(a, tag("/secrets/web/c").await, "a number is no text");
    assert_ne!(tag("/secrets/web/d").await, tag("/secrets/web/e").await);
    set(r#"{"b":"2","a":"1"}"#);
    assert_eq!(tag("/secrets/web/a").await, a);
    assert_ne!(tag("/secrets/web/b").await, a);
    assert_ne!(tag("/secrets/web").await, whole);
    door.stop().await;
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let door = start(default_rules(), limits());
    let head = "HEAD /secrets/db/password HTTP/1.1\r\nHost: {HOST}\r\nX-Vault-Token: t-app\r\n\r\n";
    let reply = door.ask(head).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert_eq!(reply.header("content-length"), Some("9"));
    assert!(reply.header("etag").is_some());
    door.stop().await;
}

#[tokio::test]
async fn base64_is_decoded_on_request() {
    let door = start(default_rules(), limits());
    door.source.set("web", Ok(served(r#"{"bin":"AAH/\n","n":1234,"t":"no base64"}"#)));
    let reply = door.get("/secrets/web/bin?encoding=base64").await;
    assert_eq!((reply.status, &reply.body[..]), (200, &[0, 1, 255][..]));
    assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
    for target in ["/secrets/web/n?encoding=base64", "/secrets/web/t?encoding=base64"] {
        let reply = door.get(target).await;
        assert_eq!((reply.status, &*reply.code()), (422, "not_base64"), "{target}");
        assert!(!reply.text().contains("no base64"));
    }
    let reply = door.get("/secrets/web/bin?encoding=hex").await;
    assert_eq!((reply.status, &*reply.code()), (400, "bad_request"));
    door.stop().await;
}

#[tokio::test]
async fn a_typing_error_in_a_parameter_is_named() {
    let door = start(default_rules(), limits());
    let reply = door.get("/secrets/db?fromat=env").await;
    assert!(reply.json()["detail"].as_str().unwrap().contains("\"fromat\""));
    let reply = door.get("/secrets/db?%3Cx%3E=env").await;
    assert!(!reply.text().contains("3C"));
    door.stop().await;
}

#[tokio::test]
async fn versions_are_asked_of_the_source() {
    let door = start(default_rules(), limits());
    assert_eq!(door.get("/secrets/db?version=7").await.status, 200);
    let reply = door.get("/secrets/db/password?version=3").await;
    assert_eq!((reply.status, &*reply.code()), (404, "version_missing"));
    door.stop().await;
}

#[tokio::test]
async fn the_listing_names_what_the_caller_may_read_and_fetches_nothing() {
    let door = start(default_rules(), limits());
    let stale = Served { freshness: Freshness::Stale, ..served("{}") };
    door.source.set("slow", Ok(stale));
    let as_app = "GET /secrets HTTP/1.1\r\nHost: {HOST}\r\nX-Vault-Token: t-app\r\n\r\n";
    let reply = door.ask(as_app).await;
    let expected = serde_json::json!({"secrets": [
        {"name": "db", "version": 7, "freshness": "fresh"},
        {"name": "slow", "version": 7, "freshness": "stale"},
    ]});
    assert_eq!(reply.json(), expected);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let all = door.get("/secrets").await;
    assert_eq!(all.json()["secrets"].as_array().unwrap().len(), 4);
    assert!(all.json()["secrets"][0]["version"].is_null(), "big was never fetched");
    let again = format!("If-None-Match: {}\r\n", all.header("etag").unwrap());
    assert_eq!(door.get_with("/secrets", &again).await.status, 304);
    assert!(!all.text().contains("canary"));
    assert_eq!(door.calls(), 0);
    door.stop().await;
}

#[tokio::test]
async fn a_refresh_answers_with_the_new_version_and_not_too_often() {
    let door = start(default_rules(), limits());
    let request = "POST /secrets/db/refresh HTTP/1.1\r\nHost: {HOST}\r\nX-Vault-Token: t-app\r\n\
        If-None-Match: *\r\n\r\n";
    let reply = door.ask(request).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json(), serde_json::json!({"name": "db", "version": 8, "freshness": "fresh"}));
    assert_eq!(reply.header("sidekey-version"), Some("8"));
    let reply = door.ask(request).await;
    assert_eq!((reply.status, &*reply.code()), (429, "too_many_requests"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(door.calls(), 1);
    door.stop().await;
}

#[tokio::test]
async fn every_error_of_the_source_has_its_answer() {
    let door = start(default_rules(), limits());
    let wait = Some(Duration::from_secs(9));
    for (error, status, code) in [
        (ReadError::NotReady, 503, "not_ready"),
        (ReadError::Unavailable { retry_after: wait }, 503, "upstream_unavailable"),
        (ReadError::NoSecretMemory, 503, "no_secret_memory"),
        (ReadError::Expired, 503, "expired"),
        (ReadError::Denied, 503, "upstream_denied"),
        (ReadError::Missing, 404, "secret_missing"),
        (ReadError::Deleted, 404, "version_deleted"),
        (ReadError::Destroyed, 404, "version_destroyed"),
        (ReadError::NoSuchVersion, 404, "version_missing"),
        (ReadError::Malformed, 502, "upstream_malformed"),
        (ReadError::TooLarge, 502, "upstream_too_large"),
    ] {
        for name in ["db", "slow"] {
            door.source.set(name, Err(error.clone()));
            let reply = door.get(&format!("/secrets/{name}")).await;
            assert_eq!((reply.status, &*reply.code()), (status, code));
            assert_eq!(reply.header("retry-after").is_some(), status == 503);
        }
    }
    door.stop().await;
}

#[tokio::test]
async fn leased_values_say_how_long_they_live() {
    let door = start(default_rules(), limits());
    let leased = Served { expires_in: Some(Duration::from_millis(59_900)), ..served("{}") };
    door.source.set("db", Ok(leased));
    assert_eq!(door.get("/secrets/db").await.header("sidekey-expires-in"), Some("59"));
    door.stop().await;
}

#[tokio::test]
async fn aws_gets_its_credentials_and_their_end() {
    let door = start(default_rules(), limits());
    let keys = r#"{"access_key":"AKIA","secret_key":"canary-aws","security_token":"canary-sts"}"#;
    let leased = Served { expires_in: Some(Duration::from_hours(1)), ..served(keys) };
    door.source.set("web", Ok(leased));
    let reply = door.get("/aws/web").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    assert_eq!(reply.header("sidekey-expires-in"), Some("3600"));
    assert!(reply.header("etag").unwrap().ends_with("-aws\""));
    let document = reply.json();
    assert_eq!(document["AccessKeyId"], "AKIA");
    assert_eq!(document["SecretAccessKey"], "canary-aws");
    assert_eq!(document["Token"], "canary-sts");
    let hour = crate::observe::timestamp(SystemTime::now() + Duration::from_hours(1));
    let minute = |time: &str| time[..16].to_owned();
    let said = minute(document["Expiration"].as_str().unwrap());
    assert!(said == minute(&hour) || said < minute(&hour), "{said}");
    assert!(said > minute(&crate::observe::timestamp(SystemTime::now())), "{said}");

    let reply = door.get("/aws/db").await;
    assert_eq!((reply.status, &*reply.code()), (422, "unrepresentable"));
    assert!(reply.text().contains("from access_key, aws_access_key_id"), "{}", reply.text());
    assert_eq!(door.get("/aws/web?format=env").await.status, 400);
    assert_eq!(door.get("/aws/cert").await.status, 404);
    door.stop().await;
}
