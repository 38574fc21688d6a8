//! A dynamic engine for lease tests: any role answers with a fresh pair of credentials.
//!
//! Format: <https://developer.hashicorp.com/vault/api-docs/secret/databases#generate-credentials>

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use serde_json::value::RawValue;

use super::fields::Fields;
use super::lease::NewLease;
use super::random;
use super::reply::{Failure, Reply, Secret, raw};
use super::request::{Call, Engaged, Operation, Outcome, done, listing};

/// Roles and connections as they were written.
#[derive(Default)]
pub(super) struct Database {
    entries: BTreeMap<String, Box<RawValue>>,
}

impl Database {
    pub(super) fn call(&mut self, call: &Call<'_>) -> Engaged {
        match call.path.split_once('/') {
            Some(("creds", role)) if call.operation == Operation::Read => self.credentials(role),
            Some(("config" | "roles", _)) => self.entry(call),
            _ => Err(Failure::unsupported_path()),
        }
    }

    fn credentials(&self, role: &str) -> Engaged {
        let entry = self.entries.get(&format!("roles/{role}"));
        let entry = entry.ok_or_else(|| Failure::bad(format!("unknown role: {role}")))?;
        let fields = Fields::from_body(entry.get().as_bytes())?;
        let ttl = fields.duration("default_ttl")?.filter(|ttl| !ttl.is_zero());
        let lease = NewLease {
            data: raw(&json!({
                "password": random::base62(20)?,
                "username": format!("v-token-{role}-{}", random::base62(20)?),
            }))?,
            ttl: ttl.unwrap_or(Duration::from_hours(1)),
            max_ttl: fields.duration("max_ttl")?.unwrap_or_default(),
            renewable: fields.flag("renewable")?.unwrap_or(true),
            mount_type: "database".to_owned(),
            suffix: None,
        };
        Ok(Outcome::Lease(Box::new(lease)))
    }

    fn entry(&mut self, call: &Call<'_>) -> Engaged {
        match call.operation {
            Operation::Read => {
                let entry = self.entries.get(call.path).ok_or_else(Failure::not_found)?;
                Reply::secret(Secret::of(entry)?).map(Outcome::Reply)
            }
            Operation::List => listing(self.entries.keys(), call.path),
            Operation::Write => {
                let whole = call.fields().whole();
                let whole = whole.ok_or_else(|| Failure::bad("missing data fields"))?;
                self.entries.insert(call.path.to_owned(), whole.to_owned());
                done()
            }
            Operation::Delete => {
                self.entries.remove(call.path);
                done()
            }
            Operation::Patch => Err(Failure::unsupported_operation()),
        }
    }
}
