//! HTTP/1.1 in, HTTP/1.1 out to the one destination, with one header made of the secret.
//!
//! What the application sends decides neither where a request goes nor with which credential,
//! and a redirect is its own to follow: it leads out of here, where there is no credential.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connect::Unreached;
use super::{Station, Use};
use crate::adapter::activity::{Activity, Alarms};
use crate::adapter::upstream::{self, Answer, Keeping, Upstream};
use crate::cache::Served;
use crate::config::{HeaderSpec, SIDEKEY_TOKEN_HEADER};
use crate::observe::event;
use crate::scope::Target;
use crate::secret::Etag;
use crate::server::{Peer, Stream, Timeouts, screen, serve_http};

mod body;
mod credential;
mod end;
mod head;
mod pool;
mod refusal;

use body::{Data, Reply};
use credential::Credential;
use pool::Dial;
use refusal::Refusal;

/// How long a connection of the application may stay unused after its first request, or take over
/// a later one's head. Longer than most clients keep theirs, so that it is they who close.
const IDLE: Duration = Duration::from_secs(90);
/// Room for one head of an answer: what servers far away put into them is not ours to judge.
const LARGEST_HEAD: usize = 400 << 10;

/// One HTTP ambassador.
pub(super) struct Http {
    pub(super) station: Arc<Station>,
    header: Option<HeaderSpec>,
    pool: ArcSwap<Pool>,
    alarms: Alarms,
    host: HeaderValue,
}

/// Kept connections, all made with one certificate where certificates are shown. Let go of, it
/// closes those that are not in use, and the others after their answer.
struct Pool {
    certificate: Option<Etag>,
    upstream: Upstream<Dial, Data>,
}

/// An answer, with what it was made with.
struct Outcome {
    response: Response<Reply>,
    word: &'static str,
    served: Option<Served>,
}

impl Http {
    pub(super) fn new(station: Arc<Station>, header: Option<HeaderSpec>) -> Self {
        let destination = &station.spec.destination;
        let authority = destination.authority();
        let default = if destination.tls.is_some() { ":443" } else { ":80" };
        let host = authority.strip_suffix(default).unwrap_or(&authority);
        // Read as a part of a URL.
        let host = HeaderValue::from_str(host).unwrap_or(HeaderValue::from_static(""));
        let pool = ArcSwap::from_pointee(Pool::new(&station, None));
        Self { station, header, pool, alarms: Alarms::default(), host }
    }

    /// The pool for connections made with this certificate.
    fn pool(&self, certificate: Option<&Served>) -> Arc<Pool> {
        let wanted = certificate.map(|served| *served.secret.etag());
        let pool = self.pool.load_full();
        if pool.certificate == wanted {
            return pool;
        }
        let pool = Arc::new(Pool::new(&self.station, wanted));
        self.pool.store(Arc::clone(&pool));
        pool
    }

    /// Lets go of kept connections when their certificate is replaced, or ends.
    pub(super) async fn follow_certificate(self: Arc<Self>, stop: CancellationToken) {
        let Station { spec, shared, .. } = &*self.station;
        let Some(name) = spec.client_certificate() else { return };
        let mut fetches = shared.cache.fetches();
        loop {
            tokio::select! {
                Ok(()) = fetches.changed() => {}
                () = stop.cancelled() => return,
            }
            let now = shared.cache.cached(name, None).and_then(Result::ok);
            self.pool(now.as_ref());
        }
    }

    pub(super) async fn serve(
        self: Arc<Self>,
        stream: Stream,
        peer: Peer,
        stop: CancellationToken,
    ) {
        let (first, write) = {
            let policy = self.station.shared.policy.load();
            (policy.limits().header_timeout, policy.limits().write_timeout)
        };
        let peer = Arc::new(peer);
        let asked = Notify::new();
        let answer = |request| {
            asked.notify_one();
            let (http, peer) = (Arc::clone(&self), Arc::clone(&peer));
            async move { Ok::<_, Infallible>(http.respond(&peer, request).await) }
        };
        // Who has asked for nothing yet may be anybody, and does not hold a place for long.
        let silent = async {
            if timeout(first, asked.notified()).await.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        let word = tokio::select! {
            ended = serve_http(stream, Timeouts { head: IDLE, write }, stop, answer) => {
                ended.err().map(|error| end::word(&error))
            }
            () = silent => Some(end::IDLE),
        };
        if let Some(word) = word {
            self.station.numbers.count(word);
        }
    }

    async fn respond(&self, peer: &Peer, request: Request<Incoming>) -> Response<Reply> {
        let mut caller = None;
        let (parts, body) = request.into_parts();
        let outcome = match self.admit(peer, &parts, &mut caller) {
            Ok(()) => self.forward(parts, body).await,
            Err(refusal) => Outcome::refused(refusal, None),
        };
        let Outcome { response, word, served } = outcome;
        self.station.note(&Use {
            action: "forward",
            peer,
            caller: caller.as_deref(),
            outcome: word,
            served: served.as_ref(),
        });
        self.station.audit_room().await;
        response
    }

    fn admit(
        &self,
        peer: &Peer,
        parts: &Parts,
        caller: &mut Option<Arc<str>>,
    ) -> Result<(), Refusal> {
        let policy = self.station.shared.policy.load();
        screen(parts, peer, &policy).map_err(|denied| Refusal::of(&denied))?;
        head::fits(&parts.method, &parts.uri, &parts.headers)?;
        let token = token(&parts.headers)?;
        let rule = self.station.identify(peer, token);
        *caller = Some(rule.map_err(|denied| Refusal::of(&denied))?);
        self.is_in_scope(parts)
    }

    fn is_in_scope(&self, parts: &Parts) -> Result<(), Refusal> {
        let scope = &self.station.spec.scope;
        if !scope.is_limited() {
            return Ok(());
        }
        let target = Target::read(&parts.method, &parts.uri, &parts.headers);
        let target = target.map_err(|_| Refusal::Ambiguous)?;
        if scope.admits(&target) { Ok(()) } else { Err(Refusal::OutOfScope) }
    }

    async fn forward(&self, parts: Parts, body: Incoming) -> Outcome {
        let (served, credential) = match &self.header {
            None => (None, Credential::none()),
            Some(header) => {
                let Some(served) = self.station.secret(&header.secret).await else {
                    return Outcome::refused(Refusal::CredentialUnavailable, None);
                };
                let Some(credential) = Credential::make(&header.value, &served.secret) else {
                    event::credential_unusable(&self.station.spec.name, &header.secret);
                    return Outcome::refused(Refusal::CredentialUnusable, Some(served));
                };
                (Some(served), credential)
            }
        };
        let pool = match self.station.certificate().await {
            Ok(certificate) => self.pool(certificate.as_ref()),
            Err(error) => return Outcome::refused(Refusal::Unreached((&error).into()), served),
        };
        let is_head = parts.method == Method::HEAD;
        let activity = Arc::new(Activity::new());
        let request = self.outgoing((parts, body), &credential, &activity);
        let answered = tokio::select! {
            biased;
            answered = pool.upstream.request(request) => answered,
            () = activity.quiet_for_with(self.station.spec.response_timeout, &self.alarms) => {
                return Outcome::refused(Refusal::Unreached(Unreached::Timeout), served);
            }
        };
        let refusal = match answered {
            Ok(response) if response.status() != StatusCode::SWITCHING_PROTOCOLS => {
                self.station.reached(Ok(()));
                let patience = self.station.spec.response_timeout;
                let (response, echoes) = incoming(response, is_head, &credential, patience);
                self.station.numbers.echoes(echoes);
                return Outcome { response, word: "ok", served };
            }
            Ok(_) => Refusal::DestinationFailed,
            Err(error) => {
                let refusal = Refusal::from(&error);
                if !matches!(refusal, Refusal::RequestCutOff) {
                    self.station.reached(Err(&error));
                }
                refusal
            }
        };
        Outcome::refused(refusal, served)
    }

    fn outgoing(
        &self,
        (parts, body): (Parts, Incoming),
        credential: &Credential,
        activity: &Arc<Activity>,
    ) -> Request<Data> {
        let mut request = Request::new(Data::counted(body, Arc::clone(activity)));
        *request.method_mut() = parts.method;
        *request.uri_mut() = upstream::target(parts.uri);
        // Where a certificate is all there is, the host is all that is ours.
        let ours = match (&self.header, &credential.header) {
            (Some(header), Some(value)) => (&header.name, value.clone()),
            _ => (&header::HOST, self.host.clone()),
        };
        *request.headers_mut() = head::outgoing(parts.headers, &self.host, ours);
        request
    }
}

/// The answer as the application gets it, and how many headers were kept from it.
fn incoming(
    response: Response<Answer<Data>>,
    is_head: bool,
    credential: &Credential,
    patience: Duration,
) -> (Response<Reply>, u64) {
    let (parts, body) = response.into_parts();
    let patience = (!is_stream_of_events(&parts.headers)).then_some(patience);
    let keeps_length = is_head || parts.status == StatusCode::NOT_MODIFIED;
    let (headers, echoes) = head::incoming(parts.headers, keeps_length, credential);
    // Nothing else of the parts: the reason phrase is free text.
    let mut response = Response::new(Reply::Streamed(Data::answer(body, patience)));
    *response.status_mut() = parts.status;
    *response.headers_mut() = headers;
    (response, echoes)
}

/// There nothing may happen for as long as nothing happens.
fn is_stream_of_events(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// The token that a caller rule may ask for. It goes no further than this.
fn token(headers: &HeaderMap) -> Result<Option<&[u8]>, Refusal> {
    let mut values = headers.get_all(SIDEKEY_TOKEN_HEADER).into_iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Refusal::CallerUnknown),
        (token, None) => Ok(token.map(HeaderValue::as_bytes).filter(|token| !token.is_empty())),
    }
}

impl Pool {
    fn new(station: &Arc<Station>, certificate: Option<Etag>) -> Self {
        let time = station.spec.idle_timeout;
        let keeping = Keeping { largest_head: LARGEST_HEAD, most: usize::MAX, time };
        Self { certificate, upstream: Upstream::new(Dial(Arc::clone(station)), keeping) }
    }
}

impl Outcome {
    fn refused(refusal: Refusal, served: Option<Served>) -> Self {
        Self { response: refusal.response(), word: refusal.code(), served }
    }
}
