//! Scripted faults: which requests go wrong, how, and how often.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

/// Which requests a fault is for: any, one path or a prefix, and perhaps one method.
#[derive(Clone, Debug)]
pub struct Matcher {
    method: Option<String>,
    path: PathMatch,
}

#[derive(Clone, Debug)]
enum PathMatch {
    Any,
    Exact(String),
    Prefix(String),
}

impl Matcher {
    /// Every request.
    pub fn any() -> Self {
        Self { method: None, path: PathMatch::Any }
    }

    /// Requests for exactly this path, written without `/v1/`.
    pub fn path(path: impl Into<String>) -> Self {
        Self { method: None, path: PathMatch::Exact(path.into()) }
    }

    /// Requests for paths that start like this, written without `/v1/`.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self { method: None, path: PathMatch::Prefix(prefix.into()) }
    }

    /// `GET` of exactly this path.
    pub fn get(path: impl Into<String>) -> Self {
        Self::path(path).method("GET")
    }

    /// `POST` to exactly this path.
    pub fn post(path: impl Into<String>) -> Self {
        Self::path(path).method("POST")
    }

    /// Only with this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_uppercase());
        self
    }

    fn matches(&self, method: &str, path: &str) -> bool {
        self.method.as_deref().is_none_or(|wanted| wanted == method)
            && match &self.path {
                PathMatch::Any => true,
                PathMatch::Exact(wanted) => wanted == path,
                PathMatch::Prefix(prefix) => path.starts_with(prefix),
            }
    }
}

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub struct Fault {
    pub(super) kind: Kind,
    pub(super) retry_after: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Status(u16, Vec<String>),
    Body { status: u16, content_type: String, body: Bytes },
    Delay(Duration),
    Hang,
    ResetMidBody,
    TruncatedJson,
    Announce(u64),
    SlowDrip { chunk: usize, interval: Duration },
    Redirect(String),
    Close,
    Empty,
}

impl Fault {
    fn of(kind: Kind) -> Self {
        Self { kind, retry_after: None }
    }

    /// This status, with an error body as Vault writes one.
    pub fn status(code: u16) -> Self {
        let error = match code {
            403 => "permission denied",
            429 => "request path rate limit exceeded",
            472 | 473 | 503 => "Vault is unavailable",
            _ => "scripted fault",
        };
        Self::of(Kind::Status(code, vec![error.to_owned()]))
    }

    /// This status, with these error strings.
    pub fn errors(code: u16, errors: &[&str]) -> Self {
        Self::of(Kind::Status(code, errors.iter().map(|&error| error.to_owned()).collect()))
    }

    /// With a `Retry-After` header.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Exactly this answer.
    pub fn body(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let content_type = content_type.to_owned();
        Self::of(Kind::Body { status, content_type, body: body.into() })
    }

    /// The normal answer, later. The request is handled after the delay.
    pub fn delay(delay: Duration) -> Self {
        Self::of(Kind::Delay(delay))
    }

    /// No answer, until the client goes away.
    pub fn hang() -> Self {
        Self::of(Kind::Hang)
    }

    /// The normal answer's head and the first half of its body, then a TCP reset.
    pub fn reset_mid_body() -> Self {
        Self::of(Kind::ResetMidBody)
    }

    /// A whole HTTP answer whose body is the first half of the normal JSON.
    pub fn truncated_json() -> Self {
        Self::of(Kind::TruncatedJson)
    }

    /// Announces this many bytes, sends a few, and then nothing more.
    pub fn announce(content_length: u64) -> Self {
        Self::of(Kind::Announce(content_length))
    }

    /// The normal answer, a few bytes at a time.
    pub fn slow_drip(bytes_per_chunk: usize, interval: Duration) -> Self {
        Self::of(Kind::SlowDrip { chunk: bytes_per_chunk.max(1), interval })
    }

    /// 307 to `location`.
    pub fn redirect(location: &str) -> Self {
        Self::of(Kind::Redirect(location.to_owned()))
    }

    /// The connection is closed without an answer.
    pub fn close() -> Self {
        Self::of(Kind::Close)
    }

    /// 204 without a body.
    pub fn empty() -> Self {
        Self::of(Kind::Empty)
    }
}

/// The server's script. Cloning it gives another handle to the same one.
#[derive(Clone, Default)]
pub struct Faults {
    steps: Arc<Mutex<Vec<Arc<Step>>>>,
}

struct Step {
    matcher: Matcher,
    fault: Fault,
    left: AtomicUsize,
    hits: AtomicUsize,
}

impl Faults {
    /// Starts a step: `faults.on(matcher).respond(fault).times(2)`.
    pub fn on(&self, matcher: Matcher) -> On {
        On { faults: self.clone(), matcher }
    }

    /// Forgets every step.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The first step that is for this request and not used up, used once.
    pub(super) fn take(&self, method: &str, path: &str) -> Option<Fault> {
        let steps = self.lock();
        let step = steps.iter().find(|step| {
            step.left.load(Ordering::Relaxed) > 0 && step.matcher.matches(method, path)
        })?;
        if step.left.load(Ordering::Relaxed) != usize::MAX {
            step.left.fetch_sub(1, Ordering::Relaxed);
        }
        step.hits.fetch_add(1, Ordering::Relaxed);
        Some(step.fault.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Step>>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A step without its fault yet.
pub struct On {
    faults: Faults,
    matcher: Matcher,
}

impl On {
    /// The step is in force from here on, once unless the script says otherwise.
    pub fn respond(self, fault: Fault) -> Script {
        let step = Arc::new(Step {
            matcher: self.matcher,
            fault,
            left: AtomicUsize::new(1),
            hits: AtomicUsize::new(0),
        });
        self.faults.lock().push(Arc::clone(&step));
        Script { faults: self.faults, step }
    }
}

/// A step in force: how often, and how often so far. Dropping it changes nothing.
pub struct Script {
    faults: Faults,
    step: Arc<Step>,
}

impl Script {
    /// For the next `count` requests that match.
    #[expect(clippy::return_self_not_must_use, reason = "in force without its handle too")]
    pub fn times(self, count: usize) -> Self {
        self.step.left.store(count, Ordering::Relaxed);
        self
    }

    /// For every request that matches, until the script is cleared.
    #[expect(clippy::return_self_not_must_use, reason = "in force without its handle too")]
    pub fn forever(self) -> Self {
        self.times(usize::MAX)
    }

    /// Once this step is used up, requests that match it meet `fault`, once.
    #[expect(clippy::return_self_not_must_use, reason = "in force without its handle too")]
    pub fn then(&self, fault: Fault) -> Self {
        self.faults.on(self.step.matcher.clone()).respond(fault)
    }

    /// How many requests met it.
    pub fn hits(&self) -> usize {
        self.step.hits.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(faults: &Faults, method: &str, path: &str) -> Option<u16> {
        match faults.take(method, path)?.kind {
            Kind::Status(code, _) => Some(code),
            _ => Some(0),
        }
    }

    #[test]
    fn steps_are_used_in_order() {
        let faults = Faults::default();
        let first = faults.on(Matcher::get("a")).respond(Fault::status(503)).times(2);
        first.then(Fault::status(429));
        let rest = faults.on(Matcher::prefix("b/")).respond(Fault::close()).forever();
        assert_eq!(code(&faults, "POST", "a"), None);
        assert_eq!(code(&faults, "GET", "a"), Some(503));
        assert_eq!(code(&faults, "GET", "a"), Some(503));
        assert_eq!(code(&faults, "GET", "a"), Some(429));
        assert_eq!(code(&faults, "GET", "a"), None);
        assert_eq!(code(&faults, "DELETE", "b/c"), Some(0));
        assert_eq!((first.hits(), rest.hits()), (2, 1));
        faults.clear();
        assert_eq!(code(&faults, "DELETE", "b/c"), None);
    }
}
