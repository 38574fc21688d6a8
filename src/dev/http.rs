//! From bytes to requests and back: hyper, the limits, and the scripted faults.

use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::{self, ResponseBody, Step};
use super::fault::{Fault, Faults, Kind};
use super::fields::{self, Fields};
use super::log::Log;
use super::reply::{Failure, Reply};
use super::request::{Operation, Request};
use super::state::{Standby, State};
use super::{dispatch, kubernetes, sys};

/// Vault's own default, `max_request_size`.
const LARGEST_BODY: usize = 32 * 1024 * 1024;

/// What all connections share.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) faults: Faults,
    pub(super) log: Mutex<Log>,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection: who is at the other end, and whether it is to end in a reset.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: Vec<Vec<u8>>,
    pub(super) tls: bool,
    pub(super) reset: Arc<AtomicBool>,
}

/// Answers requests until the client has none left.
pub(super) async fn serve(connection: Connection, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let connection = &connection;
    let service = hyper::service::service_fn(move |request| respond(connection, request));
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::trace!(%error, "dev server connection ended");
    }
}

/// An answer before it is turned into HTTP.
struct Plain {
    status: u16,
    content_type: String,
    location: Option<String>,
    body: Bytes,
}

impl Plain {
    fn json(status: u16, body: Bytes) -> Self {
        Self { status, content_type: "application/json".to_owned(), location: None, body }
    }

    fn response(self, retry_after: Option<u64>, body: ResponseBody) -> Response<ResponseBody> {
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        insert(headers, CACHE_CONTROL, "no-store");
        if !self.body.is_empty() {
            insert(headers, CONTENT_TYPE, &self.content_type);
        }
        if let Some(location) = &self.location {
            insert(headers, LOCATION, location);
        }
        if let Some(seconds) = retry_after {
            insert(headers, RETRY_AFTER, &seconds.to_string());
        }
        response
    }
}

fn insert(headers: &mut HeaderMap, name: http::HeaderName, value: &str) {
    if let Ok(value) = value.parse() {
        headers.insert(name, value);
    }
}

async fn respond(
    connection: &Connection,
    request: http::Request<Incoming>,
) -> io::Result<Response<ResponseBody>> {
    let shared = &connection.shared;
    if !is_escaped_well(request.uri().path()) {
        let body = Bytes::from_static(b"400 Bad Request");
        let content_type = "text/plain; charset=utf-8".to_owned();
        let plain = Plain { content_type, ..Plain::json(400, body.clone()) };
        return Ok(plain.response(None, body::whole(body)));
    }
    let method = request.method().as_str().to_owned();
    let path = api_path(request.uri().path());
    let ticket = shared.log().arrived(&method, &path);
    let fault = shared.faults.take(&method, &path);
    let answer = if let Some(fault) = fault {
        faulty(connection, fault, request).await
    } else {
        let plain = normal(connection, request).await;
        let body = body::whole(plain.body.clone());
        Ok(plain.response(None, body))
    };
    if let Ok(response) = &answer {
        shared.log().answered(ticket, response.status().as_u16());
    }
    answer
}

/// Every `%` starts an escape, without which Go's server does not look at a request.
fn is_escaped_well(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| {
        rest.as_bytes()
            .first_chunk()
            .is_some_and(|hex: &[u8; 2]| hex.iter().all(u8::is_ascii_hexdigit))
    })
}

fn api_path(path: &str) -> String {
    let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    path.strip_prefix("/v1/").unwrap_or(&path).to_owned()
}

async fn faulty(
    connection: &Connection,
    fault: Fault,
    request: http::Request<Incoming>,
) -> io::Result<Response<ResponseBody>> {
    let closed = || io::Error::new(io::ErrorKind::ConnectionAborted, "scripted close");
    let plain = match &fault.kind {
        Kind::Close => return Err(closed()),
        Kind::Hang => pending::<Plain>().await,
        Kind::Status(code, errors) => {
            let failure = Failure { status: *code, errors: errors.clone() };
            Plain::json(*code, failure.render())
        }
        Kind::Body { status, content_type, body } => {
            Plain { content_type: content_type.clone(), ..Plain::json(*status, body.clone()) }
        }
        Kind::Redirect(location) => {
            Plain { location: Some(location.clone()), ..Plain::json(307, Bytes::new()) }
        }
        Kind::Empty => Plain::json(204, Bytes::new()),
        Kind::Announce(_) => Plain::json(200, Bytes::from_static(b"{\"request_id\":\"")),
        Kind::Delay(delay) => {
            tokio::time::sleep(*delay).await;
            normal(connection, request).await
        }
        Kind::ResetMidBody | Kind::TruncatedJson | Kind::SlowDrip { .. } => {
            normal(connection, request).await
        }
    };
    Ok(deformed(connection, &fault, plain))
}

/// The answer's body as the fault wants it sent.
fn deformed(connection: &Connection, fault: &Fault, plain: Plain) -> Response<ResponseBody> {
    let full = plain.body.clone();
    let half = full.slice(..full.len() / 2);
    let mut announced = None;
    let body = match &fault.kind {
        Kind::TruncatedJson => body::whole(half),
        Kind::Announce(length) => {
            announced = Some(*length);
            body::scripted([Step::Data(full), Step::Idle])
        }
        Kind::ResetMidBody => {
            connection.reset.store(true, Ordering::Relaxed);
            announced = u64::try_from(full.len()).ok();
            // The pause lets the half reach the client before the reset overtakes it.
            let pause = Step::Sleep(Duration::from_millis(20));
            body::scripted([Step::Data(half), pause, Step::Fail])
        }
        Kind::SlowDrip { chunk, interval } => {
            announced = u64::try_from(full.len()).ok();
            body::scripted(
                full.chunks(*chunk)
                    .flat_map(|part| [Step::Sleep(*interval), Step::Data(full.slice_ref(part))]),
            )
        }
        _ => body::whole(full),
    };
    let mut response = plain.response(fault.retry_after, body);
    if let Some(length) = announced {
        insert(response.headers_mut(), CONTENT_LENGTH, &length.to_string());
    }
    response
}

async fn normal(connection: &Connection, request: http::Request<Incoming>) -> Plain {
    let (head, body) = request.into_parts();
    let path = api_path(head.uri.path());
    let standby = connection.shared.state().standby.clone();
    if let Some(standby) = standby.filter(|_| !sys::is_status(&path)) {
        return redirected(standby, &head.uri);
    }
    let body = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return plain(&Failure::new(413, "http: request body too large")),
    };
    let mut request = match parse(connection, &head, path, &body) {
        Ok(request) => request,
        Err(failure) => return plain(&failure),
    };
    let plan = kubernetes::plan(&mut connection.shared.state(), &request);
    if let Some(plan) = plan {
        request.review = Some(kubernetes::review(plan).await);
    }
    let answer = dispatch::handle(&mut connection.shared.state(), request);
    let rendered = answer.and_then(|reply| match reply {
        Reply::Empty => Ok(Plain::json(204, Bytes::new())),
        Reply::Bare(status, body) => Ok(Plain::json(status, body)),
        Reply::Secret(secret) => Ok(Plain::json(secret.status, secret.render()?)),
    });
    rendered.unwrap_or_else(|failure| plain(&failure))
}

fn plain(failure: &Failure) -> Plain {
    Plain::json(failure.status, failure.render())
}

/// A standby sends the client on to the active node, when it knows one.
fn redirected(standby: Standby, uri: &http::Uri) -> Plain {
    let Some(active) = standby.active else {
        return plain(&Failure::new(503, "no active Vault instance found"));
    };
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let location = format!("{}{target}", active.trim_end_matches('/'));
    Plain { location: Some(location), ..Plain::json(307, Bytes::new()) }
}

fn parse(
    connection: &Connection,
    head: &http::request::Parts,
    mut path: String,
    body: &[u8],
) -> Result<Request, Failure> {
    if !head.uri.path().starts_with("/v1/") {
        return Err(Failure::not_found());
    }
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let query = Fields::from_query(head.uri.query().unwrap_or_default())?;
    let operation = match head.method.as_str() {
        "GET" if query.flag("list")?.unwrap_or(false) => Operation::List,
        "GET" | "HEAD" => Operation::Read,
        "LIST" => Operation::List,
        "POST" | "PUT" => Operation::Write,
        "PATCH" => Operation::Patch,
        "DELETE" => Operation::Delete,
        _ => return Err(Failure { status: 405, errors: Vec::new() }),
    };
    if operation == Operation::List && !path.ends_with('/') {
        path.push('/');
    }
    let reads = matches!(operation, Operation::Read | Operation::List | Operation::Delete);
    let fields = if reads { query } else { Fields::from_body(body)? };
    let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let wrap_ttl = header("x-vault-wrap-ttl").filter(|text| !text.is_empty()).map(|text| {
        fields::duration(text).ok_or_else(|| Failure::bad("error parsing X-Vault-Wrap-TTL"))
    });
    let content_type = header("content-type").unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default().trim();
    Ok(Request {
        operation,
        namespace: header("x-vault-namespace").unwrap_or_default().to_owned(),
        path,
        token: header("x-vault-token").or(bearer).map(str::to_owned),
        fields,
        wrap_ttl: wrap_ttl.transpose()?.filter(|ttl| !ttl.is_zero()),
        peer: connection.peer.clone(),
        tls: connection.tls,
        content_type: content_type.to_owned(),
        review: None,
    })
}
