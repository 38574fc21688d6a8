//! Tokens: what one carries, how long it lives, and the store.
//!
//! Lifetimes: <https://developer.hashicorp.com/vault/docs/concepts/tokens>

use std::collections::HashMap;
use std::time::Duration;

use super::clock::Moment;
use super::grant::{Grant, Kind};
use super::random;
use super::reply::{Auth, Failure};

/// The system-wide default and longest time to live, 768 hours.
pub(super) const SYSTEM_TTL: Duration = Duration::from_hours(768);

/// A token that was issued.
pub(super) struct Token {
    pub(super) id: String,
    pub(super) accessor: String,
    pub(super) grant: Grant,
    pub(super) created: Moment,
    /// What it was given at first, which lookups show as `creation_ttl`.
    pub(super) first_ttl: Duration,
    pub(super) expires: Option<Moment>,
    pub(super) last_renewal: Option<Moment>,
    pub(super) uses_left: u64,
}

impl Token {
    pub(super) fn issue(grant: Grant, now: Moment) -> Result<Self, Failure> {
        let prefix = if grant.kind == Kind::Batch { "hvb" } else { "hvs" };
        let id = match &grant.id {
            Some(id) => id.clone(),
            None => format!("{prefix}.{}", random::base62(24)?),
        };
        let accessor = if grant.kind == Kind::Batch { String::new() } else { random::base62(24)? };
        let forever = grant.is_root() && grant.ttl.is_zero();
        let lifetime = grant.lifetime(grant.ttl, now, now);
        let expires = if forever { None } else { Some(now + lifetime) };
        let uses_left = grant.num_uses;
        Ok(Self {
            id,
            accessor,
            grant,
            created: now,
            first_ttl: expires.map_or(Duration::ZERO, |_| lifetime),
            expires,
            last_renewal: None,
            uses_left,
        })
    }

    pub(super) fn ttl(&self, now: Moment) -> Duration {
        self.expires.map_or(Duration::ZERO, |expires| expires.saturating_sub(now))
    }

    pub(super) fn renewable(&self) -> bool {
        self.grant.renewable && self.grant.kind == Kind::Service && self.expires.is_some()
    }

    pub(super) fn renew(&mut self, increment: Duration, now: Moment) -> Result<(), Failure> {
        if self.grant.kind == Kind::Batch {
            return Err(Failure::bad("batch tokens cannot be renewed"));
        }
        if self.expires.is_none() && self.grant.path == "auth/token/root" {
            return Err(Failure::bad("invalid lease ID"));
        }
        if !self.renewable() {
            return Err(Failure::bad("lease is not renewable"));
        }
        self.expires = Some(now + self.grant.lifetime(increment, self.created, now));
        self.last_renewal = Some(now);
        Ok(())
    }

    pub(super) fn auth(&self, now: Moment) -> Auth {
        Auth {
            client_token: self.id.clone(),
            accessor: self.accessor.clone(),
            policies: self.grant.policies.clone(),
            token_policies: self.grant.policies.clone(),
            metadata: self.grant.meta.clone(),
            lease_duration: rounded(self.ttl(now)),
            renewable: self.renewable(),
            entity_id: String::new(),
            token_type: self.grant.kind.name(),
            orphan: self.grant.parent.is_none(),
            mfa_requirement: None,
            num_uses: self.grant.num_uses,
        }
    }
}

/// Whole seconds, so that a request of an hour reads 3600 and not 3599.
pub(super) fn rounded(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_millis() >= 500)
}

/// All tokens by their id.
#[derive(Default)]
pub(super) struct Tokens {
    by_id: HashMap<String, Token>,
}

impl Tokens {
    pub(super) fn insert(&mut self, token: Token) {
        self.by_id.insert(token.id.clone(), token);
    }

    pub(super) fn get(&self, id: &str) -> Option<&Token> {
        self.by_id.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Token> {
        self.by_id.get_mut(id)
    }

    pub(super) fn by_accessor(&self, accessor: &str) -> Option<&Token> {
        self.by_id.values().find(|token| token.accessor == accessor && !accessor.is_empty())
    }

    pub(super) fn accessors(&self) -> Vec<String> {
        let mut accessors: Vec<_> =
            self.by_id.values().map(|token| token.accessor.clone()).collect();
        accessors.retain(|accessor| !accessor.is_empty());
        accessors.sort();
        accessors
    }

    /// The ids of the tokens that `wanted` picks.
    pub(super) fn ids(&self, wanted: impl Fn(&Token) -> bool) -> Vec<String> {
        let tokens = self.by_id.values().filter(|token| wanted(token));
        tokens.map(|token| token.id.clone()).collect()
    }

    pub(super) fn expired(&self, now: Moment) -> Vec<String> {
        self.ids(|token| token.expires.is_some_and(|expires| expires <= now))
    }

    /// Takes `id` and every token below it out of the store.
    pub(super) fn remove_tree(&mut self, id: &str) -> Vec<String> {
        let mut removed = Vec::new();
        let mut waiting = vec![id.to_owned()];
        while let Some(id) = waiting.pop() {
            let child = |token: &&Token| token.grant.parent.as_deref() == Some(&id);
            waiting.extend(self.by_id.values().filter(child).map(|token| token.id.clone()));
            if self.by_id.remove(&id).is_some() {
                removed.push(id);
            }
        }
        removed
    }

    /// Takes `id` alone out; its children live on as orphans.
    pub(super) fn remove_orphaning(&mut self, id: &str) -> Vec<String> {
        for token in self.by_id.values_mut() {
            if token.grant.parent.as_deref() == Some(id) {
                token.grant.parent = None;
            }
        }
        self.by_id.remove(id).map(|token| token.id).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::grant::with_default;
    use super::*;

    const START: Moment = Duration::from_secs(1_000_000);

    fn token(grant: Grant) -> Token {
        Token::issue(Grant { renewable: true, ..grant }, START).unwrap()
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn renewal_stops_at_the_max() {
        let mut token =
            token(Grant { ttl: seconds(60), max_ttl: seconds(100), ..Grant::default() });
        assert_eq!(token.ttl(START), seconds(60));
        token.renew(Duration::ZERO, START + seconds(30)).unwrap();
        assert_eq!(token.ttl(START + seconds(30)), seconds(60));
        token.renew(seconds(60), START + seconds(80)).unwrap();
        assert_eq!(token.ttl(START + seconds(80)), seconds(20));
    }

    #[test]
    fn a_period_ignores_the_increment_but_not_the_explicit_max() {
        let mut token = token(Grant {
            period: seconds(60),
            explicit_max_ttl: seconds(100),
            ..Grant::default()
        });
        token.renew(seconds(5), START + seconds(10)).unwrap();
        assert_eq!(token.ttl(START + seconds(10)), seconds(60));
        token.renew(seconds(5), START + seconds(60)).unwrap();
        assert_eq!(token.ttl(START + seconds(60)), seconds(40));
    }

    #[test]
    fn defaults() {
        assert_eq!(token(Grant::default()).ttl(START), SYSTEM_TTL);
        let root = token(Grant { policies: vec!["root".into()], ..Grant::default() });
        assert_eq!(root.expires, None);
        assert_eq!(with_default(vec!["B".into(), "a".into()]), ["a", "b", "default"]);
    }
}
