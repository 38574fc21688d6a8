//! KV version 2: versions, soft deletion, check-and-set.
//!
//! <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2>

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, json};

use super::clock::{Moment, go_duration};
use super::fields::RawMap;
use super::number::as_floats;
use super::reply::{Failure, Reply, Secret, raw};
use super::request::{Call, Engaged, Operation, Outcome, data, done, listing};
use super::version::{Key, Settings, Version};

const INVALID_PATH: &str = "Invalid path for a versioned K/V secrets engine. See the API docs for \
    the appropriate API endpoints to use. If using the Vault CLI, use 'vault kv";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// A version 2 store.
#[derive(Default)]
pub(super) struct Kv2 {
    settings: Settings,
    keys: BTreeMap<String, Key>,
}

impl Kv2 {
    pub(super) fn exists(&self, path: &str) -> Option<bool> {
        match path.split_once('/') {
            Some(("data" | "metadata", key)) => Some(self.keys.contains_key(key)),
            _ => None,
        }
    }

    /// Writes a version directly, as a test or `sidekey dev` seeds one.
    pub(super) fn seed(&mut self, key: &str, data: Box<RawValue>, now: Moment) -> u64 {
        let entry = self.keys.entry(key.to_owned()).or_insert_with(|| Key::new(now));
        entry.push(data, &self.settings, now);
        entry.current
    }

    pub(super) fn call(&mut self, call: &Call<'_>) -> Engaged {
        if call.path == "config" {
            return self.config(call);
        }
        let (verb, key) = call.path.split_once('/').unwrap_or((call.path, ""));
        match (verb, call.operation) {
            ("metadata", Operation::List) => listing(self.keys.keys(), key),
            ("data" | "metadata" | "delete" | "undelete" | "destroy", _) if key.is_empty() => {
                astray("Non-listing operations on the root of a K/V v2 mount are not supported.")
            }
            ("data", Operation::Read) => self.read(call, key),
            ("data", Operation::Write) => self.write(call, key),
            ("data", Operation::Patch) => self.patch(call, key),
            ("data", Operation::Delete) => {
                let current = self.keys.get(key).map_or(0, |entry| entry.current);
                self.mark(key, &[current], |version, now| version.deleted = Some(now), call.now)
            }
            ("metadata", Operation::Read) => {
                data(&self.keys.get(key).ok_or_else(Failure::not_found)?.metadata())
            }
            ("metadata", Operation::Write) => self.describe(call, key),
            ("metadata", Operation::Delete) => {
                self.keys.remove(key);
                done()
            }
            ("delete" | "undelete" | "destroy", Operation::Write) => self.versions(call, verb, key),
            ("data" | "metadata" | "delete" | "undelete" | "destroy", _) => {
                Err(Failure::unsupported_operation())
            }
            (_, operation) => astray(&format!(
                "{INVALID_PATH} {}' for this operation.",
                match operation {
                    Operation::Read => "get",
                    Operation::List => "list",
                    Operation::Write => "put",
                    Operation::Patch => "patch",
                    Operation::Delete => "delete",
                }
            )),
        }
    }

    fn read(&self, call: &Call<'_>, key: &str) -> Engaged {
        let entry = self.keys.get(key).ok_or_else(Failure::not_found)?;
        let asked = call.fields().count("version")?.filter(|&version| version > 0);
        let number = asked.unwrap_or(entry.current);
        let version = entry.versions.get(&number).ok_or_else(Failure::not_found)?;
        let shown = version.data.as_ref().filter(|_| version.readable(call.now));
        let mut answer = RawMap::new();
        answer.insert("data".into(), raw(&shown)?);
        answer.insert("metadata".into(), raw(&entry.describe(number, version))?);
        let status = if shown.is_some() { 200 } else { 404 };
        let mount_type = "kv".to_owned();
        Reply::secret(Secret { status, mount_type, ..Secret::of(&answer)? }).map(Outcome::Reply)
    }

    fn write(&mut self, call: &Call<'_>, key: &str) -> Engaged {
        let body = call.fields().get("data").ok_or_else(|| Failure::bad("no data provided"))?;
        if !body.get().starts_with('{') {
            return Err(Failure::bad("error converting input for field \"data\""));
        }
        self.check(call, key)?;
        self.seed(key, as_floats(body)?, call.now);
        self.written(key)
    }

    fn patch(&mut self, call: &Call<'_>, key: &str) -> Engaged {
        if call.request.content_type != MERGE_PATCH {
            let error = format!(
                "PATCH requires Content-Type of {MERGE_PATCH}, provided {}",
                call.request.content_type
            );
            return Err(Failure::new(415, error));
        }
        let patch = call.fields().get("data").ok_or_else(|| Failure::bad("no data provided"))?;
        let entry = self.keys.get(key).ok_or_else(Failure::not_found)?;
        self.check(call, key)?;
        let version = entry.versions.get(&entry.current).ok_or_else(Failure::not_found)?;
        let Some(before) = version.data.as_ref().filter(|_| version.readable(call.now)) else {
            let data = entry.describe(entry.current, version);
            return Reply::secret(Secret { status: 404, ..Secret::of(&data)? }).map(Outcome::Reply);
        };
        let after = merged(before, patch)?;
        self.seed(key, as_floats(&after)?, call.now);
        self.written(key)
    }

    /// `options.cas` must name the current version, where it is given or required.
    fn check(&self, call: &Call<'_>, key: &str) -> Result<(), Failure> {
        let entry = self.keys.get(key);
        let options = call.fields().value("options").unwrap_or_default();
        match options.get("cas") {
            Some(cas) => {
                let cas = cas.as_u64().or_else(|| cas.as_str()?.parse().ok());
                let cas =
                    cas.ok_or_else(|| Failure::bad("error parsing check-and-set parameter"))?;
                if cas == entry.map_or(0, |entry| entry.current) {
                    return Ok(());
                }
                Err(Failure::bad("check-and-set parameter did not match the current version"))
            }
            None if self.settings.cas_required
                || entry.is_some_and(|entry| entry.settings.cas_required) =>
            {
                Err(Failure::bad("check-and-set parameter required for this call"))
            }
            None => Ok(()),
        }
    }

    fn written(&self, key: &str) -> Engaged {
        let entry = self.keys.get(key).ok_or_else(Failure::not_found)?;
        let version = entry.versions.get(&entry.current).ok_or_else(Failure::not_found)?;
        let secret = Secret::of(&entry.describe(entry.current, version))?;
        Reply::secret(Secret { mount_type: "kv".to_owned(), ..secret }).map(Outcome::Reply)
    }

    fn versions(&mut self, call: &Call<'_>, verb: &str, key: &str) -> Engaged {
        let numbers = call.fields().list("versions")?.unwrap_or_default();
        let numbers: Vec<u64> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
        if numbers.is_empty() {
            let no = if verb == "destroy" { "no" } else { "No" };
            return Err(Failure::bad(format!("{no} version number provided")));
        }
        let change = match verb {
            "delete" => |version: &mut Version, now| version.deleted = Some(now),
            "undelete" => |version: &mut Version, _| version.deleted = None,
            _ => |version: &mut Version, _| {
                version.destroyed = true;
                version.data = None;
            },
        };
        self.mark(key, &numbers, change, call.now)
    }

    fn mark(
        &mut self,
        key: &str,
        numbers: &[u64],
        change: fn(&mut Version, Moment),
        now: Moment,
    ) -> Engaged {
        if let Some(entry) = self.keys.get_mut(key) {
            for number in numbers {
                let version = entry.versions.get_mut(number).filter(|version| !version.destroyed);
                if let Some(version) = version {
                    change(version, now);
                }
            }
            entry.updated = now;
        }
        done()
    }

    fn describe(&mut self, call: &Call<'_>, key: &str) -> Engaged {
        let entry = self.keys.entry(key.to_owned()).or_insert_with(|| Key::new(call.now));
        entry.settings.read(call.fields())?;
        if let Some(custom) = call.fields().pairs("custom_metadata")? {
            entry.custom = Some(custom);
        }
        entry.updated = call.now;
        done()
    }

    fn config(&mut self, call: &Call<'_>) -> Engaged {
        match call.operation {
            Operation::Read => data(&json!({
                "cas_required": self.settings.cas_required,
                "delete_version_after": go_duration(self.settings.delete_version_after),
                "max_versions": self.settings.max_versions,
            })),
            Operation::Write => {
                self.settings.read(call.fields())?;
                done()
            }
            _ => Err(Failure::unsupported_operation()),
        }
    }
}

/// 404 with a warning in the envelope instead of an error.
fn astray(warning: &str) -> Engaged {
    let warnings = Some(vec![warning.to_owned()]);
    Reply::secret(Secret { status: 404, warnings, ..Secret::default() }).map(Outcome::Reply)
}

/// RFC 7396 on texts, so that what the patch does not name stays as it was written.
fn merged(before: &RawValue, patch: &RawValue) -> Result<Box<RawValue>, Failure> {
    let object = |text: &RawValue| serde_json::from_str::<RawMap>(text.get());
    let changes = object(patch).map_err(|_| Failure::bad("error parsing JSON"))?;
    let mut fields = object(before).unwrap_or_default();
    for (name, change) in changes {
        if change.get() == "null" {
            fields.remove(&name);
        } else if change.get().starts_with('{') {
            let nothing = raw(&Map::new())?;
            let inner = fields.get(&name).filter(|inner| inner.get().starts_with('{'));
            let inner = merged(inner.unwrap_or(&nothing), &change)?;
            fields.insert(name, inner);
        } else {
            fields.insert(name, change);
        }
    }
    raw(&fields)
}
