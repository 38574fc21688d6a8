//! One secret as it was read: rendered once, at fetch time, into one [`SecretBuf`].
//!
//! Serving hands out ranges of that buffer ([`SharedBuf::share`]): the JSON object as Vault
//! sent it, and the bare value of each field. A field whose JSON form is its bare form (most
//! passwords) is a range inside the JSON object and takes no further room.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::lease::Lease;
use crate::memory::{SecretBuf, SharedBuf};

mod aws;
mod etag;
mod format;
mod render;

pub use etag::{Etag, EtagKey};
pub use format::{Format, Unrepresentable};
pub use render::{RenderError, render};

/// A secret, ready to serve. Immutable; a changed value is a new `Secret`.
#[derive(Debug)]
pub struct Secret {
    plaintext: SharedBuf,
    json: Range<usize>,
    fields: BTreeMap<Box<str>, Field>,
    etag: Etag,
    kv_version: Option<u64>,
    /// When KV v2 says that the version was made, in its words.
    created: Option<Box<str>>,
    lease: Option<Lease>,
    rotates_in: Option<Duration>,
}

/// Which version of a KV v2 secret, and which of those that had this number: a store that was
/// made anew counts from 1 again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvVersion {
    /// Counts from 1.
    pub number: u64,
    /// When it was made, in Vault's words.
    pub created: Box<str>,
}

impl KvVersion {
    /// Whether it was there before `other`. In a store that was made anew the numbers are lower,
    /// and the moments later.
    pub fn is_older_than(&self, other: &Self) -> bool {
        let moments = moment(&self.created).zip(moment(&other.created));
        self.number < other.number && moments.is_some_and(|(own, others)| own < others)
    }
}

/// Seconds and their fraction, as Vault writes them: UTC, the fraction without zeros at its end.
/// Moments compare as such texts do.
fn moment(written: &str) -> Option<(&str, &str)> {
    let written = written.strip_suffix('Z')?;
    Some(written.split_once('.').unwrap_or((written, "")))
}

/// Where one field's value stands in the buffer.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) range: Range<usize>,
    pub(crate) kind: Kind,
    /// Names the field's own content and kind.
    pub(crate) etag: Etag,
}

/// What a field's range holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The characters of a JSON string, unescaped.
    Text,
    /// The JSON text of a number, `true`, `false` or `null`.
    Scalar,
    /// The JSON text of an object or array.
    Structure,
}

/// A field's value and its kind, borrowed from the secret.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    pub(crate) plaintext: &'a [u8],
    pub(crate) kind: Kind,
}

impl Secret {
    /// What another module wrote into one buffer: a JSON object and texts by name, each a range
    /// of it.
    pub(crate) fn assembled(
        plaintext: SecretBuf,
        json: Range<usize>,
        texts: impl IntoIterator<Item = (&'static str, Range<usize>)>,
        etags: &EtagKey,
        lease: Lease,
    ) -> Self {
        let etag = etags.tag(plaintext.expose());
        // Of one whole: all its texts go by its tag.
        let field = |range| Field { range, kind: Kind::Text, etag };
        let text = |(name, range): (&str, _)| (name.into(), field(range));
        Self {
            etag,
            plaintext: plaintext.into(),
            json,
            fields: texts.into_iter().map(text).collect(),
            kv_version: None,
            created: None,
            lease: Some(lease),
            rotates_in: None,
        }
    }

    /// All fields, as a JSON object. No copy is made.
    pub fn json(&self) -> Bytes {
        self.plaintext.share(self.json.clone())
    }

    /// The bare value of one field and its kind. No copy is made.
    pub fn field(&self, name: &str) -> Option<(Bytes, Kind)> {
        let field = self.fields.get(name)?;
        Some((self.plaintext.share(field.range.clone()), field.kind))
    }

    /// Names the content of one field, as [`etag`](Self::etag) does that of the whole.
    pub fn field_etag(&self, name: &str) -> Option<&Etag> {
        self.fields.get(name).map(|field| &field.etag)
    }

    /// All fields in `format`, rendered into a buffer of their own.
    ///
    /// # Errors
    /// The first field that the format cannot express, by name.
    pub fn formatted(&self, format: Format) -> Result<SecretBuf, Unrepresentable> {
        format::write(self, format)
    }

    /// As credentials for AWS that are good until `expires`, in a buffer of their own.
    ///
    /// # Errors
    /// The field that is missing, by name.
    pub fn aws_credentials(&self, expires: SystemTime) -> Result<SecretBuf, Unrepresentable> {
        aws::write(self, expires)
    }

    /// Number of fields.
    pub fn field_count(&self) -> usize {
        self.fields.len()
    }

    /// Names the content: equal content has an equal tag for the life of the process.
    pub fn etag(&self) -> &Etag {
        &self.etag
    }

    /// The version that KV v2 gave it.
    pub fn kv_version(&self) -> Option<u64> {
        self.kv_version
    }

    /// The same with the moment at which that version was made, to recognize it by.
    pub fn kv(&self) -> Option<KvVersion> {
        Some(KvVersion { number: self.kv_version?, created: self.created.clone()? })
    }

    /// With the moment at which KV v2 says that its version was made.
    #[must_use]
    pub(crate) fn created(self, created: &str) -> Self {
        Self { created: Some(created.into()), ..self }
    }

    /// The lease it came with, when it has one.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// The time after which Vault itself replaces it: for what has no lease, and says so. Then it
    /// is no part of the tag.
    pub fn rotates_in(&self) -> Option<Duration> {
        self.rotates_in
    }

    /// Bytes of plaintext held.
    pub fn len(&self) -> usize {
        self.plaintext.len()
    }

    /// It lies where the configuration insists that plaintext be.
    pub(crate) fn is_kept_as_required(&self) -> bool {
        self.plaintext.is_kept_as_required()
    }

    /// True for a secret that holds no plaintext at all.
    pub fn is_empty(&self) -> bool {
        self.plaintext.is_empty()
    }

    fn values(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.fields.iter().map(|(name, field)| (&**name, self.value_of(field)))
    }

    fn value(&self, name: &str) -> Option<Value<'_>> {
        self.fields.get(name).map(|field| self.value_of(field))
    }

    fn value_of(&self, field: &Field) -> Value<'_> {
        let plaintext = self.plaintext.expose().get(field.range.clone()).unwrap_or_default();
        Value { plaintext, kind: field.kind }
    }
}

/// A secret with these text fields.
#[cfg(test)]
pub(crate) fn test_secret(fields: &[(&str, &str)]) -> Secret {
    let fields: BTreeMap<_, _> = fields.iter().copied().collect();
    let json = serde_json::to_string(&fields).unwrap();
    render(&json, &EtagKey::random().unwrap(), None, None).unwrap()
}
