//! A key of a KV version 2 store: its versions and its metadata.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::clock::{Moment, go_duration, rfc3339};
use super::fields::Fields;
use super::reply::Failure;

/// How many versions are kept when neither the engine nor the key says so.
const MAX_VERSIONS: u64 = 10;

/// What the engine's `config` and a key's metadata both hold.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) max_versions: u64,
    pub(super) cas_required: bool,
    pub(super) delete_version_after: Duration,
}

pub(super) struct Key {
    pub(super) settings: Settings,
    pub(super) custom: Option<BTreeMap<String, String>>,
    pub(super) created: Moment,
    pub(super) updated: Moment,
    pub(super) current: u64,
    /// 0 until as many versions as are kept were written, as Vault counts.
    pub(super) oldest: u64,
    pub(super) versions: BTreeMap<u64, Version>,
}

pub(super) struct Version {
    pub(super) created: Moment,
    pub(super) deleted: Option<Moment>,
    pub(super) destroyed: bool,
    pub(super) data: Option<Box<RawValue>>,
}

impl Settings {
    pub(super) fn read(&mut self, fields: &Fields) -> Result<(), Failure> {
        if let Some(count) = fields.count("max_versions")? {
            self.max_versions = count;
        }
        if let Some(required) = fields.flag("cas_required")? {
            self.cas_required = required;
        }
        if let Some(after) = fields.duration("delete_version_after")? {
            self.delete_version_after = after;
        }
        Ok(())
    }
}

impl Version {
    pub(super) fn readable(&self, now: Moment) -> bool {
        !self.destroyed && self.deleted.is_none_or(|at| at > now)
    }

    pub(super) fn describe(&self) -> Map<String, Value> {
        let mut shown = Map::new();
        shown.insert("created_time".into(), rfc3339(self.created).into());
        shown.insert("deletion_time".into(), self.deleted.map(rfc3339).unwrap_or_default().into());
        shown.insert("destroyed".into(), self.destroyed.into());
        shown
    }
}

impl Key {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            settings: Settings::default(),
            custom: None,
            created: now,
            updated: now,
            current: 0,
            oldest: 0,
            versions: BTreeMap::new(),
        }
    }

    pub(super) fn describe(&self, number: u64, version: &Version) -> Value {
        let mut shown = version.describe();
        shown.insert("custom_metadata".into(), json!(self.custom));
        shown.insert("version".into(), number.into());
        Value::Object(shown)
    }

    pub(super) fn metadata(&self) -> Value {
        let versions: Map<String, Value> = self
            .versions
            .iter()
            .map(|(number, version)| (number.to_string(), Value::Object(version.describe())))
            .collect();
        json!({
            "cas_required": self.settings.cas_required,
            "created_time": rfc3339(self.created),
            "current_version": self.current,
            "custom_metadata": self.custom,
            "delete_version_after": go_duration(self.settings.delete_version_after),
            "max_versions": self.settings.max_versions,
            "oldest_version": self.oldest,
            "updated_time": rfc3339(self.updated),
            "versions": versions,
        })
    }

    pub(super) fn push(&mut self, data: Box<RawValue>, engine: &Settings, now: Moment) {
        self.current += 1;
        self.updated = now;
        let after = [self.settings.delete_version_after, engine.delete_version_after];
        let after = after.into_iter().find(|after| !after.is_zero());
        let deleted = after.map(|after| now + after);
        let version = Version { created: now, deleted, destroyed: false, data: Some(data) };
        self.versions.insert(self.current, version);
        let kept = [self.settings.max_versions, engine.max_versions].into_iter().max();
        let kept = kept.filter(|&kept| kept > 0).unwrap_or(MAX_VERSIONS);
        if self.current - self.oldest >= kept {
            self.oldest = self.current - kept + 1;
            self.versions.retain(|number, _| *number >= self.oldest);
        }
    }
}
