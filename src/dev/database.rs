//! A dynamic engine for lease tests: any role answers with a fresh pair of credentials, and a
//! static role with one that is rotated in time.
//!
//! Formats: <https://developer.hashicorp.com/vault/api-docs/secret/databases#generate-credentials>
//! and <https://developer.hashicorp.com/vault/api-docs/secret/databases#get-static-credentials>

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use serde_json::value::RawValue;

use super::clock::{Moment, rfc3339};
use super::fields::Fields;
use super::lease::NewLease;
use super::random;
use super::reply::{Failure, Reply, Secret, raw};
use super::request::{Call, Engaged, Operation, Outcome, done, listing};
use super::token::rounded;

/// Vault looks no more often what is to be rotated.
const SHORTEST_PERIOD: Duration = Duration::from_secs(5);

/// Roles and connections as they were written.
#[derive(Default)]
pub(super) struct Database {
    entries: BTreeMap<String, Box<RawValue>>,
    /// Of static roles, by their path: when it was rotated last, and to which password.
    rotated: BTreeMap<String, (Moment, String)>,
}

impl Database {
    pub(super) fn call(&mut self, call: &Call<'_>) -> Engaged {
        match call.path.split_once('/') {
            Some(("creds", role)) if call.operation == Operation::Read => self.credentials(role),
            Some(("static-creds", role)) if call.operation == Operation::Read => {
                self.static_credentials(role, call.now)
            }
            Some(("static-roles", _)) if call.operation == Operation::Write => {
                self.static_role(call)
            }
            Some(("config" | "roles" | "static-roles", _)) => self.entry(call),
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

    fn static_role(&mut self, call: &Call<'_>) -> Engaged {
        let fields = call.fields();
        if fields.text("username").is_none_or(|name| name.is_empty()) {
            return Err(Failure::bad("username is a required field to create a static account"));
        }
        let period = fields.duration("rotation_period")?.unwrap_or_default();
        if period < SHORTEST_PERIOD {
            let least = SHORTEST_PERIOD.as_secs();
            return Err(Failure::bad(format!("rotation_period must be {least} seconds or more")));
        }
        if !self.rotated.contains_key(call.path) {
            self.rotated.insert(call.path.to_owned(), (call.now, random::base62(20)?));
        }
        self.entry(call)
    }

    /// Vault rotates by itself; nobody sees the difference to doing so when somebody looks.
    fn static_credentials(&mut self, role: &str, now: Moment) -> Engaged {
        let path = format!("static-roles/{role}");
        let unknown = || Failure::bad(format!("unknown role: {role}"));
        let entry = self.entries.get(&path).ok_or_else(unknown)?;
        let fields = Fields::from_body(entry.get().as_bytes())?;
        let period = fields.duration("rotation_period")?.unwrap_or_default().max(SHORTEST_PERIOD);
        let (last, password) = self.rotated.get_mut(&path).ok_or_else(unknown)?;
        while *last + period <= now {
            *last += period;
            *password = random::base62(20)?;
        }
        let answer = json!({
            "last_vault_rotation": rfc3339(*last),
            "password": password,
            "rotation_period": period.as_secs(),
            "ttl": rounded((*last + period).saturating_sub(now)),
            "username": fields.text("username"),
        });
        Reply::data(&answer).map(Outcome::Reply)
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
                self.rotated.remove(call.path);
                done()
            }
            Operation::Patch => Err(Failure::unsupported_operation()),
        }
    }
}
