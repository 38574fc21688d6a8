//! Who may do what: tokens, certificates and rules at the adapter.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::application::{Application, Bytewise};
use crate::client::{Client, run, text};
use crate::scene::{NAME, Scene};
use crate::support::canary::canary;
use crate::support::eventually;
use crate::support::jwt::Signer;
use crate::support::trials::Case;

pub(crate) const CASES: [Case; 6] = [
    ("access_by_token_and_rule", &[], tokens),
    ("access_waits_for_the_issuer", &[], issuer_late),
    ("access_by_a_clock_that_is_off", &[], skew),
    ("access_is_not_talked_round_by_trailers", &[], trailers),
    ("access_by_certificate", &[], certificates),
    ("access_of_bytes_by_certificate", &[], bytes),
];

const ISSUER: &str = "https://id.example.io";

/// Publishes keys on loopback, or breaks off while it has none.
struct Issuer {
    addr: SocketAddr,
    keys: Arc<Mutex<Option<Value>>>,
}

impl Issuer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let keys = Arc::new(Mutex::new(None::<Value>));
        let published = Arc::clone(&keys);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read_exact(&mut byte).is_err() {
                        break;
                    }
                    head.push(byte[0]);
                }
                let Some(keys) = published.lock().unwrap().clone() else { continue };
                let body = json!({ "keys": [keys] }).to_string();
                let answer =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { addr, keys }
    }

    fn publish(&self, signer: &Signer) {
        *self.keys.lock().unwrap() = Some(signer.jwk("1"));
    }

    /// The section that believes it.
    fn section(&self) -> String {
        format!(
            "[adapters.tls.web.jwt]\nissuer = '{ISSUER}'\naudience = 'shop'\n\
             jwks_url = 'http://{}/keys'\nforward = {{ sub = 'X-User', groups = 'X-Groups' }}\n",
            self.addr
        )
    }
}

fn token(signer: &Signer, more: Value) -> String {
    let mut claims = json!({ "iss": ISSUER, "aud": "shop", "sub": "alice" });
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    signer.sign_as("1", claims)
}

/// Status, `WWW-Authenticate` and body of an answer.
async fn ask(client: &Client, path: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
    let mut request = Request::get(path).header("host", NAME);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut connection = client.http1().await;
    let response = connection.0.send_request(request.body(Full::default()).unwrap()).await.unwrap();
    let challenge = response.headers().get("www-authenticate");
    let challenge = challenge.map(|value| value.to_str().unwrap().to_owned());
    (response.status().as_u16(), challenge.unwrap_or_default(), text(response).await)
}

fn code(body: &str) -> String {
    serde_json::from_str::<Value>(body).unwrap()["code"].as_str().unwrap().to_owned()
}

fn tokens() {
    let (application, issuer, signer) = (Application::start(), Issuer::start(), Signer::new());
    issuer.publish(&signer);
    let rules = "[[adapters.tls.web.rules]]\nname = 'ops'\nclaims = { groups = ['ops'] }\n\
                 methods = ['GET']\npaths = ['/api/*']\n";
    let scene = Scene::http(application.addr, &format!("{}{rules}", issuer.section()));
    let client = Client::new(scene.addr(), &scene.authority());
    let secret = canary("in-a-token");
    let ops = token(&signer, json!({ "groups": ["dev", "ops"], "jti": secret }));
    let bearer = format!("Bearer {ops}");
    let good = ("authorization", bearer.as_str());
    run(async {
        let forged = [good, ("x-user", "root"), ("x_user", "root"), ("x-groups", "admins")];
        let (status, _, body) = ask(&client, "/api/x?q=1", &forged).await;
        assert_eq!(status, 200, "{body}");
        let asked = application.last();
        assert_eq!(asked.target, "/api/x?q=1");
        assert_eq!(
            (asked.header("x-user"), asked.header("x-groups")),
            (vec!["alice"], vec!["dev,ops"])
        );
        assert!(asked.header("x_user").is_empty() && asked.header("authorization").is_empty());
        // A client that has it taken out again does not succeed.
        let hidden = [good, ("connection", "x-user, x-groups"), ("x-user", "root")];
        assert_eq!(ask(&client, "/api/x", &hidden).await.0, 200);
        assert_eq!(application.last().header("x-user"), ["alice"]);
        let mut http2 = client.http2().await;
        let request = Request::get(format!("https://{NAME}/api/y")).header(good.0, good.1);
        let request = request.body(Full::default()).unwrap();
        assert_eq!(http2.sender.send_request(request).await.unwrap().status(), 200);

        let before = application.asked().len();
        let dev = format!("Bearer {}", token(&signer, json!({ "groups": ["dev"] })));
        let other = format!("Bearer {}", token(&Signer::new(), json!({ "groups": ["ops"] })));
        let old = format!("Bearer {}", token(&signer, json!({ "exp": 1_000_000_000 })));
        for (path, headers, status, expected, challenge) in [
            ("/api/x", vec![], 401, "token_missing", "Bearer realm="),
            (
                "/api/x",
                vec![("authorization", "Bearer a.b.c")],
                401,
                "token_invalid",
                "invalid_token",
            ),
            (
                "/api/x",
                vec![("authorization", other.as_str())],
                401,
                "token_invalid",
                "invalid_token",
            ),
            (
                "/api/x",
                vec![("authorization", old.as_str())],
                401,
                "token_expired",
                "invalid_token",
            ),
            ("/api/x", vec![good, good], 400, "token_malformed", "invalid_request"),
            ("/api/x", vec![("authorization", dev.as_str())], 403, "access_denied", ""),
            ("/other", vec![good], 403, "access_denied", ""),
            ("/api/../other", vec![good], 400, "request_ambiguous", ""),
            ("/api/%2e%2e/other", vec![good], 400, "request_ambiguous", ""),
            ("/api/..%2fother", vec![good], 400, "request_ambiguous", ""),
            ("/api/..;/other", vec![good], 400, "request_ambiguous", ""),
            ("/api//x", vec![good], 400, "request_ambiguous", ""),
            ("/api/x", vec![good, ("x-original-url", "/other")], 400, "request_ambiguous", ""),
        ] {
            let (found, said, body) = ask(&client, path, &headers).await;
            assert_eq!((found, code(&body).as_str()), (status, expected), "{path}");
            assert!(said.contains(challenge), "{said}");
            assert!(!body.contains(&secret));
        }
        assert_eq!(application.asked().len(), before);
    });
    scene.counted("sidekey_tls_refusals_total{adapter=\"web\",error=\"access_denied\"}", 2);
    scene.counted("sidekey_tls_admissions_total{adapter=\"web\",rule=\"ops\"}", 3);
    // Under the sandbox: the port of the issuer is open.
    assert!(scene.stop().contains("keys of the issuer read"));
}

fn issuer_late() {
    let (application, issuer, signer) = (Application::start(), Issuer::start(), Signer::new());
    let scene = Scene::http(application.addr, &issuer.section());
    let client = Client::new(scene.addr(), &scene.authority());
    let bearer = format!("Bearer {}", token(&signer, json!({})));
    let good = [("authorization", bearer.as_str())];
    let (status, _, body) = run(ask(&client, "/", &good));
    assert_eq!((status, code(&body).as_str()), (503, "keys_unavailable"));
    issuer.publish(&signer);
    scene.counted(&refused("keys_unavailable"), 1);
    eventually("the issuer's keys", || (run(ask(&client, "/", &good)).0 == 200).then_some(()));
    assert_eq!(application.asked().len(), 1);
    let said = scene.stop();
    assert_eq!(said.matches("cannot read the issuer's keys").count(), 1, "{said}");
}

fn refused(code: &str) -> String {
    format!("sidekey_tls_refusals_total{{adapter=\"web\",error=\"{code}\"}}")
}

/// The issuer's clock may be off by `leeway`, and by no more.
fn skew() {
    let (application, issuer, signer) = (Application::start(), Issuer::start(), Signer::new());
    issuer.publish(&signer);
    let scene = Scene::http(application.addr, &issuer.section());
    let client = Client::new(scene.addr(), &scene.authority());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let at = |seconds: i64| i64::try_from(now.as_secs()).unwrap() + seconds;
    let ahead = |by: i64| json!({ "iat": at(by), "nbf": at(by) });
    let behind = |by: i64| json!({ "exp": at(-by) });
    run(async {
        for (claims, status, expected) in [
            (ahead(20), 200, ""),
            (behind(10), 200, ""),
            (ahead(120), 401, "token_invalid"),
            (behind(120), 401, "token_expired"),
        ] {
            let bearer = format!("Bearer {}", token(&signer, claims.clone()));
            let (found, _, body) = ask(&client, "/", &[("authorization", &bearer)]).await;
            assert_eq!(found, status, "{claims}: {body}");
            assert!(status == 200 || code(&body) == expected, "{claims}: {body}");
        }
    });
    assert_eq!(application.asked().len(), 2);
    scene.counted(&refused("token_invalid"), 1);
    scene.counted(&refused("token_expired"), 1);
    scene.stop();
}

/// Some servers read trailers as headers.
fn trailers() {
    let (application, issuer, signer) = (Application::start(), Issuer::start(), Signer::new());
    issuer.publish(&signer);
    let scene = Scene::http(application.addr, &issuer.section());
    let client = Client::new(scene.addr(), &scene.authority());
    let bearer = token(&signer, json!({}));
    let sends = format!(
        "POST / HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\
         Trailer: x-sum, x-user, x_user, x-groups, authorization, x-http-method-override, x_original_url\r\n\
         Authorization: Bearer {bearer}\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 1\r\nX-User: root\r\n\
         x_user: root\r\nX-Groups: admins\r\nAuthorization: Bearer a.b.c\r\n\
         X-HTTP-Method-Override: DELETE\r\nx_original_url: /admin\r\n\r\n"
    );
    let answer = run(client.exchange(sends.as_bytes())).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let asked = application.last();
    assert_eq!((asked.header("x-user"), &asked.body[..]), (vec!["alice"], &b"body"[..]));
    let trailers = asked.trailers.unwrap();
    assert_eq!(trailers.keys().collect::<Vec<_>>(), ["x-sum"]);
    scene.stop();
}

const MUTUAL: &str = "client_auth = 'required'\nclient_ca = 'vault'\ncrl_refresh = '100ms'\n";

fn certificates() {
    let application = Application::start();
    let rules = "[[adapters.tls.web.rules]]\nname = 'jobs'\nspiffe = 'spiffe://example.io/jobs'\n\
                 paths = ['/jobs/*']\n\
                 [[adapters.tls.web.rules]]\nname = 'ops'\nsan = 'ops.example.io'\n";
    let scene = Scene::http(application.addr, &format!("{MUTUAL}{rules}"));
    let authority = scene.authority();
    let of = |name: &str| Client::with(scene.addr(), &authority, Some(&scene.client(name, "1h")));
    let (jobs, ops, other) = (of("jobs"), of("ops"), of("other"));
    // Until the list of revoked certificates is there, everybody is refused.
    eventually("to be let in", || run(ops.is_let_in()).ok());
    run(async {
        assert_eq!(ask(&jobs, "/jobs/1", &[]).await.0, 200);
        for (client, path) in [(&jobs, "/other"), (&jobs, "/"), (&other, "/jobs/1")] {
            let (status, challenge, body) = ask(client, path, &[]).await;
            assert_eq!((status, code(&body).as_str()), (403, "access_denied"), "{path}");
            assert_eq!(challenge, "");
        }
    });
    scene.stop();
}

fn bytes() {
    let application = Bytewise::start(false);
    let rules = "mode = 'tcp'\n[[adapters.tls.web.rules]]\nname = 'ops'\nsan = 'ops.example.io'\n";
    let scene = Scene::http(application.addr, &format!("{MUTUAL}{rules}"));
    let authority = scene.authority();
    let of = |name: &str| Client::with(scene.addr(), &authority, Some(&scene.client(name, "1h")));
    let (ops, other) = (of("ops"), of("other"));
    let welcome = async |client: &Client| {
        let mut stream = client.connect(None).await?;
        let mut welcome = [0; 8];
        stream.read_exact(&mut welcome).await.map(|_| welcome)
    };
    eventually("to be let in", || run(welcome(&ops)).ok().filter(|text| text == b"welcome\n"));
    assert!(run(welcome(&other)).is_err());
    let line = "sidekey_tls_connections_total{adapter=\"web\",outcome=\"access_denied\"}";
    scene.counted(line, 1);
    scene.stop();
}
