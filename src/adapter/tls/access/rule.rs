//! One rule against one request.

use super::super::Identity;
use super::jwt::Claims;
use crate::config::RuleSpec;
use crate::scope::Target;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Yes,
    /// All but the claims fits, and there was no token.
    WantsToken,
    No,
}

/// All conditions that are given must hold. `target` is there whenever any rule limits requests.
pub(super) fn fit(
    rule: &RuleSpec,
    identity: &Identity,
    claims: Option<&Claims>,
    target: Option<&Target<'_>>,
) -> Fit {
    let in_scope = match target {
        Some(target) => rule.scope.admits(target),
        None => !rule.scope.is_limited(),
    };
    let has_name =
        |pattern: &crate::config::SanPattern| identity.dns.iter().any(|name| pattern.admits(name));
    let named = rule.san.is_empty() || rule.san.iter().any(has_name);
    let spiffe = identity.spiffe.as_ref();
    let in_domain = rule.spiffe.is_empty()
        || spiffe.is_some_and(|id| rule.spiffe.iter().any(|pattern| pattern.admits(id)));
    if !(in_scope && named && in_domain) {
        return Fit::No;
    }
    match claims {
        _ if rule.claims.is_empty() => Fit::Yes,
        None => Fit::WantsToken,
        Some(claims) if rule.claims.iter().all(|test| claims.fulfil(test)) => Fit::Yes,
        Some(_) => Fit::No,
    }
}
