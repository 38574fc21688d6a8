//! Rules, uids, rates and reloads.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;

use super::*;

fn our_uid() -> u32 {
    std::fs::metadata("/proc/self").unwrap().uid()
}

fn with_uids(rule: CallerRule, uids: &[u32]) -> CallerRule {
    CallerRule { uids: Some(uids.iter().copied().collect::<BTreeSet<_>>()), ..rule }
}

async fn status(door: &Running, target: &str, token: &str) -> u16 {
    let head = format!("Host: {{HOST}}\r\nAuthorization: Bearer {token}\r\n");
    door.ask(&format!("GET {target} HTTP/1.1\r\n{head}\r\n")).await.status
}

async fn over_unix(door: &Running, target: &str) -> Reply {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net as unix;
    let addr = unix::SocketAddr::from_abstract_name(door.unix.as_str()).unwrap();
    let stream = unix::UnixStream::connect_addr(&addr).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut client = Client::new(tokio::net::UnixStream::from_std(stream).unwrap());
    client.ask(&format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await.unwrap()
}

#[tokio::test]
async fn the_kernel_names_the_caller_on_every_transport() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let rules = vec![with_uids(rule("me", None, &["db"]), &[our_uid()])];
        let door = start_on(listen, rules, limits(), None);
        let request = format!("GET /secrets/db HTTP/1.1\r\nHost: {}\r\n\r\n", door.addr);
        let mut client = door.connect().await;
        assert_eq!(client.ask(&request).await.unwrap().status, 200, "{listen}");
        assert_eq!(over_unix(&door, "/secrets/db").await.status, 200);
        assert_eq!(over_unix(&door, "/secrets/web").await.status, 403);
        door.stop().await;
    }
}

#[tokio::test]
async fn another_uid_is_unknown() {
    let rules = vec![with_uids(rule("other", None, &["db"]), &[our_uid() + 1])];
    let door = start(rules, limits());
    assert_eq!(status(&door, "/secrets/db", "any").await, 401);
    assert_eq!(over_unix(&door, "/secrets/db").await.status, 401);
    door.stop().await;
}

#[tokio::test]
async fn all_conditions_of_a_rule_must_hold() {
    let rules = vec![with_uids(rule("both", Some("t"), &["db"]), &[our_uid()])];
    let door = start(rules, limits());
    assert_eq!(status(&door, "/secrets/db", "t").await, 200);
    assert_eq!(status(&door, "/secrets/db", "x").await, 401);
    door.stop().await;
    let rules = vec![with_uids(rule("both", Some("t"), &["db"]), &[our_uid() + 1])];
    let door = start(rules, limits());
    assert_eq!(status(&door, "/secrets/db", "t").await, 401);
    door.stop().await;
}

#[tokio::test]
async fn any_matching_rule_may_grant_the_name() {
    let rules = vec![rule("one", Some("t"), &["db"]), rule("two", Some("t"), &["slow"])];
    let door = start(rules, limits());
    assert_eq!(status(&door, "/secrets/db", "t").await, 200);
    assert_eq!(status(&door, "/secrets/slow", "t").await, 200);
    assert_eq!(status(&door, "/secrets/web", "t").await, 403);
    door.stop().await;
}

#[tokio::test]
async fn refusals_and_rates_end_in_429() {
    let few = Limits { refusals_per_second: 2, requests_per_second: Some(3), ..limits() };
    let door = start(default_rules(), few);
    assert_eq!(status(&door, "/secrets/db", "wrong").await, 401);
    assert_eq!(status(&door, "/secrets/db", "wrong").await, 401);
    let reply = door.ask("GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\n\r\n").await;
    assert_eq!((reply.status, &*reply.code()), (429, "too_many_requests"));
    assert!(reply.header("retry-after").is_some());
    // A good token is not shut out by somebody else's guesses, and each rule has its own limit.
    for _ in 0..3 {
        assert_eq!(status(&door, "/secrets/db", "t-app").await, 200);
    }
    assert_eq!(status(&door, "/secrets/db", "t-app").await, 429);
    assert_eq!(status(&door, "/secrets/db", "t-all").await, 200);
    door.stop().await;

    let few = Limits { total_requests_per_second: Some(1), ..limits() };
    let door = start(default_rules(), few);
    // Strangers use nothing of it up.
    for _ in 0..3 {
        assert!(matches!(status(&door, "/secrets/db", "wrong").await, 401 | 429));
    }
    assert_eq!(status(&door, "/secrets/db", "t-app").await, 200);
    assert_eq!(status(&door, "/secrets/db", "t-all").await, 429);
    door.stop().await;
}

#[tokio::test]
async fn a_reload_takes_effect_on_open_connections() {
    let door = start(default_rules(), limits());
    let mut client = door.connect().await;
    let head = format!("Host: {}\r\nX-Vault-Token: t-app\r\n", door.addr);
    let request = format!("GET /secrets/db HTTP/1.1\r\n{head}\r\n");
    assert_eq!(client.ask(&request).await.unwrap().status, 200);
    door.policy.store(policy(vec![everything("all", "t-all")], limits()).into());
    assert_eq!(client.ask(&request).await.unwrap().status, 401);
    door.stop().await;
}
