//! Keystores at the local door.

use super::*;
use crate::certificate::KeystoreForm;
use crate::certificate::tests::served_with;

const CANARY: &str = "canary keystore password";

fn door() -> Running {
    door_with(Duration::from_secs(59))
}

/// With an issuance that lives so long yet.
fn door_with(left: Duration) -> Running {
    let rules = vec![rule("app", Some("t-app"), &["db"]), everything("all", "t-all")];
    let door = start(rules, limits());
    let secret = Arc::new(served_with(rcgen::KeyPair::generate().unwrap()));
    let served = Served {
        secret,
        version: 3,
        freshness: Freshness::Fresh,
        age: Duration::ZERO,
        expires_in: Some(left),
    };
    door.source.set("cert", Ok(served));
    door
}

fn path(form: KeystoreForm) -> String {
    format!("/certificates/cert/{}", form.name())
}

fn with_password(password: &str) -> String {
    format!("Sidekey-Keystore-Password: {password}\r\n")
}

#[tokio::test]
async fn each_has_its_type_and_the_tag_of_the_issuance() {
    let door = door();
    let whole = door.get("/certificates/cert").await;
    let etag = whole.header("etag").unwrap();
    for form in KeystoreForm::ALL {
        let reply = door.get_with(&path(form), &with_password(CANARY)).await;
        assert_eq!(reply.status, 200, "{}", form.name());
        assert_eq!(reply.header("content-type"), Some(form.content_type()));
        assert_eq!(reply.header("etag"), Some(etag));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("sidekey-version"), Some("3"));
        assert_eq!(reply.header("sidekey-expires-in"), Some("59"));
        assert_eq!(reply.header("sidekey-keystore-password"), None, "who asks knows it");
        assert!(!reply.head.contains(CANARY));
        assert!(reply.body.len() > 400, "{}", form.name());
    }
    door.stop().await;
}

#[tokio::test]
async fn a_generated_password_is_another_one_each_time() {
    let door = door();
    let mut seen = std::collections::BTreeSet::new();
    for form in KeystoreForm::ALL {
        for _ in 0..2 {
            let reply = door.get(&path(form)).await;
            assert_eq!(reply.status, 200);
            let password = reply.header("sidekey-keystore-password").unwrap().to_owned();
            assert_eq!(password.len(), 32);
            assert!(seen.insert(password), "it was used before");
        }
    }
    door.stop().await;
}

/// Whoever has the issuance gets none, and whatever fills the line does not matter then.
#[tokio::test]
async fn a_known_tag_needs_no_keystore() {
    let door = door();
    let whole = door.get("/certificates/cert").await;
    let known = format!("If-None-Match: {}\r\n", whole.header("etag").unwrap());
    let _full = door.keystores.fill();
    for form in KeystoreForm::ALL {
        for headers in [known.clone(), known.clone() + &with_password(CANARY)] {
            let reply = door.get_with(&path(form), &headers).await;
            assert_eq!((reply.status, reply.text()), (304, ""), "{}", form.name());
            assert_eq!(reply.header("sidekey-keystore-password"), None);
        }
    }
    door.stop().await;
}

#[tokio::test]
async fn a_full_line_is_told_and_nobody_else_waits() {
    let door = door();
    let full = door.keystores.fill();
    let reply = door.get("/certificates/cert/keystore.p12").await;
    assert_eq!((reply.status, &*reply.code()), (429, "too_many_requests"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(door.get("/certificates/cert/key.pem").await.status, 200);
    assert_eq!(door.get("/secrets/db").await.status, 200);
    drop(full);
    assert_eq!(door.get("/certificates/cert/keystore.p12").await.status, 200);
    door.stop().await;
}

#[tokio::test]
async fn a_password_that_it_cannot_have_is_refused_and_not_repeated() {
    let door = door();
    let long = format!("canary{}", "x".repeat(128));
    for headers in [
        with_password(""),
        with_password("  "),
        with_password("canary\tcanary"),
        with_password("canary-pässword"),
        with_password(&long),
        with_password("canary") + &with_password("canary"),
    ] {
        for form in KeystoreForm::ALL {
            let reply = door.get_with(&path(form), &headers).await;
            assert_eq!((reply.status, &*reply.code()), (400, "keystore_password_refused"));
            assert!(!reply.text().contains("canary") && !reply.head.contains("canary"));
        }
    }
    door.stop().await;
}

#[tokio::test]
async fn profiles_are_for_pkcs12() {
    let door = door();
    for (target, status) in [
        ("keystore.p12?profile=modern", 200),
        ("keystore.p12?profile=legacy&min_ttl=10s", 200),
        ("truststore.p12?profile=legacy", 200),
        ("keystore.p12?profile=old", 400),
        ("keystore.p12?profile=", 400),
        ("keystore.jks?profile=modern", 400),
        ("keystore.p12?password=canary", 400),
        ("keystore.p12?min_ttl=10m", 503),
        ("keystore.pfx", 404),
        ("KEYSTORE.P12", 404),
    ] {
        let reply = door.get(&format!("/certificates/cert/{target}")).await;
        assert_eq!(reply.status, status, "{target}");
    }
    door.stop().await;
}

/// A derivation takes longer than that.
#[tokio::test]
async fn what_ends_while_it_is_made_is_not_served() {
    let door = door_with(Duration::from_micros(1));
    let reply = door.get("/certificates/cert/keystore.p12").await;
    assert_eq!((reply.status, &*reply.code()), (503, "expired"));
    assert_eq!(reply.header("sidekey-keystore-password"), None);
    door.stop().await;
}

#[tokio::test]
async fn rules_hold_for_keystores_too() {
    let door = door();
    for form in KeystoreForm::ALL {
        let head = "Host: {HOST}\r\nAuthorization: Bearer t-app";
        let reply = door.ask(&format!("GET {} HTTP/1.1\r\n{head}\r\n\r\n", path(form))).await;
        assert_eq!((reply.status, &*reply.code()), (403, "caller_denied"));
    }
    let head = door.ask("HEAD /certificates/cert/keystore.p12 HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer t-all\r\n\r\n").await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("application/pkcs12")));
    door.stop().await;
}
