//! Who may ask for what, and how often: everything a reload replaces.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::answer::Rendered;
use super::rate::Rate;
use super::token::CallerToken;
use crate::config::{Allow, CallerRule, Limits, NameKind, SecretName};
use crate::observe::event;

/// The policy in force. A reload stores a new one; requests under way keep theirs.
pub type SharedPolicy = Arc<ArcSwap<Policy>>;

/// Callers, declared names and limits of the local door.
pub struct Policy {
    pub(super) rules: Vec<Rule>,
    pub(super) names: BTreeMap<SecretName, Declared>,
    pub(super) limits: Limits,
    pub(super) total_rate: Option<Rate>,
    pub(super) refusals: Rate,
    /// Some rule has uids, so that a peer's uid is worth asking for.
    pub(super) asks_for_uids: bool,
}

/// One caller rule.
pub(super) struct Rule {
    pub(super) name: Arc<str>,
    pub(super) uids: Option<BTreeSet<u32>>,
    pub(super) token: Option<CallerToken>,
    pub(super) allow: Allow,
    pub(super) rate: Option<Rate>,
}

/// One declared name.
pub(super) struct Declared {
    pub(super) name: SecretName,
    pub(super) kind: NameKind,
    /// The head of the answer served last.
    pub(super) rendered: ArcSwapOption<Rendered>,
    pub(super) refreshes: Rate,
}

impl Policy {
    /// Says aloud which callers may read everything.
    pub fn new(
        callers: Vec<CallerRule>,
        names: impl IntoIterator<Item = (SecretName, NameKind)>,
        limits: Limits,
    ) -> Self {
        let rules: Vec<_> = callers.into_iter().map(|rule| Rule::new(rule, &limits)).collect();
        for rule in rules.iter().filter(|rule| rule.permits_everything()) {
            event::caller_may_read_everything(&rule.name);
        }
        Self {
            asks_for_uids: rules.iter().any(|rule| rule.uids.is_some()),
            rules,
            names: names
                .into_iter()
                .map(|(name, kind)| (name.clone(), Declared::new(name, kind)))
                .collect(),
            total_rate: limits.total_requests_per_second.map(Rate::per_second),
            refusals: Rate::per_second(limits.refusals_per_second),
            limits,
        }
    }

    /// The limits of the local door, which adapters keep to as well.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// For [`serve`](super::BoundServer::serve), and for reloads.
    pub fn shared(self) -> SharedPolicy {
        Arc::new(ArcSwap::from_pointee(self))
    }
}

impl Rule {
    fn new(rule: CallerRule, limits: &Limits) -> Self {
        let name: Arc<str> = rule.name.into();
        Self {
            token: rule.token.map(|source| CallerToken::new(&name, source)),
            name,
            uids: rule.uids,
            allow: rule.allow,
            rate: limits.requests_per_second.map(Rate::per_second),
        }
    }

    /// Its [`generation`](Self::generation), when it matches: its uids and its token, where it has
    /// them. The token is compared whatever the uid is.
    pub(super) fn admits(&self, uid: Option<u32>, token: Option<&[u8]>) -> Option<u64> {
        let by_token = match &self.token {
            None => Some(0),
            Some(wanted) => wanted.matches(token.unwrap_or_default()).filter(|_| token.is_some()),
        };
        let uid_holds =
            self.uids.as_ref().is_none_or(|uids| uid.is_some_and(|uid| uids.contains(&uid)));
        by_token.filter(|_| uid_holds)
    }

    /// Another number once the rule's token is another one.
    pub(super) fn generation(&self) -> u64 {
        self.token.as_ref().map_or(0, CallerToken::generation)
    }

    pub(super) fn permits_everything(&self) -> bool {
        self.allow == Allow::Everything
    }
}

impl Declared {
    fn new(name: SecretName, kind: NameKind) -> Self {
        Self { name, kind, rendered: ArcSwapOption::empty(), refreshes: Rate::per_second(1) }
    }
}
