//! The server as its clients see it, over a socket.

mod auth;
mod engines;
mod faults;
mod login;
mod tls;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::{DevOptions, DevServer};

/// A server and one way to talk to it.
pub(super) struct Dev {
    pub(super) server: DevServer,
}

/// A request with its headers.
#[derive(Clone, Default)]
pub(super) struct With<'a> {
    pub(super) token: Option<&'a str>,
    pub(super) namespace: &'a str,
    pub(super) wrap: &'a str,
    pub(super) content_type: &'a str,
}

impl Dev {
    pub(super) async fn start() -> Self {
        Self { server: DevServer::start(DevOptions::default()).await.unwrap() }
    }

    /// As root.
    pub(super) async fn root(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.with_token(self.server.root_token(), method, path, body).await
    }

    pub(super) async fn with_token(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Value,
    ) -> (u16, Value) {
        self.send(With { token: Some(token), ..With::default() }, method, path, body).await
    }

    pub(super) async fn anonymous(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.send(With::default(), method, path, body).await
    }

    pub(super) async fn send(
        &self,
        with: With<'_>,
        method: &str,
        path: &str,
        body: Value,
    ) -> (u16, Value) {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let (status, body) = self.text(with, method, path, text).await;
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    pub(super) async fn text(
        &self,
        with: With<'_>,
        method: &str,
        path: &str,
        body: String,
    ) -> (u16, String) {
        let stream = TcpStream::connect(self.server.addr()).await.unwrap();
        exchange(stream, with, method, path, body).await.unwrap()
    }

    /// A token with this policy.
    pub(super) async fn token(&self, policy: &str) -> String {
        let body = serde_json::json!({ "policy": policy });
        assert_eq!(self.root("PUT", "sys/policies/acl/test", body).await.0, 204);
        let body = serde_json::json!({ "policies": ["test"], "ttl": "1h" });
        let (_, answer) = self.root("POST", "auth/token/create", body).await;
        answer["auth"]["client_token"].as_str().unwrap().to_owned()
    }
}

pub(super) async fn exchange(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    with: With<'_>,
    method: &str,
    path: &str,
    body: String,
) -> hyper::Result<(u16, String)> {
    let mut request = http::Request::builder()
        .method(method)
        .uri(format!("/v1/{path}"))
        .header("host", "localhost");
    let headers = [
        ("x-vault-token", with.token.unwrap_or_default()),
        ("x-vault-namespace", with.namespace),
        ("x-vault-wrap-ttl", with.wrap),
        ("content-type", with.content_type),
    ];
    for (name, value) in headers.into_iter().filter(|(_, value)| !value.is_empty()) {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async move {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8(body.to_vec()).unwrap()))
    };
    tokio::join!(answer, connection).0
}
