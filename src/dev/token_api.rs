//! `auth/token/…`: <https://developer.hashicorp.com/vault/api-docs/auth/token>

use serde_json::{Map, Value, json};

use super::clock::{Moment, rfc3339};
use super::grant::{Grant, Kind, sanitized, with_default};
use super::reply::{Answer, Failure, Reply, Secret};
use super::request::{Operation, Request};
use super::state::State;
use super::token::{Token, rounded};

pub(super) fn handle(state: &mut State, request: &Request, path: &str, caller: &str) -> Answer {
    let named = || request.fields.text("token").filter(|token| !token.is_empty());
    let required = || named().ok_or_else(|| Failure::bad("missing token ID"));
    match (path, request.operation) {
        ("create", Operation::Write) => create(state, request, caller, false),
        ("create-orphan", Operation::Write) => create(state, request, caller, true),
        ("lookup-self", Operation::Read | Operation::Write) => lookup(state, caller),
        ("lookup", Operation::Read | Operation::Write) => {
            lookup(state, &named().unwrap_or_else(|| caller.to_owned()))
        }
        ("lookup-accessor", Operation::Write) => {
            let id = accessor(state, request)?;
            let token = state.tokens.get(&id).ok_or_else(Failure::not_found)?;
            let mut shown = describe(token, state.now());
            shown.insert("id".into(), "".into());
            Reply::data(&shown)
        }
        ("accessors/" | "accessors", Operation::List) => Reply::keys(state.tokens.accessors()),
        ("renew-self", Operation::Write) => renew(state, request, caller),
        ("renew", Operation::Write) => {
            let id = required()?;
            renew(state, request, &id)
        }
        ("renew-accessor", Operation::Write) => {
            let id = accessor(state, request)?;
            renew(state, request, &id)
        }
        ("revoke-self", Operation::Write) => revoke(state, caller, false),
        ("revoke", Operation::Write) => {
            let id = required()?;
            revoke(state, &id, false)
        }
        ("revoke-orphan", Operation::Write) => {
            let id = required()?;
            revoke(state, &id, true)
        }
        ("revoke-accessor", Operation::Write) => {
            let id = accessor(state, request)?;
            revoke(state, &id, false)
        }
        (
            "create" | "create-orphan" | "lookup-self" | "lookup" | "lookup-accessor" | "accessors"
            | "renew-self" | "renew" | "renew-accessor" | "revoke-self" | "revoke"
            | "revoke-orphan" | "revoke-accessor",
            _,
        ) => Err(Failure::unsupported_operation()),
        _ => Err(Failure::unsupported_path()),
    }
}

fn accessor(state: &State, request: &Request) -> Result<String, Failure> {
    let accessor = request.fields.required("accessor")?;
    let token = state.tokens.by_accessor(&accessor);
    token.map(|token| token.id.clone()).ok_or_else(|| Failure::bad("invalid accessor"))
}

fn lookup(state: &State, id: &str) -> Answer {
    let token = state.tokens.get(id).ok_or_else(|| Failure::new(403, "bad token"))?;
    Reply::data(&describe(token, state.now()))
}

fn describe(token: &Token, now: Moment) -> Map<String, Value> {
    let grant = &token.grant;
    let mut shown = Map::new();
    let fields = json!({
        "accessor": token.accessor,
        "creation_time": token.created.as_secs(),
        "creation_ttl": rounded(token.first_ttl),
        "display_name": grant.display_name,
        "entity_id": "",
        "expire_time": token.expires.map(rfc3339),
        "explicit_max_ttl": grant.explicit_max_ttl.as_secs(),
        "id": token.id,
        "meta": grant.meta,
        "num_uses": token.uses_left,
        "orphan": grant.parent.is_none(),
        "path": grant.path,
        "policies": grant.policies,
        "ttl": rounded(token.ttl(now)),
        "type": grant.kind.name(),
    });
    if let Value::Object(fields) = fields {
        shown.extend(fields);
    }
    if !grant.period.is_zero() {
        shown.insert("period".into(), grant.period.as_secs().into());
    }
    if !grant.namespace.is_empty() {
        shown.insert("namespace_path".into(), format!("{}/", grant.namespace).into());
    }
    // The first root token has no lease entry, so Vault says nothing of these for it.
    if grant.path != "auth/token/root" {
        shown.insert("issue_time".into(), rfc3339(token.created).into());
        shown.insert("renewable".into(), token.renewable().into());
    }
    if let Some(renewed) = token.last_renewal {
        shown.insert("last_renewal".into(), rfc3339(renewed).into());
        shown.insert("last_renewal_time".into(), renewed.as_secs().into());
    }
    shown
}

fn renew(state: &mut State, request: &Request, id: &str) -> Answer {
    let now = state.now();
    let increment = request.fields.duration("increment")?.unwrap_or_default();
    let token = state.tokens.get_mut(id).ok_or_else(|| Failure::bad("token not found"))?;
    token.renew(increment, now)?;
    Reply::secret(Secret::auth(token.auth(now)))
}

fn revoke(state: &mut State, id: &str, orphaning: bool) -> Answer {
    let token = state.tokens.get(id);
    if token.is_some_and(|token| token.grant.kind == Kind::Batch) {
        return Err(Failure::bad("batch tokens cannot be revoked"));
    }
    match (token.is_some(), orphaning) {
        (true, true) => state.revoke_orphaning(id),
        (true, false) => state.revoke(id),
        (false, true) => return Err(Failure::bad("token to revoke not found")),
        (false, false) => {}
    }
    Ok(Reply::Empty)
}

fn create(state: &mut State, request: &Request, caller: &str, orphan: bool) -> Answer {
    let parent = state.tokens.get(caller).ok_or_else(Failure::invalid_token)?;
    if parent.grant.kind == Kind::Batch {
        return Err(Failure::bad("batch tokens cannot create more tokens"));
    }
    if parent.grant.num_uses > 0 {
        return Err(Failure::bad("restricted use token cannot generate child tokens"));
    }
    let path = if orphan { "auth/token/create-orphan" } else { "auth/token/create" };
    let acl = state.acl(parent, &request.namespace, path);
    let sudo = acl.is_some_and(|(acl, path)| acl.allows(&path, "sudo"));
    let mut grant = asked(request, path)?;
    grant.policies = policies(request, parent, sudo)?;
    let no_parent = request.fields.flag("no_parent")?.unwrap_or(false);
    if !sudo && (no_parent || grant.id.is_some() || !grant.period.is_zero()) {
        let what = if no_parent {
            "create orphan token"
        } else if grant.id.is_some() {
            "specify token id"
        } else {
            "create periodic token"
        };
        return Err(Failure::bad(format!("root or sudo privileges required to {what}")));
    }
    if !orphan && !no_parent {
        grant.parent = Some(caller.to_owned());
    }
    let now = state.now();
    let token = state.issue(grant)?;
    Reply::secret(Secret::auth(token.auth(now)))
}

fn asked(request: &Request, path: &str) -> Result<Grant, Failure> {
    let fields = &request.fields;
    let kind = Kind::parse(fields.text("type").as_deref())?;
    let name = fields.text("display_name").filter(|name| !name.is_empty());
    let grant = Grant {
        id: fields.text("id").filter(|id| !id.is_empty()),
        ttl: fields.duration(if fields.has("ttl") { "ttl" } else { "lease" })?.unwrap_or_default(),
        explicit_max_ttl: fields.duration("explicit_max_ttl")?.unwrap_or_default(),
        period: fields.duration("period")?.unwrap_or_default(),
        num_uses: fields.count("num_uses")?.unwrap_or_default(),
        renewable: fields.flag("renewable")?.unwrap_or(true),
        kind,
        path: path.to_owned(),
        meta: fields.pairs("meta")?,
        display_name: name.map_or("token".to_owned(), |name| format!("token-{name}")),
        namespace: request.namespace.clone(),
        ..Grant::default()
    };
    let refused = [
        (!grant.explicit_max_ttl.is_zero(), "explicit_max_ttl"),
        (grant.num_uses > 0, "num_uses"),
        (!grant.period.is_zero(), "period"),
    ];
    match refused.into_iter().find(|(given, _)| kind == Kind::Batch && *given) {
        Some((_, name)) => Err(Failure::bad(format!("batch tokens cannot have {name:?} set"))),
        None => Ok(grant),
    }
}

fn policies(request: &Request, parent: &Token, sudo: bool) -> Result<Vec<String>, Failure> {
    let no_default = request.fields.flag("no_default_policy")?.unwrap_or(false);
    let held = &parent.grant.policies;
    let wanted = sanitized(request.fields.list("policies")?.unwrap_or_default());
    let holds = |name: &String| held.contains(name);
    let abroad = parent.grant.namespace != request.namespace;
    if abroad && !sudo {
        return Err(Failure::bad(
            "root or sudo privileges required to directly generate a token in a child namespace",
        ));
    }
    if abroad && wanted.iter().any(|name| name == "root") {
        return Err(Failure::bad("root tokens may not be created from a parent namespace"));
    }
    let (mut policies, add_default) = if abroad {
        (wanted, true)
    } else if wanted.is_empty() {
        (held.clone(), false)
    } else if sudo || wanted.iter().all(holds) {
        (wanted, sudo || holds(&"default".to_owned()))
    } else {
        return Err(Failure::bad("child policies must be subset of parent"));
    };
    if policies.iter().any(|name| name == "root") && !holds(&"root".to_owned()) {
        let error = "root tokens may not be created without parent token being root";
        return Err(Failure::bad(error));
    }
    if let Some(name) = policies.iter().find(|name| *name == "response-wrapping") {
        return Err(Failure::bad(format!("cannot assign policy {name:?}")));
    }
    if add_default {
        policies = with_default(policies);
    }
    if no_default {
        policies.retain(|name| name != "default");
    }
    Ok(policies)
}
