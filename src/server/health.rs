//! Health and metrics: a listener of its own, which carries no secret and may therefore be
//! opened to the kubelet. It asks nobody who they are, so a connection is for one request, and
//! when all places are taken the oldest gives way: nobody can keep a probe out by holding them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::Body;
use super::connection::{self, Timeouts};
use super::guard::Denied;
use super::head::Head;
use super::listener::{Listener, accept_loop};
use super::problem::Problem;
use super::strangers::Strangers;
use crate::observe::{Metrics, event};

const MAX_CONNECTIONS: usize = 64;
const TIMEOUTS: Timeouts =
    Timeouts { head: Duration::from_secs(5), write: Duration::from_secs(10) };

/// What `/readyz` asks.
pub trait Readiness: Send + Sync + 'static {
    /// Required names that are not loaded yet.
    fn pending(&self) -> Vec<String>;
    /// The stop began.
    fn stopping(&self) -> bool;
}

/// The bound health listener.
pub struct BoundHealth {
    pub(super) listener: Listener,
    pub(super) addr: SocketAddr,
}

impl BoundHealth {
    /// The address with its real port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves in the background until `cancel`. Give it a token of its own: it should outlive
    /// the local door, to say that the stop is under way.
    pub fn serve(
        self,
        readiness: Arc<dyn Readiness>,
        metrics: Metrics,
        tracker: &TaskTracker,
        cancel: CancellationToken,
    ) {
        event::health_listening(self.addr);
        let health = Arc::new(Health { readiness, metrics });
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let connections = (tracker.clone(), cancel.clone());
        let strangers = Strangers::default();
        let make_room = {
            let strangers = strangers.clone();
            move || _ = strangers.end_oldest()
        };
        let start = move |stream, _peer, permit| {
            let (tracker, cancel) = &connections;
            let place = strangers.enter();
            let number = place.number();
            let (health, cancel) = (Arc::clone(&health), cancel.child_token());
            let task = tracker.spawn(async move {
                let answer = move |request| {
                    let health = Arc::clone(&health);
                    async move { Ok::<_, Infallible>(health.answer(request)) }
                };
                // A prober that goes away is no event.
                let _ = connection::serve(stream, TIMEOUTS, cancel, answer).await;
                drop((permit, place));
            });
            strangers.started(number, task.abort_handle());
        };
        tracker.spawn(accept_loop(vec![self.listener], permits, cancel, make_room, start));
    }
}

struct Health {
    readiness: Arc<dyn Readiness>,
    metrics: Metrics,
}

#[derive(Serialize)]
struct Live {
    live: bool,
}

#[derive(Serialize)]
struct Readyz {
    ready: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stopping: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pending: Vec<String>,
}

impl Health {
    fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, _) = request.into_parts();
        let mut response =
            self.route(&Head::scan(&parts)).unwrap_or_else(|problem| problem.response());
        // Whoever may ask may be anybody: no place is held from one probe to the next.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }

    fn route(&self, head: &Head<'_>) -> Result<Response<Body>, Problem> {
        head.fits()?;
        head.has_no_body()?;
        let path = head.uri.path();
        if !matches!(path, "/livez" | "/readyz" | "/metrics") {
            return Err(Problem::NoProbe);
        }
        if !matches!(*head.method, Method::GET | Method::HEAD) {
            return Err(Denied::Method("GET, HEAD").into());
        }
        Ok(match path {
            "/livez" => json(StatusCode::OK, &Live { live: true }),
            "/readyz" => self.readyz(),
            _ => self.metrics(),
        })
    }

    fn readyz(&self) -> Response<Body> {
        let stopping = self.readiness.stopping();
        let pending = self.readiness.pending();
        if pending.is_empty() && !stopping {
            return json(StatusCode::OK, &Readyz { ready: true, stopping, pending });
        }
        let body = Readyz { ready: false, stopping, pending };
        let mut response = json(StatusCode::SERVICE_UNAVAILABLE, &body);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        response
    }

    fn metrics(&self) -> Response<Body> {
        let text = self.metrics.encode().unwrap_or_default();
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        respond(StatusCode::OK, kind, text.into())
    }
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    let body = serde_json::to_vec(body).unwrap_or_default();
    respond(status, "application/json", body.into())
}

fn respond(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
