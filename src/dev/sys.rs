//! `sys/…`: health, mounts, policies, namespaces, capabilities.
//!
//! <https://developer.hashicorp.com/vault/api-docs/system>

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::mount::Mount;
use super::policy::Policy;
use super::reply::{Answer, Failure, Reply, Secret};
use super::request::{Operation, Request};
use super::state::{Namespace, State};

/// The version whose answers this server gives.
const VERSION: &str = "1.19.5";

/// Whether any node answers this path by itself, active or not.
pub(super) fn is_status(path: &str) -> bool {
    matches!(path, "sys/health" | "sys/seal-status" | "sys/init" | "sys/leader")
}

/// What is answered without a token, sealed or not.
pub(super) fn status(state: &State, request: &Request) -> Option<Answer> {
    let body = match request.path.as_str() {
        "sys/health" => return Some(Ok(health(state, request))),
        "sys/seal-status" => json!({
            "build_date": "2025-05-29T08:31:14Z", "initialized": true, "migration": false,
            "n": 1, "nonce": "", "progress": 0, "recovery_seal": false, "sealed": state.sealed,
            "storage_type": "inmem", "t": 1, "type": "shamir", "version": VERSION,
        }),
        "sys/init" => json!({ "initialized": true }),
        "sys/leader" if !state.sealed => json!({
            "ha_enabled": state.standby.is_some(), "is_self": state.standby.is_none(),
            "leader_address": state.standby.as_ref().and_then(|standby| standby.active.clone()),
            "leader_cluster_address": "", "performance_standby": false,
            "performance_standby_last_remote_wal": 0,
        }),
        _ => return None,
    };
    Some(Ok(Reply::Bare(200, Bytes::from(body.to_string()))))
}

fn health(state: &State, request: &Request) -> Reply {
    let standby = state.standby.is_some();
    let code = |name, default| {
        request
            .fields
            .count(name)
            .ok()
            .flatten()
            .and_then(|code| u16::try_from(code).ok())
            .filter(|code| (200..600).contains(code))
            .unwrap_or(default)
    };
    let standby_ok = request.fields.flag("standbyok").ok().flatten().unwrap_or(false);
    let status = if state.sealed {
        code("sealedcode", 503)
    } else if standby && !standby_ok {
        code("standbycode", 429)
    } else {
        code("activecode", 200)
    };
    let mut body = json!({
        "clock_skew_ms": 0, "echo_duration_ms": 0, "enterprise": false, "initialized": true,
        "performance_standby": false, "replication_dr_mode": "disabled",
        "replication_performance_mode": "disabled", "replication_primary_canary_age_ms": 0,
        "sealed": state.sealed, "server_time_utc": state.now().as_secs(), "standby": standby,
        "version": VERSION,
    });
    if let (false, Some(body)) = (state.sealed, body.as_object_mut()) {
        body.insert("cluster_id".into(), state.cluster.clone().into());
        body.insert("cluster_name".into(), "sidekey-dev".into());
    }
    Reply::Bare(status, Bytes::from(body.to_string()))
}

pub(super) fn handle(state: &mut State, request: &Request, path: &str, caller: &str) -> Answer {
    let (head, rest) = path.split_once('/').unwrap_or((path, ""));
    match head {
        "mounts" => injected(mounts(state, request, rest, false)),
        "auth" => injected(mounts(state, request, rest, true)),
        "policy" => injected(policies(state, request, rest, "rules")),
        "policies" => match rest.split_once('/').unwrap_or((rest, "")) {
            ("acl", name) => policies(state, request, name, "policy"),
            _ => Err(Failure::unsupported_path()),
        },
        "capabilities-self" => injected(capabilities(state, request, caller)),
        "capabilities" => {
            let token = request.fields.required("token")?;
            injected(capabilities(state, request, &token))
        }
        "wrapping" if rest == "wrap" => wrapped_input(request),
        "namespaces" => namespaces(state, request, rest),
        "internal" => match rest.strip_prefix("ui/mounts/") {
            Some(path) => preflight(state, request, path, caller),
            None => Err(Failure::unsupported_path()),
        },
        _ => Err(Failure::unsupported_path()),
    }
}

/// Some of `sys/` repeats its data beside the envelope.
fn injected(answer: Answer) -> Answer {
    answer.map(|mut reply| {
        if let Reply::Secret(secret) = &mut reply {
            secret.inject = true;
        }
        reply
    })
}

fn own<'s>(state: &'s mut State, request: &Request) -> Result<&'s mut Namespace, Failure> {
    state.namespaces.get_mut(&request.namespace).ok_or_else(Failure::not_found)
}

fn mounts(state: &mut State, request: &Request, path: &str, auth: bool) -> Answer {
    let prefix = if auth { "auth/" } else { "" };
    let namespace = own(state, request)?;
    let name = path.trim_matches('/');
    let full = format!("{prefix}{name}/");
    match request.operation {
        Operation::Read if name.is_empty() => {
            let shown: Map<String, Value> = namespace
                .mounts
                .iter()
                .filter(|(path, _)| path.starts_with("auth/") == auth)
                .map(|(path, mount)| {
                    let path = path.strip_prefix(prefix).unwrap_or(path);
                    (path.to_owned(), mount.describe(auth, false))
                })
                .collect();
            Reply::data(&shown)
        }
        Operation::Read => match namespace.mounts.get(&full) {
            Some(mount) => Reply::data(&mount.describe(auth, false)),
            None if auth => Err(Failure::bad(format!("No auth engine at {name}/"))),
            None => Err(Failure::bad(format!("No secret engine mount at {name}/"))),
        },
        Operation::Write if name.is_empty() => Err(Failure::unsupported_operation()),
        Operation::Write => {
            let taken = namespace
                .mounts
                .keys()
                .find(|mount| mount.starts_with(&full) || full.starts_with(mount.as_str()));
            if let Some(taken) = taken {
                let taken = taken.strip_prefix(prefix).unwrap_or(taken);
                return Err(Failure::bad(format!("path is already in use at {taken}")));
            }
            let fields = &request.fields;
            let mount = if auth { Mount::auth(fields) } else { Mount::secrets(fields) }?;
            namespace.mounts.insert(full, mount);
            Ok(Reply::Empty)
        }
        Operation::Delete => {
            if matches!(full.as_str(), "sys/" | "cubbyhole/" | "identity/" | "auth/token/") {
                return Err(Failure::bad(format!("cannot unmount {name:?}")));
            }
            namespace.mounts.remove(&full);
            state.revoke_below(&request.namespace, &full);
            Ok(Reply::Empty)
        }
        _ => Err(Failure::unsupported_operation()),
    }
}

fn policies(state: &mut State, request: &Request, name: &str, text_field: &str) -> Answer {
    let namespace = own(state, request)?;
    let name = name.trim_matches('/').to_lowercase();
    match request.operation {
        Operation::List | Operation::Read if name.is_empty() => {
            let mut names: Vec<&str> = namespace
                .policies
                .keys()
                .map(String::as_str)
                .filter(|name| *name != "response-wrapping")
                .collect();
            names.push("root");
            if text_field == "rules" {
                return Reply::data(&json!({ "keys": names, "policies": names }));
            }
            Reply::data(&json!({ "keys": names }))
        }
        Operation::Read => {
            let text = match namespace.policies.get(&name) {
                Some(policy) => policy.text.as_str(),
                None if name == "root" => "",
                None => return Err(Failure::not_found()),
            };
            Reply::data(&json!({ "name": name, text_field: text }))
        }
        Operation::Write => {
            if matches!(name.as_str(), "root" | "response-wrapping") {
                return Err(Failure::bad(format!("cannot update {name:?} policy")));
            }
            let text = request.fields.text("policy").or_else(|| request.fields.text("rules"));
            let text = text
                .filter(|text| !text.is_empty())
                .ok_or_else(|| Failure::bad("'policy' parameter not supplied or empty"))?;
            namespace.policies.insert(name, Policy::parse(&text)?);
            Ok(Reply::Empty)
        }
        Operation::Delete => {
            if matches!(name.as_str(), "root" | "default" | "response-wrapping") {
                return Err(Failure::bad(format!("cannot delete {name:?} policy")));
            }
            namespace.policies.remove(&name);
            Ok(Reply::Empty)
        }
        _ => Err(Failure::unsupported_operation()),
    }
}

fn capabilities(state: &State, request: &Request, token: &str) -> Answer {
    let paths = request.fields.list("paths")?.or(request.fields.list("path")?);
    let paths = paths.filter(|paths| !paths.is_empty());
    let paths = paths.ok_or_else(|| Failure::bad("paths must be supplied"))?;
    let token = state.tokens.get(token).ok_or_else(|| Failure::bad("invalid token"))?;
    let mut shown = BTreeMap::new();
    for path in &paths {
        let capabilities = match state.acl(token, &request.namespace, path.trim_start_matches('/'))
        {
            Some((acl, path)) => json!(acl.capabilities(&path)),
            None => json!(["deny"]),
        };
        shown.insert(path.clone(), capabilities);
    }
    if let [only] = paths.as_slice() {
        let capabilities = shown.get(only).cloned().unwrap_or_default();
        shown.insert("capabilities".to_owned(), capabilities);
    }
    Reply::data(&shown)
}

/// The body itself is what gets wrapped.
fn wrapped_input(request: &Request) -> Answer {
    if request.wrap_ttl.is_none() {
        return Err(Failure::bad("endpoint requires response wrapping to be used"));
    }
    match request.fields.whole() {
        Some(whole) => Reply::data(&whole),
        None => Reply::secret(Secret { status: 200, ..Secret::default() }),
    }
}

fn namespaces(state: &mut State, request: &Request, name: &str) -> Answer {
    let name = name.trim_matches('/');
    let full = if request.namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{}/{name}", request.namespace)
    };
    let shown = |namespace: &Namespace| json!({ "custom_metadata": {}, "id": namespace.id, "path": format!("{full}/") });
    match request.operation {
        Operation::List if name.is_empty() => {
            let below = state.namespaces.keys().filter_map(|other| {
                let other = other.strip_prefix(request.namespace.as_str())?.trim_start_matches('/');
                (!other.is_empty() && !other.contains('/')).then(|| format!("{other}/"))
            });
            Reply::keys(below.collect())
        }
        _ if name.is_empty() => Err(Failure::unsupported_operation()),
        Operation::Read => {
            Reply::data(&shown(state.namespaces.get(&full).ok_or_else(Failure::not_found)?))
        }
        Operation::Write => {
            if !state.namespaces.contains_key(&full) {
                state.namespaces.insert(full.clone(), Namespace::new()?);
            }
            Reply::data(&shown(state.namespaces.get(&full).ok_or_else(Failure::not_found)?))
        }
        Operation::Delete => {
            state.drop_namespace(&full);
            Ok(Reply::Empty)
        }
        _ => Err(Failure::unsupported_operation()),
    }
}

/// What the command line asks before `kv get`, to learn the engine's version.
fn preflight(state: &mut State, request: &Request, path: &str, caller: &str) -> Answer {
    let refused = || {
        Failure::new(
            403,
            format!(
                "preflight capability check returned 403, please ensure client's policies \
                 grant access to path {path:?}"
            ),
        )
    };
    let namespace = state.namespaces.get(&request.namespace).ok_or_else(refused)?;
    let slashed = format!("{}/", path.trim_end_matches('/'));
    let name = namespace.mount_of(&slashed).ok_or_else(refused)?;
    let mount = namespace.mounts.get(name).ok_or_else(refused)?;
    let token = state.tokens.get(caller).ok_or_else(refused)?;
    let (acl, inside) = state.acl(token, &request.namespace, name).ok_or_else(refused)?;
    if !acl.sees(&inside) {
        return Err(refused());
    }
    let auth = name.starts_with("auth/");
    let mut shown = mount.describe(auth, true);
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("path".into(), name.strip_prefix("auth/").unwrap_or(name).into());
    }
    Reply::data(&shown)
}
