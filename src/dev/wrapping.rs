//! Response wrapping: <https://developer.hashicorp.com/vault/api-docs/system/wrapping-unwrap>

use std::time::Duration;

use serde_json::json;

use super::clock::rfc3339;
use super::grant::{Grant, Kind, Wrapped};
use super::reply::{Answer, Failure, Reply, Secret, WrapInfo};
use super::request::{Operation, Request};
use super::state::State;

const INVALID: &str = "wrapping token is not valid or does not exist";

/// Puts `reply` aside and answers with the token that fetches it.
pub(super) fn wrap(state: &mut State, request: &Request, reply: Reply, ttl: Duration) -> Answer {
    let Reply::Secret(mut secret) = reply else { return Ok(reply) };
    if secret.status != 200 || secret.wrap_info.is_some() {
        return Ok(Reply::Secret(secret));
    }
    secret.inject = false;
    let wrapped_accessor =
        secret.auth.as_ref().map(|auth| auth.accessor.clone()).unwrap_or_default();
    let wrapped = Wrapped { body: secret.render()?, path: request.path.clone(), ttl };
    answer(state, &request.namespace, wrapped, wrapped_accessor)
}

fn answer(
    state: &mut State,
    namespace: &str,
    wrapped: Wrapped,
    wrapped_accessor: String,
) -> Answer {
    let (ttl, creation_path) = (wrapped.ttl, wrapped.path.clone());
    let grant = Grant {
        policies: vec!["response-wrapping".to_owned()],
        ttl,
        explicit_max_ttl: ttl,
        num_uses: 1,
        kind: Kind::Service,
        path: creation_path.clone(),
        namespace: namespace.to_owned(),
        wrapped: Some(wrapped),
        ..Grant::default()
    };
    let token = state.issue(grant)?;
    let wrap_info = WrapInfo {
        token: token.id.clone(),
        accessor: token.accessor.clone(),
        ttl: ttl.as_secs(),
        creation_time: rfc3339(token.created),
        creation_path,
        wrapped_accessor,
    };
    Reply::secret(Secret { status: 200, wrap_info: Some(wrap_info), ..Secret::default() })
}

/// `unwrap`, `lookup` and `rewrap`, which take their token from the body or the header.
pub(super) fn handle(state: &mut State, request: &Request) -> Option<Answer> {
    let verb = request.path.strip_prefix("sys/wrapping/")?;
    if !matches!(verb, "unwrap" | "lookup" | "rewrap") {
        return None;
    }
    // The lookup may also be read; it looks at the header's token then.
    if request.operation != Operation::Write && verb != "lookup" {
        return Some(Err(Failure::unsupported_operation()));
    }
    Some(collect(state, request, verb))
}

fn collect(state: &mut State, request: &Request, verb: &str) -> Answer {
    let named = request.fields.text("token");
    if named.as_deref() == Some("") {
        let error = "error validating wrapping token: empty token in request body";
        return Err(Failure::new(403, error));
    }
    let third_party = named.is_some();
    let id = named.or_else(|| request.token.clone()).filter(|id| !id.is_empty());
    let id =
        id.ok_or_else(|| Failure::new(403, "error validating wrapping token: token is empty"))?;
    let token = state.tokens.get(&id).ok_or_else(|| Failure::bad(INVALID))?;
    let (created, home) = (token.created, token.grant.namespace.clone());
    let wrapped = token.grant.wrapped.clone().ok_or_else(|| Failure::bad(INVALID))?;
    // Unwrapping another's token takes a token of one's own, except to look.
    if third_party && verb != "lookup" {
        let own = request.token.as_deref().filter(|own| *own != id).unwrap_or_default();
        if own.is_empty() && request.token.as_deref() != Some(id.as_str()) {
            return Err(Failure::denied());
        }
        if !own.is_empty() && state.tokens.get(own).is_none() {
            return Err(Failure::invalid_token());
        }
    }
    match verb {
        "lookup" => Reply::data(&json!({
            "creation_path": wrapped.path,
            "creation_time": rfc3339(created),
            "creation_ttl": wrapped.ttl.as_secs(),
        })),
        "rewrap" => {
            state.revoke(&id);
            answer(state, &home, wrapped, String::new())
        }
        _ => {
            state.revoke(&id);
            Ok(Reply::Bare(200, wrapped.body))
        }
    }
}
