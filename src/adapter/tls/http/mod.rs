//! HTTP/1.1 and HTTP/2 in, HTTP/1.1 out to the application.
//!
//! Each request is read as a whole head and written anew, so that nothing but what was
//! understood reaches the application; bodies pass piece by piece.

use std::convert::Infallible;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::application::Application;
use super::handshake::Secured;
use super::settings::H2;
use super::{Hold, Identity, Station};
use crate::adapter::activity::{Activity, Alarms};
use crate::adapter::upstream::{self, Answer, Upstream};
use crate::config::TlsHttp;
use crate::server::Unstuck;

mod body;
mod head;
mod pool;
mod pulse;
mod refusal;
mod stream;
mod upgrade;

use body::{Content, Inbound, Outbound, Reply};
use head::{Addressed, Origin};
use pulse::{Felt, Over, Patience, Pulse};
use refusal::Refusal;
use stream::Streams;
use upgrade::Upgrade;

/// Room for one head, and for what of an answer was read and is not passed on yet.
const LARGEST_HEAD: usize = 64 << 10;
/// What clients may send that the application does not take: of one request, and of all of a
/// connection together.
const WINDOW_OF_STREAM: u32 = 128 << 10;
const WINDOW_OF_CONNECTION: u32 = 256 << 10;
/// What of one answer waits for its client, give or take a piece.
const WAITING: usize = 16 << 10;
/// How a connection, or a request of HTTP/2, ended whose client takes nothing: in metrics.
const STUCK: &str = "write_timeout";
/// For a client to take note that an idle connection ends.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The HTTP of one adapter.
pub(super) struct Http {
    station: Arc<Station>,
    limits: TlsHttp,
    upstream: Upstream<Application, Inbound>,
    alarms: Alarms,
}

/// One connection from outside.
struct Connection {
    http: Arc<Http>,
    origin: Origin,
    identity: Arc<Identity>,
    pulse: Arc<Pulse>,
    hold: Arc<Hold>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Http {
    pub(super) fn new(station: Arc<Station>, limits: TlsHttp, application: Application) -> Self {
        Self { station, limits, upstream: pool::pool(application), alarms: Alarms::default() }
    }

    /// Until the client closes, a time is up, or `stop` asks to end: then the requests under way
    /// are still answered. Returns how it ended.
    pub(super) async fn serve(
        self: Arc<Self>,
        secured: Secured,
        hold: Hold,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> &'static str {
        let Secured { tls, ends, identity } = secured;
        let is_http2 = tls.get_ref().1.alpn_protocol() == Some(H2);
        let patience = Patience {
            head: self.limits.header_timeout,
            idle: self.station.spec.limits.idle_timeout,
        };
        let pulse = Arc::new(Pulse::new(patience, !is_http2));
        let inner = Unstuck::new(tls, self.limits.write_timeout);
        let io = TokioIo::new(Felt { inner, pulse: Arc::clone(&pulse) });
        let (http1, http2) = (http1(), self.http2());
        let origin = Origin::new(ends.client, ends.server, identity.forwarded().as_deref());
        let connection = Arc::new(Connection {
            http: self,
            origin,
            identity,
            pulse: Arc::clone(&pulse),
            hold: Arc::new(hold),
            tracker,
            stop: stop.clone(),
        });
        let service = service_fn(move |request| {
            let connection = Arc::clone(&connection);
            async move { Ok::<_, Infallible>(connection.respond(request).await) }
        });
        if is_http2 {
            let served = http2.serve_connection(io, service);
            drive(served, http2::Connection::graceful_shutdown, &pulse, &stop).await
        } else {
            let served = http1.serve_connection(io, service).with_upgrades();
            drive(served, http1::UpgradeableConnection::graceful_shutdown, &pulse, &stop).await
        }
    }

    fn http2(&self) -> http2::Builder<Streams> {
        let numbers = Arc::clone(&self.station.numbers);
        let streams = Streams { patience: self.limits.write_timeout, numbers };
        let keepalive = self.station.spec.limits.keepalive;
        let mut builder = http2::Builder::new(streams);
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.max_concurrent_streams)
            .initial_stream_window_size(WINDOW_OF_STREAM)
            .initial_connection_window_size(WINDOW_OF_CONNECTION)
            .max_send_buf_size(WAITING)
            .max_header_list_size(u32::try_from(LARGEST_HEAD).unwrap_or(u32::MAX))
            .keep_alive_interval(keepalive)
            .keep_alive_timeout(keepalive);
        builder
    }
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(LARGEST_HEAD)
        .half_close(false)
        // Ours, which tells a late head from a connection that rests.
        .header_read_timeout(None);
    builder
}

/// Runs a connection of either kind.
async fn drive<C>(
    connection: C,
    ask_to_end: fn(Pin<&mut C>),
    pulse: &Pulse,
    stop: &CancellationToken,
) -> &'static str
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    let mut asked = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return word(&ended, pulse),
            () = stop.cancelled(), if !asked => {
                asked = true;
                ask_to_end(connection.as_mut());
            }
            over = pulse.over() => {
                if over == Over::Idle {
                    ask_to_end(connection.as_mut());
                    let _ = timeout(LAST_WORD, connection).await;
                }
                return over.as_str();
            }
        }
    }
}

fn word(ended: &hyper::Result<()>, pulse: &Pulse) -> &'static str {
    match ended {
        Ok(()) => "done",
        Err(error) if error.is_parse() => "malformed",
        Err(_) if pulse.is_stuck() => STUCK,
        Err(_) => "broken",
    }
}

impl Connection {
    /// Answers one request; a failure is an answer too.
    async fn respond(&self, mut request: Request<Incoming>) -> Response<Reply> {
        let under_way = self.pulse.begin();
        let mut upgrade = Upgrade::offered(&mut request);
        let (parts, body) = request.into_parts();
        let numbers = &self.http.station.numbers;
        let response = match self.forward(parts, body, &mut upgrade).await {
            Ok(response) => response,
            Err(refusal) => {
                if refusal.is_of_application() {
                    numbers.application_error(refusal.code());
                } else {
                    numbers.refused(refusal.code());
                }
                refusal.response().map(Content::Whole)
            }
        };
        if let Some(upgrade) = upgrade {
            self.tracker.spawn(upgrade.given_up());
        }
        numbers.request(response.status().as_u16());
        response.map(|content| Reply::new(content, under_way))
    }

    async fn forward(
        &self,
        parts: Parts,
        body: Incoming,
        upgrade: &mut Option<Upgrade>,
    ) -> Result<Response<Content>, Refusal> {
        let addressed = self.origin.addressed(&parts)?;
        let admitted = self.http.station.access.decide(&self.identity, &parts).await?;
        self.http.station.count(&admitted);
        let limits = &self.http.limits;
        let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok());
        let length: Option<u64> = length.and_then(|length| length.parse().ok());
        if length > limits.max_request_body.or(length) {
            return Err(Refusal::BodyTooLong);
        }
        let is_head = parts.method == Method::HEAD;
        let activity = Arc::new(Activity::new());
        let patience = self.http.station.spec.limits.idle_timeout;
        let most = limits.max_request_body;
        let body = Inbound::new(body, Arc::clone(&activity), most, patience, admitted.reserved());
        let mut request = self.outgoing(parts, &addressed, upgrade.as_ref(), body);
        admitted.apply(request.headers_mut());
        let alarms = &self.http.alarms;
        let answered = tokio::select! {
            biased;
            answered = self.http.upstream.request(request) => answered,
            () = activity.quiet_for_with(limits.response_timeout, alarms) => return Err(Refusal::Timeout),
        };
        match answered {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                self.switch(response, upgrade.take().ok_or(Refusal::Failed)?)
            }
            Ok(response) => {
                self.http.station.reached(Ok(()));
                Ok(self.incoming(response, is_head, activity))
            }
            Err(error) => {
                let refusal = Refusal::from(&error);
                if refusal.is_of_application() {
                    self.http.station.reached(Err(&error));
                }
                Err(refusal)
            }
        }
    }

    fn outgoing(
        &self,
        mut parts: Parts,
        addressed: &Addressed,
        upgrade: Option<&Upgrade>,
        body: Inbound,
    ) -> Request<Inbound> {
        let mut request = Request::new(body);
        *request.uri_mut() = upstream::target(mem::take(&mut parts.uri));
        let protocol = upgrade.and_then(|upgrade| upgrade.protocol.clone());
        *request.headers_mut() = head::outgoing(&mut parts, addressed, protocol, &self.origin);
        *request.method_mut() = parts.method;
        request
    }

    /// The application agreed: from here on it is bytes.
    fn switch(
        &self,
        mut response: Response<Answer<Inbound>>,
        upgrade: Upgrade,
    ) -> Result<Response<Content>, Refusal> {
        let protocol = upgrade.protocol.clone().ok_or(Refusal::Failed)?;
        let sides = upgrade.agreed(&mut response).ok_or(Refusal::Failed)?;
        self.http.station.reached(Ok(()));
        let (stop, hold) = (self.stop.clone(), Arc::clone(&self.hold));
        self.tracker.spawn(async move {
            upgrade::copy(sides, stop).await;
            drop(hold);
        });
        let (parts, _) = response.into_parts();
        let mut response = Response::new(Content::Whole(Full::new(Bytes::new())));
        *response.status_mut() = parts.status;
        *response.headers_mut() = upgrade::switching(head::incoming(parts.headers, true), protocol);
        Ok(response)
    }

    fn incoming(
        &self,
        response: Response<Answer<Inbound>>,
        is_head: bool,
        activity: Arc<Activity>,
    ) -> Response<Content> {
        let (parts, body) = response.into_parts();
        let keeps_length = is_head || parts.status == StatusCode::NOT_MODIFIED;
        let station = &self.http.station;
        let patience = (!are_events(&parts.headers)).then_some(station.spec.limits.idle_timeout);
        let body = Outbound::new(body, activity, patience, Arc::clone(&station.numbers));
        let mut response = Response::new(Content::Streamed(body));
        *response.status_mut() = parts.status;
        *response.headers_mut() = head::incoming(parts.headers, keeps_length);
        response
    }
}

/// Server-sent events come when there is something to tell.
fn are_events(headers: &HeaderMap) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(EVENTS)
}
