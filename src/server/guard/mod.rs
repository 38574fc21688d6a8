//! The guard chain: what every request passes before it is routed.
//!
//! [`CHAIN`] is the whole of it, in order. Cheap and content-free guards come first, so that a
//! request that no application would send learns nothing about callers and names. The last
//! ones establish who asks and whether that caller may have what it asks for; only
//! [`admit`] makes an [`Admitted`], and handlers take nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::request::Parts;

use super::head::Head;
use super::peer::Peer;
use super::policy::{Declared, Policy, Rule, SharedPolicy};
use super::rate::Rate;
use super::route::{self, Action, Found};
use super::target::Target;
use crate::config::NameKind;
use matched::Matched;

mod caller;
mod host;
mod matched;
mod shape;

pub(crate) use host::OwnNames;

type Guard = for<'c, 'r> fn(&'c mut Candidate<'r>) -> Result<(), Denied>;

/// Every guard, by name, in the order they run.
const CHAIN: [(&str, Guard); 11] = [
    ("sizes", shape::sizes),
    ("host", host::host),
    ("forwarded", shape::forwarded),
    ("cross_site", shape::cross_site),
    ("body", shape::body),
    ("target", target),
    ("method", method),
    ("caller", caller::caller),
    ("total_rate", total_rate),
    ("caller_rate", caller::caller_rate),
    ("scope", caller::scope),
];

/// Why a guard refused a request. `problem.rs` says what the asker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The target is longer than any of ours.
    TargetTooLong,
    /// Too many headers, or too long.
    HeadTooLarge,
    /// Not addressed to one of our own names.
    Host,
    /// Came through a proxy.
    Forwarded,
    /// Came from a web page.
    CrossSite,
    /// Has a body.
    Body,
    /// The target is malformed; the text says how.
    Target(&'static str),
    /// The path is there for other methods, listed as in `Allow`.
    Method(&'static str),
    /// Over a limit; come back after this long.
    TooManyRequests(Duration),
    /// No rule matches.
    CallerUnknown,
    /// A rule matches, but none that permits the name.
    OutOfScope,
    /// Declared nowhere, and the caller may ask for everything.
    UnknownName,
}

/// A request on its way through the chain.
pub(super) struct Candidate<'r> {
    head: &'r Head<'r>,
    peer: &'r Peer,
    policy: &'r Policy,
    target: Option<Target<'r>>,
    action: Option<Action>,
    matched: Matched,
    /// The sum of those of the matching rules' tokens.
    generations: u64,
    scope: Option<Scope<'r>>,
}

/// What the last guard granted.
#[derive(Clone, Copy)]
struct Scope<'r> {
    rule: &'r Rule,
    declared: Option<&'r Declared>,
}

impl<'r> Candidate<'r> {
    pub(super) fn new(head: &'r Head<'r>, peer: &'r Peer, policy: &'r Policy) -> Self {
        Self {
            head,
            peer,
            policy,
            target: None,
            action: None,
            matched: Matched::default(),
            generations: 0,
            scope: None,
        }
    }
}

/// A request that passed every guard.
pub(super) struct Admitted<'r> {
    candidate: Candidate<'r>,
    target: Target<'r>,
    scope: Scope<'r>,
}

/// A request that did not, and what was learned about it up to there.
pub(super) struct Refused<'r> {
    pub(super) denied: Denied,
    candidate: Candidate<'r>,
}

/// What the chain says.
pub(super) enum Verdict<'r> {
    Admitted(Admitted<'r>),
    Refused(Refused<'r>),
}

/// Runs the chain.
pub(super) fn admit(mut candidate: Candidate<'_>) -> Verdict<'_> {
    for (_name, guard) in CHAIN {
        if let Err(denied) = guard(&mut candidate) {
            return Verdict::Refused(Refused { denied, candidate });
        }
    }
    match (candidate.target.take(), candidate.scope.take()) {
        (Some(target), Some(scope)) => Verdict::Admitted(Admitted { candidate, target, scope }),
        // The chain always sets both; without them nobody is admitted.
        _ => Verdict::Refused(Refused { denied: Denied::CallerUnknown, candidate }),
    }
}

/// The guards that hold for what is passed on as well: it is addressed to us, and comes neither
/// through a proxy nor from a web page.
pub(crate) fn screen(parts: &Parts, peer: &Peer, policy: &Policy) -> Result<(), Denied> {
    let head = Head::scan(parts);
    let mut candidate = Candidate::new(&head, peer, policy);
    host::host(&mut candidate)?;
    shape::forwarded(&mut candidate)?;
    shape::cross_site(&mut candidate)
}

/// Who it is at the other end: the first of the rules in `allow` that matches, as at the local
/// door, and within the same limits.
pub(crate) fn identify(
    policy: &Policy,
    peer: &Peer,
    token: Option<&[u8]>,
    allow: &BTreeSet<String>,
) -> Result<Arc<str>, Denied> {
    let uid = if policy.asks_for_uids { peer.uid() } else { None };
    let mut found = None;
    for rule in policy.rules.iter().filter(|rule| allow.contains(&*rule.name)) {
        if rule.admits(uid, token).is_some() && found.is_none() {
            found = Some(rule);
        }
    }
    let rule = found.ok_or_else(|| caller::refusal(policy))?;
    take(policy.total_rate.as_ref())?;
    take(rule.rate.as_ref())?;
    Ok(Arc::clone(&rule.name))
}

/// Why a request was admitted, for as long as its answer takes.
pub(super) struct Standing {
    policy: Arc<Policy>,
    matched: Matched,
    generations: u64,
}

impl Standing {
    /// Whether it would still be admitted: the rules are the same, and so are the tokens of those
    /// that matched. What a caller waits for is not given to it on the strength of others.
    pub(super) fn holds(&self, now: &SharedPolicy) -> bool {
        let rules = self.matched.rules(&self.policy);
        Arc::ptr_eq(&now.load(), &self.policy)
            && rules.fold(0u64, |sum, rule| sum.wrapping_add(rule.generation())) == self.generations
    }
}

impl<'r> Admitted<'r> {
    /// Why it was admitted by `policy`.
    pub(super) fn standing(&self, policy: &Arc<Policy>) -> Standing {
        let Candidate { matched, generations, .. } = &self.candidate;
        let (policy, matched) = (Arc::clone(policy), matched.clone());
        Standing { policy, matched, generations: *generations }
    }

    /// What it wants; `None` when no route has its path.
    pub(super) fn action(&self) -> Option<Action> {
        self.candidate.action
    }

    /// The rule that permitted it.
    pub(super) fn caller(&self) -> &'r str {
        &self.scope.rule.name
    }

    /// The declared secret it is about.
    pub(super) fn declared(&self) -> Option<&'r Declared> {
        self.scope.declared
    }

    /// The field it is about.
    pub(super) fn field(&self) -> Option<&str> {
        self.target.field().filter(|_| self.candidate.action.is_some_and(Action::has_field))
    }

    /// The query string.
    pub(super) fn query(&self) -> Option<&'r str> {
        self.target.query()
    }

    /// Every declared name of `kind`, or of all, that this caller may read, in order.
    pub(super) fn readable(&self, kind: Option<NameKind>) -> Vec<&'r Declared> {
        let policy = self.candidate.policy;
        let may_read = |declared: &&Declared| {
            let name = declared.name.as_str();
            kind.is_none_or(|kind| kind == declared.kind)
                && self.candidate.matched.rules(policy).any(|rule| rule.allow.permits(name))
        };
        policy.names.values().filter(may_read).collect()
    }
}

impl<'r> Refused<'r> {
    /// The first rule that matched, when it came so far.
    pub(super) fn caller(&self) -> Option<&'r str> {
        self.candidate.matched.rules(self.candidate.policy).next().map(|rule| &*rule.name)
    }

    /// The name it asked for.
    pub(super) fn name(&self) -> Option<&str> {
        self.candidate.target.as_ref()?.name()
    }

    /// The field it asked for.
    pub(super) fn field(&self) -> Option<&str> {
        let target = self.candidate.target.as_ref()?;
        target.field().filter(|_| self.candidate.action.is_some_and(Action::has_field))
    }

    /// What it wanted.
    pub(super) fn action(&self) -> Option<Action> {
        self.candidate.action
    }
}

/// The target is a path that can be decoded.
fn target(candidate: &mut Candidate<'_>) -> Result<(), Denied> {
    let uri = candidate.head.uri;
    let path = if uri.path_and_query().is_some() { uri.path() } else { "" };
    let target = Target::parse(path, uri.query()).map_err(Denied::Target)?;
    candidate.target = Some(target);
    Ok(())
}

/// The path is there for this method. A path that is not there at all passes: whether it is,
/// is said to known callers alone.
fn method(candidate: &mut Candidate<'_>) -> Result<(), Denied> {
    let method = candidate.head.method;
    let Some(target) = &candidate.target else { return Err(Denied::Target("no target")) };
    match route::find(method, target) {
        Found::Action(action) => candidate.action = Some(action),
        Found::OtherMethods(allow) => return Err(Denied::Method(allow)),
        Found::Nothing if matches!(*method, Method::GET | Method::HEAD | Method::POST) => {}
        Found::Nothing => return Err(Denied::Method("GET, HEAD, POST")),
    }
    Ok(())
}

/// All callers together stay under the limit. Behind the guard that knows them: strangers use
/// nothing of it up.
fn total_rate(candidate: &mut Candidate<'_>) -> Result<(), Denied> {
    take(candidate.policy.total_rate.as_ref())
}

/// One of a limit, where there is one.
fn take(rate: Option<&Rate>) -> Result<(), Denied> {
    rate.map_or(Ok(()), |rate| rate.take().map_err(Denied::TooManyRequests))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_chain_is_part_of_the_contract() {
        let names = CHAIN.map(|(name, _)| name).join(" ");
        assert_eq!(
            names,
            "sizes host forwarded cross_site body target method caller total_rate caller_rate scope"
        );
    }
}
