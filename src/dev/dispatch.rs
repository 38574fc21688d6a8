//! One request from the outside in: seal, namespace, token, policy, engine, wrapping.

use super::grant::Kind;
use super::lease;
use super::mount::Engine;
use super::reply::{Answer, Failure, Reply, Secret};
use super::request::{Call, Operation, Outcome, Request};
use super::state::State;
use super::{random, sys, token_api, wrapping};

/// Paths that only a token with the `sudo` capability may use.
const SUDO: [&str; 6] = [
    "auth/token/accessors/",
    "auth/token/create-orphan",
    "sys/auth/*",
    "sys/leases/lookup/*",
    "sys/leases/revoke-force/*",
    "sys/leases/revoke-prefix/*",
];

/// Answers `request`; its path is made relative to the namespace it leads to.
pub(super) fn handle(state: &mut State, mut request: Request) -> Answer {
    if let Some(answer) = sys::status(state, &request) {
        return answer;
    }
    if state.sealed {
        return Err(Failure::new(503, "Vault is sealed"));
    }
    state.sweep();
    let Some((namespace, path)) = state.resolve(&request.namespace, &request.path) else {
        return Err(Failure::no_route(&request.path));
    };
    (request.namespace, request.path) = (namespace, path);
    if request.operation == Operation::Write && request.path.ends_with('/') {
        return Err(Failure::bad("cannot write to a path ending in '/'"));
    }
    let mut reply = if needs_no_token(state, &request) {
        dispatch(state, &request, "")?
    } else {
        admitted(state, &request)?
    };
    if let Reply::Secret(secret) = &mut reply {
        secret.request_id = random::uuid()?;
        if secret.mount_type.is_empty() {
            secret.mount_type = mount_type(state, &request);
        }
    }
    match request.wrap_ttl {
        Some(ttl) => wrapping::wrap(state, &request, reply, ttl),
        None => Ok(reply),
    }
}

fn mount_type(state: &State, request: &Request) -> String {
    let namespace = state.namespaces.get(&request.namespace);
    let mount = namespace.and_then(|it| it.mounts.get(it.mount_of(&request.path)?));
    mount.map(|mount| mount.kind.clone()).unwrap_or_default()
}

fn needs_no_token(state: &mut State, request: &Request) -> bool {
    let namespace = state.namespaces.get_mut(&request.namespace);
    namespace
        .and_then(|namespace| namespace.route(&request.path))
        .is_some_and(|(mount, rest)| mount.needs_no_token(rest, request.operation))
}

/// A request that needs a token: who, what they may do, and one use less.
fn admitted(state: &mut State, request: &Request) -> Answer {
    // A wrapping token that is used up or unknown gets its own answer, before any policy.
    if let Some(answer) = wrapping::handle(state, request) {
        return answer;
    }
    let caller = request.token.clone().filter(|token| !token.is_empty());
    let caller = caller.ok_or_else(Failure::denied)?;
    let permitted = permitted(state, request, &caller);
    let last_use = match state.tokens.get_mut(&caller) {
        Some(token) if token.grant.num_uses > 0 => {
            token.uses_left = token.uses_left.saturating_sub(1);
            token.uses_left == 0
        }
        Some(_) => false,
        None => return Err(Failure::invalid_token()),
    };
    let mut answer =
        if permitted { dispatch(state, request, &caller) } else { Err(Failure::forbidden()) };
    if last_use {
        state.revoke(&caller);
        if let Ok(Reply::Secret(secret)) = &answer
            && !secret.lease_id.is_empty()
        {
            let error = "Secret cannot be returned; token had one use left, so leased \
                credentials were immediately revoked.";
            answer = Err(Failure::bad(error));
        }
    }
    answer
}

fn permitted(state: &mut State, request: &Request, caller: &str) -> bool {
    let exists = state
        .namespaces
        .get_mut(&request.namespace)
        .and_then(|namespace| namespace.route(&request.path))
        .and_then(|(mount, rest)| mount.exists(rest, caller));
    let Some(token) = state.tokens.get(caller) else { return false };
    // These act on the caller itself, wherever it asks from.
    let own = matches!(
        request.path.as_str(),
        "auth/token/lookup-self" | "auth/token/renew-self" | "auth/token/revoke-self"
    );
    let namespace = if own { &token.grant.namespace } else { &request.namespace };
    // The user interface's path checks what the token sees by itself.
    if request.path.starts_with("sys/internal/ui/mounts") {
        return true;
    }
    let Some((acl, path)) = state.acl(token, namespace, &request.path) else { return false };
    let may = match (request.operation, exists) {
        (Operation::Read, _) => acl.allows(&path, "read"),
        (Operation::List, _) => acl.allows(&path, "list"),
        (Operation::Delete, _) => acl.allows(&path, "delete"),
        (Operation::Patch, _) => acl.allows(&path, "patch"),
        (Operation::Write, Some(true)) => acl.allows(&path, "update"),
        (Operation::Write, Some(false)) => acl.allows(&path, "create"),
        (Operation::Write, None) => acl.allows(&path, "update") || acl.allows(&path, "create"),
    };
    let sudo = SUDO.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => request.path.starts_with(prefix),
        None => request.path == *pattern,
    });
    may && (!sudo || acl.allows(&path, "sudo"))
}

/// The engine's work, then the token or lease it asks for.
fn dispatch(state: &mut State, request: &Request, caller: &str) -> Answer {
    let now = state.now();
    let namespace = state.namespaces.get_mut(&request.namespace);
    let route = namespace.and_then(|namespace| namespace.route(&request.path));
    let Some((mount, rest)) = route else { return Err(Failure::no_route(&request.path)) };
    match mount.engine {
        Engine::System => {
            return match rest.split_once('/') {
                Some(("leases", rest)) => lease::handle(state, request, rest),
                Some(("renew" | "revoke", _)) => lease::handle(state, request, rest),
                _ if rest == "renew" || rest == "revoke" => lease::handle(state, request, rest),
                _ => sys::handle(state, request, rest, caller),
            };
        }
        Engine::Token => return token_api::handle(state, request, rest, caller),
        _ => {}
    }
    let call = Call { operation: request.operation, path: rest, request, token: caller, now };
    match mount.call(&call)? {
        Outcome::Reply(reply) => Ok(reply),
        Outcome::Lease(new) => {
            let batch = |id| state.tokens.get(id).is_some_and(|it| it.grant.kind == Kind::Batch);
            let mut new = *new;
            // A batch token cannot keep a lease alive.
            new.renewable &= !batch(caller);
            state.leases.grant(new, request, caller, now)
        }
        Outcome::Login(mut grant) => {
            grant.path.clone_from(&request.path);
            grant.namespace.clone_from(&request.namespace);
            grant.renewable &= grant.kind == Kind::Service;
            let token = state.issue(*grant)?;
            Reply::secret(Secret::auth(token.auth(now)))
        }
    }
}
