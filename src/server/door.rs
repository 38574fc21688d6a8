//! One request at the local door: guards, handler, metrics, audit.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use prometheus_client::metrics::counter::Counter;

use super::answer::Answer;
use super::body::Body;
use super::code::Code;
use super::events::{self, Streams};
use super::guard::{self, Admitted, Candidate, Refused, Verdict};
use super::head::Head;
use super::peer::Peer;
use super::policy::{Policy, SharedPolicy};
use super::problem::Problem;
use super::route::Action;
use super::strangers::Place;
use super::wanted::Waiting;
use super::{Source, secret};
use crate::certificate::KeystoreThread;
use crate::observe::{Access, Audit, Metrics};

/// What all connections share.
pub(super) struct Door<S> {
    pub(super) source: Arc<S>,
    pub(super) policy: SharedPolicy,
    pub(super) audit: Option<Audit>,
    pub(super) outcomes: Outcomes,
    pub(super) streams: Streams,
    pub(super) keystores: Arc<KeystoreThread>,
}

/// One connection.
pub(super) struct Session<S> {
    pub(super) door: Arc<Door<S>>,
    pub(super) peer: Peer,
    pub(super) place: Place,
}

impl<S: Source> Session<S> {
    /// Answers one request; a failure is an answer too.
    pub(super) async fn respond(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let (parts, _) = request.into_parts();
        let response = self.answer(&parts).await;
        if let Some(audit) = &self.door.audit {
            audit.room().await;
        }
        Ok(response)
    }

    async fn answer(&self, parts: &Parts) -> Response<Body> {
        let head = Head::scan(parts);
        let policy = self.door.policy.load();
        let admitted = match guard::admit(Candidate::new(&head, &self.peer, &policy)) {
            Verdict::Admitted(admitted) => admitted,
            Verdict::Refused(refused) => return self.refuse(&refused),
        };
        self.place.leave();
        let answer = if admitted.action() == Some(Action::Events) {
            self.open_events(&admitted, &policy, &head)
        } else {
            let Door { source, keystores, policy: in_force, streams, .. } = &*self.door;
            let (judge, admitted, stopping) = (&*policy, &admitted, &streams.stopping);
            let waiting = Waiting { stopping, policy: in_force, judge, admitted };
            let answer = secret::answer(&**source, keystores, admitted, &head, &waiting);
            answer.await.unwrap_or_else(Answer::from)
        };
        self.note_admitted(&admitted, &answer);
        answer.response
    }

    fn refuse(&self, refused: &Refused<'_>) -> Response<Body> {
        let problem = Problem::Denied(refused.denied);
        self.note_refused(refused, problem.code());
        let mut response = problem.response();
        if refused.caller().is_none() && self.place.is_held() {
            // A stranger takes its place anew.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }

    fn open_events(&self, admitted: &Admitted<'_>, judge: &Arc<Policy>, head: &Head<'_>) -> Answer {
        let Door { source, policy, streams, .. } = &*self.door;
        let last = head.headers.get("last-event-id").and_then(|id| id.to_str().ok());
        let response = events::open(source, (policy, judge), streams, admitted, last);
        Answer { response, code: Code::Ok, served: None }
    }

    fn note_admitted(&self, admitted: &Admitted<'_>, answer: &Answer) {
        self.door.outcomes.count(answer.code);
        let Some(audit) = &self.door.audit else { return };
        audit.record(&Access {
            action: admitted.action().map_or("none", |action| action.as_str()),
            adapter: None,
            caller: Some(admitted.caller()),
            uid: self.peer.known_uid(),
            name: admitted.declared().map(|declared| declared.name.as_str()),
            field: admitted.field(),
            outcome: answer.code.as_str(),
            freshness: answer.served.map(|(freshness, _)| freshness.as_str()),
            age: answer.served.map(|(_, age)| age),
            transport: self.peer.transport(),
        });
    }

    fn note_refused(&self, refused: &Refused<'_>, code: Code) {
        self.door.outcomes.count(code);
        let Some(audit) = &self.door.audit else { return };
        audit.record(&Access {
            action: refused.action().map_or("none", |action| action.as_str()),
            caller: refused.caller(),
            uid: self.peer.known_uid(),
            name: refused.name(),
            field: refused.field(),
            outcome: code.as_str(),
            transport: self.peer.transport(),
            ..Access::default()
        });
    }
}

/// A counter for each code, found once, and two for connections that never became a request.
pub(super) struct Outcomes {
    by_code: [Counter; Code::ALL.len()],
    malformed: Counter,
    timed_out: Counter,
}

impl Outcomes {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            by_code: Code::ALL.map(|code| metrics.requests(code.as_str())),
            malformed: metrics.requests("malformed"),
            timed_out: metrics.requests("timed_out"),
        }
    }

    fn count(&self, code: Code) {
        if let Some(counter) = self.by_code.get(code as usize) {
            counter.inc();
        }
    }

    /// A connection ended in the middle of something.
    pub(super) fn count_error(&self, error: &hyper::Error) {
        if error.is_parse() {
            self.malformed.inc();
        } else if error.is_timeout() {
            self.timed_out.inc();
        }
    }
}
