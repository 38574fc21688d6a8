//! HTTP/1.1 in, HTTP/1.1 out to the one destination, with one header made of the secret.
//!
//! What the application sends decides neither where a request goes nor with which credential,
//! and a redirect is its own to follow: it leads out of here, where there is no credential.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioTimer;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Station, Use};
use crate::adapter::activity::Activity;
use crate::cache::Served;
use crate::config::{HeaderSpec, SIDEKEY_TOKEN_HEADER};
use crate::observe::event;
use crate::scope::Target;
use crate::server::{Peer, Stream, Timeouts, screen, serve_http};

mod body;
mod credential;
mod head;
mod pool;
mod refusal;

use body::{Data, Reply};
use credential::Credential;
use pool::{Dial, Spawner};
use refusal::Refusal;

/// How long a connection of the application may stay unused after its first request, or take over
/// a later one's head. Longer than most clients keep theirs, so that it is they who close.
const IDLE: Duration = Duration::from_secs(90);

/// One HTTP ambassador.
pub(super) struct Http {
    station: Arc<Station>,
    header: HeaderSpec,
    client: Client<Dial, Data>,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
}

/// An answer, with what it was made with.
struct Outcome {
    response: Response<Reply>,
    word: &'static str,
    served: Option<Served>,
}

impl Http {
    pub(super) fn new(station: Arc<Station>, header: HeaderSpec) -> Self {
        let destination = &station.spec.destination;
        let scheme = if destination.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let authority = destination.authority();
        let default = if destination.tls.is_some() { ":443" } else { ":80" };
        let host = authority.strip_suffix(default).unwrap_or(&authority);
        // Both were read as parts of a URL.
        let host = HeaderValue::from_str(host).unwrap_or(HeaderValue::from_static(""));
        let authority = authority.parse().unwrap_or(Authority::from_static("invalid"));
        let client = Client::builder(Spawner)
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(station.spec.idle_timeout)
            .set_host(false)
            .http1_writev(true)
            .build(Dial(station.connector.clone()));
        Self { station, header, client, scheme, authority, host }
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
        tokio::select! {
            // How it ended is the application's to know.
            _ = serve_http(stream, Timeouts { head: IDLE, write }, stop, answer) => {}
            () = silent => {}
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
        let Some(served) = self.station.secret().await else {
            return Outcome::refused(Refusal::CredentialUnavailable, None);
        };
        let Some(credential) = Credential::make(&self.header.value, &served.secret) else {
            event::credential_unusable(&self.station.spec.name, &self.station.spec.secret);
            return Outcome::refused(Refusal::CredentialUnusable, Some(served));
        };
        let is_head = parts.method == Method::HEAD;
        let activity = Arc::new(Activity::new());
        let Ok(request) = self.outgoing((parts, body), &credential, &activity) else {
            return Outcome::refused(Refusal::Target, Some(served));
        };
        let answered = tokio::select! {
            biased;
            answered = self.client.request(request) => answered,
            () = activity.quiet_for(self.station.spec.response_timeout) => {
                return Outcome::refused(Refusal::DestinationTimeout, Some(served));
            }
        };
        let refusal = match answered {
            Ok(response) if response.status() != StatusCode::SWITCHING_PROTOCOLS => {
                self.station.reached(Ok(()));
                let (response, echoes) = incoming(response, is_head, &credential);
                self.station.numbers.echoes(echoes);
                return Outcome { response, word: "ok", served: Some(served) };
            }
            Ok(_) => Refusal::DestinationFailed,
            Err(error) => {
                let refusal = Refusal::of_client(&error);
                if !matches!(refusal, Refusal::RequestCutOff) {
                    self.station.reached(Err(&error));
                }
                refusal
            }
        };
        Outcome::refused(refusal, Some(served))
    }

    fn outgoing(
        &self,
        (parts, body): (Parts, Incoming),
        credential: &Credential,
        activity: &Arc<Activity>,
    ) -> Result<Request<Data>, http::uri::InvalidUriParts> {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(self.scheme.clone());
        uri.authority = Some(self.authority.clone());
        uri.path_and_query = parts.uri.into_parts().path_and_query;
        uri.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
        let mut request = Request::new(Data::counted(body, Arc::clone(activity)));
        *request.method_mut() = parts.method;
        *request.uri_mut() = Uri::from_parts(uri)?;
        let value = credential.header.clone();
        *request.headers_mut() =
            head::outgoing(parts.headers, &self.host, (&self.header.name, value));
        Ok(request)
    }
}

/// The answer as the application gets it, and how many headers were kept from it.
fn incoming(
    response: Response<Incoming>,
    is_head: bool,
    credential: &Credential,
) -> (Response<Reply>, u64) {
    let (parts, body) = response.into_parts();
    let keeps_length = is_head || parts.status == StatusCode::NOT_MODIFIED;
    let (headers, echoes) = head::incoming(parts.headers, keeps_length, credential);
    // Nothing else of the parts: the reason phrase is free text.
    let mut response = Response::new(Reply::Streamed(Data::plain(body)));
    *response.status_mut() = parts.status;
    *response.headers_mut() = headers;
    (response, echoes)
}

/// The token that a caller rule may ask for. It goes no further than this.
fn token(headers: &HeaderMap) -> Result<Option<&[u8]>, Refusal> {
    let mut values = headers.get_all(SIDEKEY_TOKEN_HEADER).into_iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Refusal::CallerUnknown),
        (token, None) => Ok(token.map(HeaderValue::as_bytes).filter(|token| !token.is_empty())),
    }
}

impl Outcome {
    fn refused(refusal: Refusal, served: Option<Served>) -> Self {
        Self { response: refusal.response(), word: refusal.code(), served }
    }
}
