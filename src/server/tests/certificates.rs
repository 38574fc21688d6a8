//! Certificates at the local door.

use std::time::SystemTime;

use super::*;
use crate::certificate::Form;
use crate::lease::{Handle, Lease, TokenLife};

/// Every form is its own name in capitals.
fn issuance() -> Served {
    let json = r#"{"serial_number":"0a:0b"}"#;
    let mut text = json.to_owned();
    let ranges: Vec<_> = Form::ALL
        .into_iter()
        .map(|form| {
            let start = text.len();
            text.push_str(&form.name().to_uppercase());
            (form.name(), start..text.len())
        })
        .collect();
    let serial = "0a:0b".into();
    let lease = Lease {
        handle: Handle::Certificate { mount: "pki".into(), serial, revoke: true },
        duration: Duration::from_mins(1),
        ends_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000)),
        renewable: false,
        replace_at_percent: Some(67),
        token: Arc::new(TokenLife::new(None, false)),
    };
    let etags = EtagKey::random().unwrap();
    let plaintext = SecretBuf::copy_from(text.as_bytes());
    let secret = Secret::assembled(plaintext, 0..json.len(), ranges, &etags, lease);
    Served {
        secret: Arc::new(secret),
        version: 3,
        freshness: Freshness::Fresh,
        age: Duration::ZERO,
        expires_in: Some(Duration::from_secs(59)),
    }
}

fn door() -> Running {
    let rules = vec![
        rule("web", Some("t-web"), &["cert"]),
        rule("app", Some("t-app"), &["db"]),
        everything("all", "t-all"),
    ];
    let door = start(rules, limits());
    door.source.set("cert", Ok(issuance()));
    door
}

#[tokio::test]
async fn every_form_has_its_type_and_all_have_one_tag() {
    let door = door();
    let whole = door.get("/certificates/cert").await;
    assert_eq!((whole.status, whole.text()), (200, r#"{"serial_number":"0a:0b"}"#));
    assert_eq!(whole.header("content-type"), Some("application/json"));
    assert_eq!(whole.header("sidekey-expires-in"), Some("59"));
    assert_eq!(whole.header("vary"), None);
    let etag = whole.header("etag").unwrap();
    for form in Form::ALL {
        let path = format!("/certificates/cert/{}", form.name());
        let reply = door.get(&path).await;
        assert_eq!((reply.status, reply.text()), (200, &*form.name().to_uppercase()));
        assert_eq!(reply.header("content-type"), Some(form.content_type()));
        assert_eq!(reply.header("etag"), Some(etag));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        let again = door.get_with(&path, &format!("If-None-Match: {etag}\r\n")).await;
        assert_eq!((again.status, again.text()), (304, ""));
    }
    door.stop().await;
}

#[tokio::test]
async fn a_name_is_one_thing_or_the_other() {
    let door = door();
    for (target, code) in [
        ("/secrets/cert", "unknown_name"),
        ("/secrets/cert/key.pem", "unknown_name"),
        ("/certificates/db", "unknown_name"),
        ("/certificates/db/password", "unknown_name"),
        ("/certificates/nothing", "unknown_name"),
        ("/certificates/cert/password", "unknown_form"),
        // This issuance is no PEM.
        ("/certificates/cert/keystore.p12", "upstream_malformed"),
        ("/certificates/cert/truststore.jks", "upstream_malformed"),
        ("/certificates/cert?version=1", "bad_request"),
        ("/certificates/cert?format=env", "bad_request"),
        ("/certificates/cert/key.pem/x", "not_found"),
    ] {
        let reply = door.get(target).await;
        assert_eq!(reply.code(), code, "{target}");
    }
    door.stop().await;
}

#[tokio::test]
async fn rules_hold_for_certificates_too() {
    let door = door();
    let get = async |target: &str, token: &str| {
        let head = format!("Host: {{HOST}}\r\nAuthorization: Bearer {token}");
        door.ask(&format!("GET {target} HTTP/1.1\r\n{head}\r\n\r\n")).await
    };
    assert_eq!(get("/certificates/cert/key.pem", "t-web").await.status, 200);
    for (target, token) in [
        ("/certificates/cert/key.pem", "t-app"),
        ("/certificates/cert", "t-app"),
        ("/certificates/nothing", "t-app"),
        ("/secrets/db", "t-web"),
        // It may ask for the name, which is no secret's: the same answer as for a foreign one.
        ("/secrets/cert", "t-web"),
    ] {
        let reply = get(target, token).await;
        assert_eq!((reply.status, &*reply.code()), (403, "caller_denied"), "{target}");
    }
    let listed = |reply: Reply| reply.json();
    let mine = listed(get("/certificates", "t-web").await);
    assert_eq!(mine["certificates"][0]["serial_number"], "0a:0b");
    assert_eq!(mine["certificates"][0]["expiration"], 1_900_000_000);
    assert_eq!(listed(get("/certificates", "t-app").await)["certificates"], serde_json::json!([]));
    assert_eq!(listed(get("/secrets", "t-web").await)["secrets"], serde_json::json!([]));
    door.stop().await;
}
