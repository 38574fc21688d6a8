//! Who asks, and whether that caller may have it.

use std::time::Duration;

use http::HeaderValue;

use super::super::head::{Head, Single};
use super::super::policy::{Policy, Rule};
use super::super::route::Action;
use super::{Candidate, Denied, Scope};

/// Some rule matches: its uids, by the kernel's word, and its token. All tokens are compared,
/// each in constant time, whatever the others said.
pub(super) fn caller(candidate: &mut Candidate<'_>) -> Result<(), Denied> {
    let policy = candidate.policy;
    let token = match presented(candidate.head) {
        Ok(token) => token,
        Err(Ambiguous) => return Err(refused(candidate)),
    };
    let uid = if policy.asks_for_uids { candidate.peer.uid() } else { None };
    let mut known = false;
    for (at, rule) in policy.rules.iter().enumerate() {
        if let Some(generation) = rule.admits(uid, token) {
            candidate.matched.add(at);
            candidate.generations = candidate.generations.wrapping_add(generation);
            known = true;
        }
    }
    if known { Ok(()) } else { Err(refused(candidate)) }
}

/// The caller stays under its own limit.
pub(super) fn caller_rate(candidate: &mut Candidate<'_>) -> Result<(), Denied> {
    let first = candidate.matched.rules(candidate.policy).next();
    super::take(first.and_then(|rule| rule.rate.as_ref()))
}

/// One of the matching rules permits the name. Only a caller that may ask for everything learns
/// that a name is declared nowhere.
pub(super) fn scope(candidate: &mut Candidate<'_>) -> Result<(), Denied> {
    let policy = candidate.policy;
    let mut rules = candidate.matched.rules(policy);
    let kind = candidate.action.and_then(Action::names);
    let name = candidate.target.as_ref().and_then(|target| target.name());
    let scope = match name.zip(kind) {
        None => {
            let rule = rules.next().ok_or(Denied::CallerUnknown)?;
            Scope { rule, declared: None }
        }
        Some((name, kind)) => {
            let rule = rules.find(|rule| rule.allow.permits(name)).ok_or(Denied::OutOfScope)?;
            match policy.names.get(name).filter(|declared| declared.kind == kind) {
                Some(declared) => Scope { rule, declared: Some(declared) },
                None if candidate.matched.rules(policy).any(Rule::permits_everything) => {
                    return Err(Denied::UnknownName);
                }
                None => return Err(Denied::OutOfScope),
            }
        }
    };
    candidate.scope = Some(scope);
    Ok(())
}

/// A refused credential. Too many of them are told to slow down instead.
fn refused(candidate: &Candidate<'_>) -> Denied {
    refusal(candidate.policy)
}

pub(super) fn refusal(policy: &Policy) -> Denied {
    match policy.refusals.take() {
        Ok(()) => Denied::CallerUnknown,
        Err(wait) => Denied::TooManyRequests(wait.max(Duration::from_secs(1))),
    }
}

/// More than one token, so that which of them counts would be a guess.
struct Ambiguous;

/// The token of `Authorization: Bearer` or of `X-Vault-Token`. Both may be there when they are
/// equal.
fn presented<'r>(head: &Head<'r>) -> Result<Option<&'r [u8]>, Ambiguous> {
    let bearer = match head.authorization {
        Single::None => None,
        Single::One(value) => bearer(value),
        Single::Repeated => return Err(Ambiguous),
    };
    let vault = match head.vault_token {
        Single::None => None,
        Single::One(value) => Some(value.as_bytes()).filter(|token| !token.is_empty()),
        Single::Repeated => return Err(Ambiguous),
    };
    match (bearer, vault) {
        (Some(one), Some(other)) if one != other => Err(Ambiguous),
        (one, other) => Ok(one.or(other)),
    }
}

/// What follows the scheme `Bearer`, in any case; other schemes carry no token of ours.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bearer_tokens_count() {
        let token = |value: &'static str| {
            let value = HeaderValue::from_static(value);
            bearer(&value).map(<[u8]>::to_vec)
        };
        assert_eq!(token("Bearer t0"), Some(b"t0".to_vec()));
        assert_eq!(token("bEARER  t0 "), Some(b"t0".to_vec()));
        for none in ["", "Bearer", "Bearer ", "Basic dDA=", "Bearert0", "t0"] {
            assert_eq!(token(none), None, "{none}");
        }
    }
}
