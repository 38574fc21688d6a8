//! One request to Vault and its answer: every call of the process passes here, so the ceiling,
//! the timeout, the size limit and the error mapping hold for all of them.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::{Method, Response, StatusCode};
use rustify::endpoint::Endpoint;
use tokio::time::Instant;
use url::Url;

use super::ceiling::{Ceiling, Urgency};
use super::envelope::Envelope;
use super::error::{Failure, VaultError, is_vaults, recognize};
use super::outcome::{from_reqwest, operation, refused};
use super::resolve::Redirected;
use super::tls;
use crate::config::VaultConfig;
use crate::lease::granted;
use crate::memory::{SecretBuf, SecretWriter, arena_status, has_room_for};
use crate::observe::Metrics;

/// Answers above this are refused: a 1 MiB value whose every character is escaped fits.
const MAX_ANSWER: usize = 8 << 20;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

pub(super) struct Transport {
    http: reqwest::Client,
    /// Scheme, host, port and `/v1`, where every path is appended.
    base: String,
    /// The real host, where `base` has the name for TLS instead.
    host: Option<HeaderValue>,
    headers: HeaderMap,
    timeout: Duration,
    ceiling: Arc<Ceiling>,
    metrics: Metrics,
}

/// A 2xx or a 404.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: SecretBuf,
}

impl Answer {
    /// What a 404 means where nothing may be missing.
    pub(super) fn not_found(&self) -> Failure {
        let body = self.body.expose();
        if is_vaults(body) { Failure::Refused(404, recognize(body)) } else { Failure::Foreign(404) }
    }
}

impl Transport {
    /// Reads the trust anchors and the client certificate anew.
    pub(super) fn new(
        config: &VaultConfig,
        ceiling: Arc<Ceiling>,
        metrics: Metrics,
    ) -> Result<Self, VaultError> {
        let failed = |failure| VaultError::new(failure, config.address.as_str());
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(config).map_err(failed)?)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .timeout(config.timeout)
            .connect_timeout(config.timeout)
            .user_agent(concat!("sidekey/", env!("CARGO_PKG_VERSION")));
        if !arena_status().is_complete() {
            // An idle TLS connection keeps the last record that it decrypted. In secret memory
            // that harms nobody; elsewhere each request takes a connection of its own.
            builder = builder.pool_max_idle_per_host(0);
        }
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST, HeaderValue::from_static("true"));
        let bad_header = |_| failed(Failure::Credential("not a valid header value".into()));
        if let Some(namespace) = &config.namespace {
            headers.insert(NAMESPACE, HeaderValue::from_str(namespace).map_err(bad_header)?);
        }
        if is_loopback(&config.address) {
            // As the vault CLI does: no proxy stands between a host and itself.
            builder = builder.no_proxy();
        }
        let mut address = config.address.clone();
        let mut host = None;
        if let Some(name) = direct_server_name(config) {
            // TLS asks for the URL's host: it carries the name, and the resolver leads it to the
            // real host. Which certificate will do, is decided by the verifier.
            let real = HeaderValue::from_str(&authority(&address)).map_err(bad_header)?;
            builder = builder.no_proxy().dns_resolver(Redirected {
                name: name.to_ascii_lowercase().into(),
                host: host_name(&address).into(),
            });
            let bad_name = "tls_server_name is not a host name";
            address
                .set_host(Some(name))
                .map_err(|_| failed(Failure::Credential(bad_name.into())))?;
            host = Some(real);
        }
        let base = format!("{}/v1", address.as_str().trim_end_matches('/'));
        let http = builder.build().map_err(|e| failed(from_reqwest(&e)))?;
        Ok(Self { http, base, host, headers, timeout: config.timeout, ceiling, metrics })
    }

    /// Runs a vaultrs endpoint and returns Vault's whole envelope.
    pub(super) async fn call<E: Endpoint>(
        &self,
        endpoint: &E,
        token: Option<&SecretBuf>,
    ) -> Result<Envelope<E::Response>, VaultError> {
        let path = endpoint.path();
        let path = path.trim_matches(['/', '\t']);
        let answer = self.send_endpoint(endpoint, path, token).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(VaultError::new(answer.not_found(), path));
        }
        serde_json::from_slice(answer.body.expose())
            .map_err(|_| VaultError::new(Failure::Malformed("not the envelope expected"), path))
    }

    /// Runs a vaultrs endpoint whose success has no content.
    pub(super) async fn call_empty<E: Endpoint>(
        &self,
        endpoint: &E,
        token: Option<&SecretBuf>,
    ) -> Result<(), VaultError> {
        let path = endpoint.path();
        let path = path.trim_matches(['/', '\t']);
        self.send_endpoint(endpoint, path, token).await.map(|_| ())
    }

    async fn send_endpoint<E: Endpoint>(
        &self,
        endpoint: &E,
        path: &str,
        token: Option<&SecretBuf>,
    ) -> Result<Answer, VaultError> {
        // What rustify's error holds stays here: it can carry the body.
        let method = Method::from_bytes(format!("{:?}", endpoint.method()).as_bytes());
        let (Ok(method), Ok(body)) = (method, endpoint.body()) else {
            return Err(VaultError::new(Failure::Malformed("the request"), path));
        };
        let urgency = urgency(&method, path);
        self.pass(urgency, path).await?;
        self.send(urgency, method, path, token, body).await
    }

    /// Reads `path`, which may have a query, unless nobody wants it any more when its turn comes.
    pub(super) async fn get(
        &self,
        path: &str,
        token: &SecretBuf,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Answer, VaultError> {
        self.pass(Urgency::Read, path).await?;
        if !wanted() {
            return Err(VaultError::new(Failure::Ceiling, path));
        }
        self.send(Urgency::Read, Method::GET, path, Some(token), None).await
    }

    /// Waits for a place under the ceiling.
    async fn pass(&self, urgency: Urgency, path: &str) -> Result<(), VaultError> {
        self.ceiling.pass(urgency, self.timeout).await.map_err(|wait| {
            let retry_after = Some(wait);
            VaultError { retry_after, ..VaultError::new(Failure::Ceiling, path) }
        })
    }

    /// Writes `body`, which holds no secret, to `path`, unless nobody wants it any more when its
    /// turn comes.
    pub(super) async fn post(
        &self,
        path: &str,
        token: &SecretBuf,
        body: &serde_json::Value,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Answer, VaultError> {
        let urgency = urgency(&Method::POST, path);
        self.pass(urgency, path).await?;
        if !wanted() {
            return Err(VaultError::new(Failure::Ceiling, path));
        }
        let body = body.to_string().into_bytes();
        self.send(urgency, Method::POST, path, Some(token), Some(body)).await
    }

    async fn send(
        &self,
        urgency: Urgency,
        method: Method,
        path: &str,
        token: Option<&SecretBuf>,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, VaultError> {
        let url = Url::parse(&format!("{}/{path}", self.base))
            .map_err(|_| VaultError::new(Failure::Malformed("the request's path"), path))?;
        let start = Instant::now();
        let mut asked = start;
        let first = self.send_once(&method, url.clone(), token, body.clone()).await;
        let answer = match first {
            Ok(response) if response.status() == StatusCode::TEMPORARY_REDIRECT => {
                match follow(&url, &response) {
                    Some(active) if self.ceiling.pass(urgency, self.timeout).await.is_ok() => {
                        // The active node has the whole timeout, whatever the standby took.
                        asked = Instant::now();
                        self.send_once(&method, active, token, body).await
                    }
                    Some(_) => Err(Failure::Ceiling),
                    None => Err(Failure::Redirect),
                }
            }
            first => first,
        };
        let left = self.timeout.saturating_sub(asked.elapsed());
        let answer = match answer {
            Ok(response) => receive(response, &method, path, left).await,
            Err(failure) => Err(VaultError::new(failure, path)),
        };
        let outcome = answer.as_ref().map_or_else(VaultError::outcome, |_| "ok");
        self.metrics.upstream(operation(&method, path), outcome, start.elapsed());
        answer
    }

    async fn send_once(
        &self,
        method: &Method,
        url: Url,
        token: Option<&SecretBuf>,
        body: Option<Vec<u8>>,
    ) -> Result<Response, Failure> {
        let is_first = url.as_str().starts_with(&self.base);
        let mut request = self.http.request(method.clone(), url).headers(self.headers.clone());
        // An active node that a standby sends us to has its own.
        if let Some(host) = self.host.clone().filter(|_| is_first) {
            request = request.header(HOST, host);
        }
        if let Some(token) = token {
            let bad = "the token has characters that no header can carry";
            let mut value = HeaderValue::from_bytes(token.expose())
                .map_err(|_| Failure::Credential(bad.into()))?;
            value.set_sensitive(true);
            request = request.header(TOKEN, value);
        }
        if !arena_status().is_complete() {
            // Nor is it kept once secret memory turned out to be too little.
            request = request.header(CONNECTION, "close");
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        request.send().await.map_err(|e| from_reqwest(&e))
    }
}

async fn receive(
    response: Response,
    method: &Method,
    path: &str,
    left: Duration,
) -> Result<Answer, VaultError> {
    let status = response.status();
    let retry_after = retry_after(&response);
    let body = match tokio::time::timeout(left, collect(response)).await {
        Ok(body) => body,
        Err(_) => Err(Failure::Timeout),
    };
    let failure = match (status, body) {
        (status, Ok(body)) if status.is_success() || status == StatusCode::NOT_FOUND => {
            return Ok(Answer { status, body });
        }
        (status, Err(failure)) if status.is_success() => failure,
        (status, body) => refused(status, method, path, body.ok().as_ref()),
    };
    Err(VaultError { retry_after, ..VaultError::new(failure, path) })
}

/// Reads the body into secret memory, up to the limit.
async fn collect(mut response: Response) -> Result<SecretBuf, Failure> {
    let announced = response.content_length().unwrap_or_default();
    if announced > MAX_ANSWER as u64 {
        return Err(Failure::TooLarge);
    }
    if !has_room_for(usize::try_from(announced).unwrap_or(MAX_ANSWER)) {
        return Err(Failure::NoSecretMemory);
    }
    let mut body = SecretWriter::with_capacity(usize::try_from(announced).unwrap_or(0).max(1024));
    while let Some(chunk) = response.chunk().await.map_err(|e| from_reqwest(&e))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(Failure::TooLarge);
        }
        if !has_room_for(body.len() + chunk.len()) {
            return Err(Failure::NoSecretMemory);
        }
        body.push(&chunk);
    }
    let body = body.finish();
    if body.is_kept_as_required() { Ok(body) } else { Err(Failure::NoSecretMemory) }
}

/// How an endpoint's request stands in line.
fn urgency(method: &Method, path: &str) -> Urgency {
    match operation(method, path) {
        "token" | "login" | "unwrap" => Urgency::Session,
        "renew" | "revoke" => Urgency::Lease,
        _ => Urgency::Read,
    }
}

/// Vault sends seconds; a date is not worth a parser here.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(granted(seconds))
}

/// Where a standby sends us: followed once, and never from HTTPS to HTTP.
fn follow(from: &Url, response: &Response) -> Option<Url> {
    let to = from.join(response.headers().get(LOCATION)?.to_str().ok()?).ok()?;
    let kept = to.scheme() == from.scheme() || to.scheme() == "https";
    (kept && to.path() == from.path() && to.username().is_empty()).then_some(to)
}

/// The server name to put into the URL, so that TLS asks for it: not that of an address, which
/// TLS never asks for, and not where a proxy is told the URL's host.
fn direct_server_name(config: &VaultConfig) -> Option<&str> {
    let name = config.tls_server_name.as_deref()?;
    let is_name = matches!(url::Host::parse(name), Ok(url::Host::Domain(_)));
    let uri: Uri = config.address.as_str().parse().ok()?;
    let direct = is_loopback(&config.address) || Matcher::from_env().intercept(&uri).is_none();
    (config.address.scheme() == "https" && is_name && direct).then_some(name)
}

fn is_loopback(address: &Url) -> bool {
    match address.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn host_name(address: &Url) -> String {
    address.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned()
}

fn authority(address: &Url) -> String {
    let host = address.host_str().unwrap_or_default();
    address.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
