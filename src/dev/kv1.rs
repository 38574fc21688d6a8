//! KV version 1 and the cubbyhole: a path holds what was written to it.
//!
//! <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v1>

use std::collections::{BTreeMap, HashMap};

use serde_json::value::RawValue;

use super::fields;
use super::reply::{Failure, Reply, Secret};
use super::request::{Call, Engaged, Operation, Outcome, done, listing};
use super::token::SYSTEM_TTL;

/// A version 1 store.
#[derive(Default)]
pub(super) struct Kv1 {
    values: BTreeMap<String, Box<RawValue>>,
}

impl Kv1 {
    pub(super) fn exists(&self, path: &str) -> bool {
        self.values.contains_key(path)
    }

    pub(super) fn call(&mut self, call: &Call<'_>) -> Engaged {
        match call.operation {
            Operation::Read => {
                let value = self.values.get(call.path).ok_or_else(Failure::not_found)?;
                Reply::secret(Secret {
                    status: 200,
                    lease_duration: lease_hint(value),
                    data: Some(value.clone()),
                    mount_type: "kv".to_owned(),
                    ..Secret::default()
                })
                .map(Outcome::Reply)
            }
            _ => change(&mut self.values, call),
        }
    }
}

/// A `ttl` field in the data is what the client is told to wait before reading again.
fn lease_hint(value: &RawValue) -> u64 {
    let fields = fields::Fields::from_body(value.get().as_bytes()).unwrap_or_default();
    let hint = fields.duration("ttl").ok().flatten();
    let hint = hint.or_else(|| fields.duration("lease").ok().flatten());
    hint.unwrap_or(SYSTEM_TTL).as_secs()
}

/// One private store for each token.
#[derive(Default)]
pub(super) struct Cubbyhole {
    by_token: HashMap<String, BTreeMap<String, Box<RawValue>>>,
}

impl Cubbyhole {
    pub(super) fn exists(&self, token: &str, path: &str) -> bool {
        self.by_token.get(token).is_some_and(|values| values.contains_key(path))
    }

    pub(super) fn forget(&mut self, tokens: &[String]) {
        for token in tokens {
            self.by_token.remove(token);
        }
    }

    pub(super) fn call(&mut self, call: &Call<'_>) -> Engaged {
        let values = self.by_token.entry(call.token.to_owned()).or_default();
        match call.operation {
            Operation::Read => {
                let value = values.get(call.path).ok_or_else(Failure::not_found)?;
                let mut secret = Secret::of(value)?;
                "cubbyhole".clone_into(&mut secret.mount_type);
                Reply::secret(secret).map(Outcome::Reply)
            }
            _ => change(values, call),
        }
    }
}

fn change(values: &mut BTreeMap<String, Box<RawValue>>, call: &Call<'_>) -> Engaged {
    match call.operation {
        Operation::List => listing(values.keys(), call.path),
        Operation::Write if call.path.is_empty() => Err(Failure::bad("missing path")),
        Operation::Write => {
            let whole = call.fields().whole().filter(|_| !call.fields().is_empty());
            let whole = whole.ok_or_else(|| Failure::bad("missing data fields"))?;
            values.insert(call.path.to_owned(), whole.to_owned());
            done()
        }
        Operation::Delete => {
            values.remove(call.path);
            done()
        }
        Operation::Read | Operation::Patch => Err(Failure::unsupported_operation()),
    }
}
