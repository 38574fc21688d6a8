//! Leases of dynamic secrets: <https://developer.hashicorp.com/vault/api-docs/system/leases>

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use serde_json::value::RawValue;

use super::clock::{Moment, rfc3339};
use super::random;
use super::reply::{Answer, Failure, Reply, Secret};
use super::request::{Operation, Request, children};
use super::state::State;
use super::token::{SYSTEM_TTL, rounded};

/// What an engine asks to be leased.
pub(super) struct NewLease {
    pub(super) data: Box<RawValue>,
    pub(super) ttl: Duration,
    pub(super) max_ttl: Duration,
    pub(super) renewable: bool,
    pub(super) mount_type: String,
    /// What its id ends in; random when there is none.
    pub(super) suffix: Option<String>,
}

/// A secret's time to live, bound to the token that asked for it.
pub(super) struct Lease {
    pub(super) token: String,
    pub(super) namespace: String,
    issued: Moment,
    expires: Moment,
    last_renewal: Option<Moment>,
    ttl: Duration,
    max_ttl: Duration,
    renewable: bool,
}

/// All leases by their id.
#[derive(Default)]
pub(super) struct Leases {
    by_id: HashMap<String, Lease>,
}

impl Leases {
    /// Registers `new` under `path` and answers with its secret.
    pub(super) fn grant(
        &mut self,
        new: NewLease,
        request: &Request,
        token: &str,
        now: Moment,
    ) -> Answer {
        let suffix = new.suffix.map_or_else(|| random::base62(24), Ok)?;
        let id = format!("{}/{suffix}", request.path);
        let max_ttl = if new.max_ttl.is_zero() { SYSTEM_TTL } else { new.max_ttl };
        let ttl = if new.ttl.is_zero() { SYSTEM_TTL } else { new.ttl }.min(max_ttl);
        let lease = Lease {
            token: token.to_owned(),
            namespace: request.namespace.clone(),
            issued: now,
            expires: now + ttl,
            last_renewal: None,
            ttl,
            max_ttl,
            renewable: new.renewable,
        };
        self.by_id.insert(id.clone(), lease);
        Reply::secret(Secret {
            status: 200,
            lease_id: id,
            renewable: new.renewable,
            lease_duration: rounded(ttl),
            data: Some(new.data),
            mount_type: new.mount_type,
            ..Secret::default()
        })
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&str, &Lease) -> bool) {
        self.by_id.retain(|id, lease| keep(id, lease));
    }

    /// Whether a lease lives whose id ends in `suffix`.
    pub(super) fn lives(&self, suffix: &str) -> bool {
        self.by_id.keys().any(|id| id.ends_with(suffix))
    }

    pub(super) fn sweep(&mut self, now: Moment) {
        self.by_id.retain(|_, lease| lease.expires > now);
    }

    fn find(&mut self, namespace: &str, id: &str) -> Option<&mut Lease> {
        self.by_id.get_mut(id).filter(|lease| lease.namespace == namespace)
    }

    fn lookup(&mut self, namespace: &str, id: &str, now: Moment) -> Answer {
        let lease = self.find(namespace, id).ok_or_else(|| Failure::bad("invalid lease"))?;
        Reply::data(&json!({
            "expire_time": rfc3339(lease.expires),
            "id": id,
            "issue_time": rfc3339(lease.issued),
            "last_renewal": lease.last_renewal.map(rfc3339),
            "renewable": lease.renewable,
            "ttl": rounded(lease.expires.saturating_sub(now)),
        }))
    }

    fn renew(&mut self, namespace: &str, id: &str, increment: Duration, now: Moment) -> Answer {
        let lease = self.find(namespace, id).ok_or_else(|| Failure::bad("lease not found"))?;
        if !lease.renewable {
            return Err(Failure::bad("lease is not renewable"));
        }
        let asked = if increment.is_zero() { lease.ttl } else { increment };
        let ttl = asked.min((lease.issued + lease.max_ttl).saturating_sub(now));
        lease.expires = now + ttl;
        lease.last_renewal = Some(now);
        let mut secret = Secret {
            status: 200,
            lease_id: id.to_owned(),
            renewable: true,
            lease_duration: rounded(ttl),
            ..Secret::default()
        };
        if ttl < asked {
            let warning = format!(
                "TTL of \"{}\" exceeded the effective max_ttl of \"{}\"; TTL value is capped accordingly",
                super::clock::go_duration(asked),
                super::clock::go_duration(ttl),
            );
            secret.warnings = Some(vec![warning]);
        }
        Reply::secret(secret)
    }
}

/// `sys/leases/…` and the older `sys/renew` and `sys/revoke`.
pub(super) fn handle(state: &mut State, request: &Request, path: &str) -> Answer {
    let now = state.now();
    let namespace = &request.namespace;
    let (verb, rest) = path.split_once('/').unwrap_or((path, ""));
    if verb == "lookup" && request.operation == Operation::List {
        let in_namespace = state.leases.by_id.iter().filter(|(_, it)| &it.namespace == namespace);
        return Reply::keys(children(in_namespace.map(|(id, _)| id), rest));
    }
    if request.operation != Operation::Write {
        return Err(Failure::unsupported_operation());
    }
    let named = if rest.is_empty() { request.fields.text("lease_id") } else { Some(rest.into()) };
    let id = || {
        let id = named.clone().filter(|id: &String| !id.is_empty());
        id.ok_or_else(|| Failure::bad("lease_id must be specified"))
    };
    match verb {
        "lookup" => state.leases.lookup(namespace, &id()?, now),
        "renew" => {
            let increment = request.fields.duration("increment")?.unwrap_or_default();
            state.leases.renew(namespace, &id()?, increment, now)
        }
        "revoke" => {
            let id = id()?;
            state.leases.retain(|other, lease| other != id || &lease.namespace != namespace);
            Ok(Reply::Empty)
        }
        "revoke-prefix" | "revoke-force" if !rest.is_empty() => {
            let prefix = format!("{}/", rest.trim_end_matches('/'));
            state.revoke_below(namespace, &prefix);
            Ok(Reply::Empty)
        }
        _ => Err(Failure::unsupported_path()),
    }
}
