//! Request by request: what the chain says, and that the source was not asked.

use super::*;

/// A request head, with `{HOST}` for our own name, and the status and code it is refused with.
type Row = (&'static str, u16, &'static str);

const AUTH: &str = "Authorization: Bearer t-all\r\n";

/// Every row is refused, and no row reaches the source.
const REFUSED: &[Row] = &[
    // Host
    ("GET /secrets/db HTTP/1.1\r\nAUTH\r\n", 421, "host_refused"),
    ("GET /secrets/db HTTP/1.0\r\nAUTH\r\n", 421, "host_refused"),
    ("GET /secrets/db HTTP/1.1\r\nHost: \r\nAUTH\r\n", 421, "host_refused"),
    ("GET /secrets/db HTTP/1.1\r\nHost: evil.example\r\nAUTH\r\n", 421, "host_refused"),
    ("GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nHost: {HOST}\r\nAUTH\r\n", 421, "host_refused"),
    ("GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nHost: evil\r\nAUTH\r\n", 421, "host_refused"),
    ("GET /secrets/db HTTP/1.1\r\nHost: {HOST}.\r\nAUTH\r\n", 421, "host_refused"),
    ("GET /secrets/db HTTP/1.1\r\nHost: x@{HOST}\r\nAUTH\r\n", 421, "host_refused"),
    ("GET /secrets/db HTTP/1.1\r\nHost: http://{HOST}\r\nAUTH\r\n", 421, "host_refused"),
    ("GET /secrets/db HTTP/1.1\r\nHost: {HOST}, {HOST}\r\nAUTH\r\n", 421, "host_refused"),
    ("GET /secrets/db HTTP/1.1\r\nHost: 127.0.0.1\r\nAUTH\r\n", 421, "host_refused"),
    ("GET /secrets/db HTTP/1.1\r\nHost: localhost\r\nAUTH\r\n", 421, "host_refused"),
    ("GET /secrets/db HTTP/1.1\r\nHost: localhost:1\r\nAUTH\r\n", 421, "host_refused"),
    (
        "GET http://evil.example/secrets/db HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n",
        421,
        "host_refused",
    ),
    ("GET https://{HOST}/secrets/db HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 421, "host_refused"),
    ("GET http://x@{HOST}/secrets/db HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 421, "host_refused"),
    ("GET http://{HOST}/secrets/db HTTP/1.1\r\nHost: evil\r\nAUTH\r\n", 421, "host_refused"),
    ("CONNECT evil.example:443 HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 421, "host_refused"),
    // Proxies
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nForwarded: for=x\r\nAUTH\r\n",
        400,
        "forwarded_refused",
    ),
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nx-forwarded-for: x\r\nAUTH\r\n",
        400,
        "forwarded_refused",
    ),
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-Any: \r\nAUTH\r\n",
        400,
        "forwarded_refused",
    ),
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nX_Forwarded-For: x\r\nAUTH\r\n",
        400,
        "forwarded_refused",
    ),
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nx_real_ip: x\r\nAUTH\r\n",
        400,
        "forwarded_refused",
    ),
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nVIA: 1.1 x\r\nAUTH\r\n",
        400,
        "forwarded_refused",
    ),
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nX-Real-IP: x\r\nAUTH\r\n",
        400,
        "forwarded_refused",
    ),
    // Pages
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nOrigin: null\r\nAUTH\r\n",
        403,
        "cross_site_refused",
    ),
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nOrigin: http://{HOST}\r\nAUTH\r\n",
        403,
        "cross_site_refused",
    ),
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nSec-Fetch-Site: same-origin\r\nAUTH\r\n",
        403,
        "cross_site_refused",
    ),
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nSec-Fetch-Site: cross-site\r\nAUTH\r\n",
        403,
        "cross_site_refused",
    ),
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nSec-Fetch-Site: none\r\nSec-Fetch-Site: none\r\nAUTH\r\n",
        403,
        "cross_site_refused",
    ),
    // Bodies
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 3\r\nAUTH\r\nabc",
        413,
        "body_refused",
    ),
    (
        "POST /secrets/db/refresh HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\nAUTH\r\n{}",
        413,
        "body_refused",
    ),
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 00\r\nAUTH\r\n",
        413,
        "body_refused",
    ),
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nAUTH\r\n0\r\n\r\n",
        413,
        "body_refused",
    ),
    // Targets
    ("GET /secrets/% HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 400, "bad_request"),
    ("GET /secrets/d%6 HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 400, "bad_request"),
    ("GET /secrets/d%zz HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 400, "bad_request"),
    ("GET /secrets/db/%00 HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 400, "bad_request"),
    ("GET /secrets/db/%0d%0aX:y HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 400, "bad_request"),
    ("GET /secrets/db/%ff HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 400, "bad_request"),
    ("GET * HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 400, "bad_request"),
    ("OPTIONS * HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 400, "bad_request"),
    ("CONNECT {HOST} HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 400, "bad_request"),
    // Methods
    ("POST /secrets HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 405, "method_not_allowed"),
    ("DELETE /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 405, "method_not_allowed"),
    ("OPTIONS /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 405, "method_not_allowed"),
    ("TRACE /nothing HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 405, "method_not_allowed"),
    ("LIST /secrets HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 405, "method_not_allowed"),
    // Callers
    ("GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\n\r\n", 401, "caller_unknown"),
    ("GET /secrets/none HTTP/1.1\r\nHost: {HOST}\r\n\r\n", 401, "caller_unknown"),
    ("GET /nothing HTTP/1.1\r\nHost: {HOST}\r\n\r\n", 401, "caller_unknown"),
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer t-al\r\n\r\n",
        401,
        "caller_unknown",
    ),
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer \r\n\r\n",
        401,
        "caller_unknown",
    ),
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Basic t-all\r\n\r\n",
        401,
        "caller_unknown",
    ),
    ("GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nX-Vault-Token: x\r\n\r\n", 401, "caller_unknown"),
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nX-Vault-Token: t-app\r\nAUTH\r\n",
        401,
        "caller_unknown",
    ),
    ("GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nAUTHAUTH\r\n", 401, "caller_unknown"),
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nX-Vault-Token: t-all\r\nX-Vault-Token: t-all\r\n\r\n",
        401,
        "caller_unknown",
    ),
    // Scope: the same answer whether or not the name exists
    (
        "GET /secrets/web HTTP/1.1\r\nHost: {HOST}\r\nX-Vault-Token: t-app\r\n\r\n",
        403,
        "caller_denied",
    ),
    (
        "GET /secrets/web/f HTTP/1.1\r\nHost: {HOST}\r\nX-Vault-Token: t-app\r\n\r\n",
        403,
        "caller_denied",
    ),
    (
        "GET /secrets/none HTTP/1.1\r\nHost: {HOST}\r\nX-Vault-Token: t-app\r\n\r\n",
        403,
        "caller_denied",
    ),
    (
        "POST /secrets/web/refresh HTTP/1.1\r\nHost: {HOST}\r\nX-Vault-Token: t-app\r\n\r\n",
        403,
        "caller_denied",
    ),
    ("GET /secrets/none HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 404, "unknown_name"),
    ("GET /secrets/DB HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 404, "unknown_name"),
    ("GET /secrets/a%2F..%2Fdb HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 404, "unknown_name"),
    // Paths that are not there
    ("GET / HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 404, "not_found"),
    ("POST /nothing HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 404, "not_found"),
    ("GET /secrets/ HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 404, "not_found"),
    ("GET /secrets/../secrets/db HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 404, "not_found"),
    ("GET /secrets/web/../db HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 404, "not_found"),
    ("GET /secrets/%2e%2e/db HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 404, "not_found"),
    ("GET //secrets/db HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 404, "not_found"),
    ("GET /secrets/db/a/b HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 404, "not_found"),
    // Queries
    ("GET /secrets/db?formt=env HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 400, "bad_request"),
    ("GET /secrets/db?wait=soon HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 400, "bad_request"),
    (
        "GET /secrets/db/password?min_ttl=soon HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n",
        400,
        "bad_request",
    ),
    ("GET /secrets/db?version=x HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 400, "bad_request"),
    (
        "GET /secrets/db/password?format=json HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n",
        400,
        "bad_request",
    ),
    ("GET /secrets?x HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 400, "bad_request"),
    ("GET /secrets/db?format=xml HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n", 406, "not_acceptable"),
    (
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nAccept: image/png\r\nAUTH\r\n",
        406,
        "not_acceptable",
    ),
];

#[tokio::test]
async fn every_row_is_refused_without_asking_the_source() {
    let door = start(default_rules(), limits());
    for &(request, status, code) in REFUSED {
        let reply = door.ask(&request.replace("AUTH", AUTH)).await;
        assert_eq!((reply.status, &*reply.code()), (status, code), "{request}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{request}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{request}");
        assert_eq!(reply.header("server"), None);
        assert_eq!(reply.json()["status"], status, "{request}");
        let closes = reply.header("connection") == Some("close");
        // Known callers keep their connections. A target is judged before the caller, a query after.
        if code != "bad_request" {
            let known = matches!(status, 404 | 406) || code == "caller_denied";
            assert_eq!(closes, !known, "{request}");
        }
        assert_eq!(reply.header("www-authenticate").is_some(), status == 401, "{request}");
        assert_eq!(reply.header("allow").is_some(), status == 405, "{request}");
        assert_eq!(door.calls(), 0, "{request}");
    }
    door.stop().await;
}

#[tokio::test]
async fn what_an_application_sends_is_answered() {
    let door = start(default_rules(), limits());
    let port = door.addr.port();
    for request in [
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n",
        "GET /secrets/%64b HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n",
        "GET /secrets/db? HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n",
        "GET http://{HOST}/secrets/db HTTP/1.1\r\nHost: {HOST}\r\nAUTH\r\n",
        "GET /secrets/db HTTP/1.0\r\nHost: {HOST}\r\nAUTH\r\n",
        "GET /secrets/db HTTP/1.1\r\nhost: LOCALHOST:PORT\r\nAUTH\r\n",
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nauthorization: bearer t-app\r\n\r\n",
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nX-Vault-Token: t-all\r\nAUTH\r\n",
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\nAUTH\r\n",
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nSec-Fetch-Site: none\r\nAUTH\r\n",
        "GET /secrets/db HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: h2c\r\nConnection: upgrade\r\nAUTH\r\n",
        "POST /secrets/db/refresh HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\nAUTH\r\n",
    ] {
        let request = request.replace("AUTH", AUTH).replace("PORT", &port.to_string());
        let reply = door.ask(&request).await;
        assert_eq!(reply.status, 200, "{request}");
    }
    door.stop().await;
}

#[tokio::test]
async fn too_large_heads_get_our_own_answer() {
    let door = start(default_rules(), limits());
    let long_target = format!("/secrets/{}", "x".repeat(2100));
    let reply = door.get(&long_target).await;
    assert_eq!((reply.status, &*reply.code()), (414, "target_too_long"));
    let long_header = format!("X-Long: {}\r\n", "x".repeat(17 * 1024));
    let reply = door.get_with("/secrets/db", &long_header).await;
    assert_eq!((reply.status, &*reply.code()), (431, "head_too_large"));
    let many = "X-Many: x\r\n".repeat(65);
    let reply = door.get_with("/secrets/db", &many).await;
    assert_eq!((reply.status, &*reply.code()), (431, "head_too_large"));
    // Beyond what hyper buffers, its own bare answer.
    let longer = format!("X-Long: {}\r\n", "x".repeat(200 * 1024));
    assert_eq!(door.get_with("/secrets/db", &longer).await.status, 431);
    let many = "X-Many: x\r\n".repeat(200);
    assert_eq!(door.get_with("/secrets/db", &many).await.status, 431);
    assert_eq!(door.calls(), 0);
    door.stop().await;
}

#[tokio::test]
async fn what_is_not_http_1_is_refused_and_closed() {
    let door = start(default_rules(), limits());
    let garbage: &[&[u8]] = &[
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /secrets/db HTTP/1.1\r\nHo\0st: x\r\n\r\n",
        b"GET /secrets/db HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /secrets/db HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
        b"GET /secrets/db\r\n\r\n",
        b"GET  /secrets/db HTTP/1.1\r\n\r\n",
        b"GET /secrets/db HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /secrets/db HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ];
    for bytes in garbage {
        let mut client = door.connect().await;
        client.send(bytes).await;
        if let Some(reply) = client.reply(true).await {
            assert_eq!(reply.status, 400, "{bytes:?}");
        }
        assert!(client.is_closed().await, "{bytes:?}");
    }
    assert_eq!(door.calls(), 0);
    let malformed = "sidekey_requests_total{outcome=\"malformed\"} ";
    assert!(door.metrics.encode().unwrap().contains(malformed));
    door.stop().await;
}

#[tokio::test]
async fn both_length_headers_are_refused_and_nothing_after_them_is_read() {
    let door = start(default_rules(), limits());
    let mut client = door.connect().await;
    let host = format!("Host: {}\r\n{AUTH}", door.addr);
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    let smuggled = format!("GET /secrets/db HTTP/1.1\r\n{host}\r\n");
    let request = format!("GET /secrets HTTP/1.1\r\n{host}{both}\r\n0\r\n\r\n{smuggled}");
    let reply = client.ask(&request).await.unwrap();
    assert!(matches!(reply.status, 400 | 413), "{}", reply.head);
    assert!(client.is_closed().await);
    assert_eq!(door.calls(), 0);
    door.stop().await;
}

#[tokio::test]
async fn pipelined_requests_pass_the_guards_one_by_one() {
    let door = start(default_rules(), limits());
    let mut client = door.connect().await;
    let good = format!("GET /secrets/db HTTP/1.1\r\nHost: {}\r\n{AUTH}\r\n", door.addr);
    let bad = format!("GET /secrets/db HTTP/1.1\r\nHost: evil\r\n{AUTH}\r\n");
    client.send(format!("{good}{bad}{good}").as_bytes()).await;
    for status in [200, 421, 200] {
        assert_eq!(client.reply(true).await.unwrap().status, status);
    }
    door.stop().await;
}

#[tokio::test]
async fn v6_goes_by_its_own_name() {
    let door = start_on("[::1]:0", default_rules(), limits(), None);
    let port = door.addr.port();
    let ask = |host: String| {
        door.ask_owned(format!("GET /secrets/db HTTP/1.1\r\nHost: {host}\r\n{AUTH}\r\n"))
    };
    assert_eq!(ask(format!("[::1]:{port}")).await.status, 200);
    assert_eq!(ask(format!("localhost:{port}")).await.status, 200);
    assert_eq!(ask(format!("127.0.0.1:{port}")).await.status, 421);
    door.stop().await;
}

impl Running {
    async fn ask_owned(&self, request: String) -> Reply {
        self.connect().await.ask(&request).await.unwrap()
    }
}
