//! What a token is to be like, as a login or a creation asks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::clock::Moment;
use super::fields::Fields;
use super::reply::Failure;
use super::token::SYSTEM_TTL;

/// How a token is kept.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    /// Stored, renewable, with an accessor.
    #[default]
    Service,
    /// Carries no accessor and cannot be renewed.
    Batch,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Batch => "batch",
        }
    }

    pub(super) fn parse(text: Option<&str>) -> Result<Self, Failure> {
        match text {
            None | Some("" | "service" | "default" | "default-service") => Ok(Self::Service),
            Some("batch" | "default-batch") => Ok(Self::Batch),
            Some(_) => Err(Failure::bad("invalid 'token_type' value")),
        }
    }
}

/// What a login or a creation asks for.
#[derive(Clone, Default)]
pub(super) struct Grant {
    pub(super) id: Option<String>,
    pub(super) policies: Vec<String>,
    pub(super) no_default_policy: bool,
    pub(super) ttl: Duration,
    pub(super) max_ttl: Duration,
    pub(super) explicit_max_ttl: Duration,
    pub(super) period: Duration,
    pub(super) num_uses: u64,
    pub(super) renewable: bool,
    pub(super) kind: Kind,
    pub(super) parent: Option<String>,
    pub(super) path: String,
    pub(super) meta: Option<BTreeMap<String, String>>,
    pub(super) display_name: String,
    pub(super) namespace: String,
    /// The response this token unwraps, for a wrapping token.
    pub(super) wrapped: Option<Wrapped>,
}

/// A response kept for whoever unwraps it.
#[derive(Clone)]
pub(super) struct Wrapped {
    pub(super) body: bytes::Bytes,
    pub(super) path: String,
    pub(super) ttl: Duration,
}

impl Grant {
    /// The `token_*` parameters that every auth method's roles share, and their older names.
    pub(super) fn from_role(fields: &Fields, before: Option<Self>) -> Result<Self, Failure> {
        let mut grant = before.unwrap_or_else(|| Self { renewable: true, ..Self::default() });
        let first = |name: &'static str, older: &'static str| {
            if fields.has(name) { name } else { older }
        };
        if let Some(policies) = fields.list(first("token_policies", "policies"))? {
            grant.policies = sanitized(policies);
        }
        if let Some(ttl) = fields.duration(first("token_ttl", "ttl"))? {
            grant.ttl = ttl;
        }
        if let Some(max_ttl) = fields.duration(first("token_max_ttl", "max_ttl"))? {
            grant.max_ttl = max_ttl;
        }
        if let Some(period) = fields.duration(first("token_period", "period"))? {
            grant.period = period;
        }
        if let Some(limit) = fields.duration("token_explicit_max_ttl")? {
            grant.explicit_max_ttl = limit;
        }
        if let Some(no_default) = fields.flag("token_no_default_policy")? {
            grant.no_default_policy = no_default;
        }
        if let Some(uses) = fields.count(first("token_num_uses", "num_uses"))? {
            grant.num_uses = uses;
        }
        if let Some(kind) = fields.text("token_type") {
            grant.kind = Kind::parse(Some(&kind))?;
        }
        if !grant.max_ttl.is_zero() && grant.ttl > grant.max_ttl {
            return Err(Failure::bad("token_ttl should not be greater than token_max_ttl"));
        }
        Ok(grant)
    }

    /// The role's part as its page shows it.
    pub(super) fn describe(&self) -> serde_json::Map<String, serde_json::Value> {
        let shown = serde_json::json!({
            "token_bound_cidrs": [],
            "token_explicit_max_ttl": self.explicit_max_ttl.as_secs(),
            "token_max_ttl": self.max_ttl.as_secs(),
            "token_no_default_policy": self.no_default_policy,
            "token_num_uses": self.num_uses,
            "token_period": self.period.as_secs(),
            "token_policies": self.policies,
            "token_ttl": self.ttl.as_secs(),
            "token_type": if self.kind == Kind::Batch { "batch" } else { "default" },
        });
        match shown {
            serde_json::Value::Object(fields) => fields,
            _ => serde_json::Map::new(),
        }
    }

    /// A login with this role, with `default` beside the role's policies, unless it is unwanted.
    pub(super) fn login(&self, display_name: &str, meta: BTreeMap<String, String>) -> Self {
        let mut grant = self.clone();
        if !grant.no_default_policy {
            grant.policies = with_default(grant.policies);
        }
        grant.meta = Some(meta);
        display_name.clone_into(&mut grant.display_name);
        grant
    }

    pub(super) fn is_root(&self) -> bool {
        self.policies.iter().any(|policy| policy == "root")
    }

    /// Seconds from `now`, given what is asked, and what was asked at `created`.
    pub(super) fn lifetime(&self, asked: Duration, created: Moment, now: Moment) -> Duration {
        let limit = |max: Duration| (created + max).saturating_sub(now);
        let mut ttl = if self.period.is_zero() {
            let asked = if asked.is_zero() { self.ttl } else { asked };
            let asked = if asked.is_zero() { SYSTEM_TTL } else { asked };
            let max = if self.max_ttl.is_zero() { SYSTEM_TTL } else { self.max_ttl };
            asked.min(limit(max.min(SYSTEM_TTL)))
        } else {
            self.period
        };
        if !self.explicit_max_ttl.is_zero() {
            ttl = ttl.min(limit(self.explicit_max_ttl));
        }
        ttl
    }
}

/// Lower case, sorted, without repetition, as Vault keeps policy names.
pub(super) fn sanitized(policies: Vec<String>) -> Vec<String> {
    let names = policies.into_iter().map(|name| name.trim().to_lowercase());
    let names: BTreeSet<String> = names.filter(|name| !name.is_empty()).collect();
    // Root is everything; Vault drops the others beside it.
    if names.contains("root") { vec!["root".to_owned()] } else { names.into_iter().collect() }
}

pub(super) fn with_default(mut policies: Vec<String>) -> Vec<String> {
    if !policies.iter().any(|name| name == "root") {
        policies.push("default".to_owned());
    }
    sanitized(policies)
}
