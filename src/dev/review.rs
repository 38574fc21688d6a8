//! The question to the Kubernetes API: whose token is this?
//!
//! <https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/>

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::tls;
use crate::crypto;

const TIME_LIMIT: Duration = Duration::from_secs(10);
const LARGEST_ANSWER: usize = 1024 * 1024;

/// What to ask, and where.
pub(super) struct Plan {
    pub(super) host: String,
    pub(super) ca_cert: String,
    pub(super) bearer: String,
    pub(super) token: String,
    pub(super) audience: String,
}

/// Whom the API knows by that token.
pub(super) struct Reviewed {
    pub(super) username: String,
    pub(super) uid: String,
}

/// An authenticated user, or any reason why not.
pub(super) type Review = io::Result<Reviewed>;

/// Posts the `TokenReview` and reads the verdict.
pub(super) async fn review(plan: Plan) -> Review {
    let verdict = match tokio::time::timeout(TIME_LIMIT, ask(&plan)).await {
        Ok(verdict) => verdict,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    if let Err(error) = &verdict {
        tracing::debug!(%error, "token review failed");
    }
    verdict
}

async fn ask(plan: &Plan) -> Review {
    let uri: http::Uri = plan.host.parse().map_err(io::Error::other)?;
    let name = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let https = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
    let stream = TcpStream::connect((name.as_str(), port)).await?;
    let answer = if https {
        let mut roots = RootCertStore::empty();
        for certificate in tls::certificates(plan.ca_cert.as_bytes())? {
            roots.add(certificate).map_err(io::Error::other)?;
        }
        let config = ClientConfig::builder_with_provider(crypto::provider())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        exchange(stream, &uri, plan).await?
    } else {
        exchange(stream, &uri, plan).await?
    };
    verdict(&answer, &plan.audience)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    uri: &http::Uri,
    plan: &Plan,
) -> io::Result<Value> {
    let audiences: Vec<&str> =
        Some(plan.audience.as_str()).filter(|audience| !audience.is_empty()).into_iter().collect();
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": { "audiences": audiences, "token": plan.token },
    });
    let base = uri.path().trim_end_matches('/');
    let request = Request::post(format!("{base}/apis/authentication.k8s.io/v1/tokenreviews"))
        .header("host", uri.authority().map_or("", http::uri::Authority::as_str))
        .header("authorization", format!("Bearer {}", plan.bearer))
        .header("content-type", "application/json")
        .header("accept", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(io::Error::other)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        if !response.status().is_success() {
            return Err(io::Error::other(format!("the API answered {}", response.status())));
        }
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(io::Error::other)
    };
    // The connection ends once the sender is gone.
    let (answer, _) = tokio::join!(answer, connection);
    serde_json::from_slice(&answer?).map_err(io::Error::other)
}

fn verdict(answer: &Value, audience: &str) -> Review {
    let status = |pointer: &str| answer.pointer(pointer);
    let text = |pointer| status(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    if status("/status/authenticated").and_then(Value::as_bool) != Some(true) {
        return Err(io::Error::other("service account jwt not valid"));
    }
    let audiences = super::claims::texts(status("/status/audiences"));
    if !audience.is_empty() && !audiences.contains(audience) {
        return Err(io::Error::other("service account jwt is for another audience"));
    }
    Ok(Reviewed { username: text("/status/user/username"), uid: text("/status/user/uid") })
}
