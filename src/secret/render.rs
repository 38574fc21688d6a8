//! From the JSON object that Vault sent to the one buffer that is served.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{EtagKey, Field, Kind, Secret};
use crate::lease::{LONGEST, Lease};
use crate::memory::SecretWriter;

/// Deeper nesting is refused: no secret needs it, and it is what breaks JSON parsers.
const MAX_DEPTH: usize = 64;

/// Why an object cannot be served. Never holds any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// Not a JSON object with unique names, or invalid inside.
    #[error("not a well-formed JSON object with unique field names")]
    Malformed,
    /// Nested deeper than 64 levels.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// Renders `data`, a JSON object.
///
/// # Errors
/// [`RenderError`] for hostile or broken JSON.
pub fn render(
    data: &str,
    key: &EtagKey,
    kv_version: Option<u64>,
    lease: Option<Lease>,
) -> Result<Secret, RenderError> {
    if depth(data.as_bytes()) > MAX_DEPTH {
        return Err(RenderError::TooDeep);
    }
    let Object(raw) = serde_json::from_str(data).map_err(|_| RenderError::Malformed)?;
    let escaped: usize = raw.values().map(|v| v.get().len()).filter(|&l| l > 0).sum();
    let mut buffer = SecretWriter::with_capacity(data.len() + escaped);
    buffer.push(data.as_bytes());

    let rotation = (lease.is_none() && kv_version.is_none()).then(|| rotation(&raw)).flatten();
    let mut fields = BTreeMap::new();
    for (name, value) in raw {
        let (range, kind) = place(value.get(), data, &mut buffer)?;
        let bare = buffer.expose().get(range.clone()).unwrap_or_default();
        let etag = key.field_tag(kind, bare);
        fields.insert(name, Field { range, kind, etag });
    }
    let plaintext = buffer.finish().into();
    let (rotates_in, ttl) = rotation.unzip();
    let ttl = ttl.and_then(|ttl| place_in(ttl, data)).unwrap_or(data.len()..data.len());
    let (before, after) = (data.get(..ttl.start), data.get(ttl.end..));
    let parts = [before, after].map(|part| part.unwrap_or_default().as_bytes());
    let etag = key.tag_of(parts);
    let json = 0..data.len();
    Ok(Secret { plaintext, json, fields, etag, kv_version, created: None, lease, rotates_in })
}

/// A role that Vault itself rotates counts down to that in `ttl`: how long it is, and where that
/// stands.
fn rotation<'a>(fields: &BTreeMap<Box<str>, &'a RawValue>) -> Option<(Duration, &'a str)> {
    fields.get("last_vault_rotation")?;
    let written = fields.get("ttl")?.get();
    // Whole seconds as Go writes them; from 10^21 on with an exponent.
    let seconds = written.parse::<f64>().ok().filter(|seconds| *seconds >= 0.0)?;
    Some((Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST), written))
}

/// Where `value`, a part of `data`, stands in it.
fn place_in(value: &str, data: &str) -> Option<Range<usize>> {
    let start = (value.as_ptr() as usize).checked_sub(data.as_ptr() as usize)?;
    Some(start..start + value.len())
}

/// Finds `value` inside the JSON text already in `buffer`, or appends its bare form.
fn place(
    value: &str,
    data: &str,
    buffer: &mut SecretWriter,
) -> Result<(Range<usize>, Kind), RenderError> {
    let whole = place_in(value, data).ok_or(RenderError::Malformed)?;
    match value.as_bytes().first() {
        Some(b'"') if !value.contains('\\') => Ok((whole.start + 1..whole.end - 1, Kind::Text)),
        Some(b'"') => {
            let bare: Zeroizing<String> = serde_json::from_str(value)
                .map(Zeroizing::new)
                .map_err(|_| RenderError::Malformed)?;
            let start = buffer.len();
            buffer.push(bare.as_bytes());
            Ok((start..buffer.len(), Kind::Text))
        }
        Some(b'{' | b'[') => Ok((whole, Kind::Structure)),
        _ => Ok((whole, Kind::Scalar)),
    }
}

/// The deepest nesting of arrays and objects, without recursion.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A JSON object whose values stay where they are in the input.
struct Object<'a>(BTreeMap<Box<str>, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueFields)
    }
}

struct UniqueFields;

impl<'de> Visitor<'de> for UniqueFields {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with unique field names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<Box<str>, &'de RawValue>()? {
            match fields.entry(name) {
                Entry::Vacant(room) => room.insert(value),
                Entry::Occupied(_) => return Err(A::Error::custom("a field name repeats")),
            };
        }
        Ok(Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rendered(data: &str) -> Secret {
        render(data, &EtagKey::random().unwrap(), None, None).unwrap()
    }

    fn field(secret: &Secret, name: &str) -> (String, Kind) {
        let (bytes, kind) = secret.field(name).unwrap();
        (String::from_utf8(bytes.to_vec()).unwrap(), kind)
    }

    #[test]
    fn each_json_type_has_a_bare_form() {
        let secret = rendered(
            r#"{"s":"plain","e":"a\"b\\c\u00e9\n","n":12345678901234567890.50,"t":true,"z":null,"o":{"a":[1, 2]},"":""}"#,
        );
        assert_eq!(field(&secret, "s"), ("plain".into(), Kind::Text));
        assert_eq!(field(&secret, "e"), ("a\"b\\cé\n".into(), Kind::Text));
        assert_eq!(field(&secret, "n"), ("12345678901234567890.50".into(), Kind::Scalar));
        assert_eq!(field(&secret, "t"), ("true".into(), Kind::Scalar));
        assert_eq!(field(&secret, "z"), ("null".into(), Kind::Scalar));
        assert_eq!(field(&secret, "o"), (r#"{"a":[1, 2]}"#.into(), Kind::Structure));
        assert_eq!(field(&secret, ""), (String::new(), Kind::Text));
        assert!(secret.field("missing").is_none());
    }

    #[test]
    fn the_json_form_is_what_vault_sent() {
        let sent = r#"{"b":1e400,"a":"\u003c"}"#;
        assert_eq!(&rendered(sent).json()[..], sent.as_bytes());
    }

    #[test]
    fn a_plain_text_takes_no_further_room() {
        let sent = r#"{"password":"hunter2"}"#;
        assert_eq!(rendered(sent).len(), sent.len());
    }

    #[test]
    fn what_vault_rotates_has_one_tag_until_it_does() {
        let key = EtagKey::random().unwrap();
        let rendered = |data: &str| render(data, &key, None, None).unwrap();
        let role = |ttl, password| {
            let last = "2026-01-01T00:00:00Z";
            rendered(&format!(
                r#"{{"last_vault_rotation":"{last}","password":"{password}","ttl":{ttl},"username":"u"}}"#
            ))
        };
        let (one, later, next) = (role("3600", "a"), role("59", "a"), role("3600", "b"));
        assert_eq!(one.rotates_in(), Some(Duration::from_hours(1)));
        assert!(one.etag() == later.etag() && one.etag() != next.etag());
        assert_eq!(role("1e+300", "a").rotates_in(), Some(LONGEST));
        assert_eq!(role("-1", "a").rotates_in(), None);
        let (one, other) = (rendered(r#"{"ttl":1}"#), rendered(r#"{"ttl":2}"#));
        assert!(one.rotates_in().is_none() && one.etag() != other.etag());
        let numbered = |ttl| {
            let data = format!(r#"{{"last_vault_rotation":"x","ttl":{ttl}}}"#);
            render(&data, &key, Some(1), None).unwrap()
        };
        assert!(numbered(1).rotates_in().is_none() && numbered(1).etag() != numbered(2).etag());
    }

    #[test]
    fn hostile_json_is_refused() {
        let key = EtagKey::random().unwrap();
        let refused = |data: &str| render(data, &key, None, None).unwrap_err();
        assert_eq!(refused("[1]"), RenderError::Malformed);
        assert_eq!(refused(r#"{"a":1,"a":2}"#), RenderError::Malformed);
        assert_eq!(refused(r#"{"a":"\ud800"}"#), RenderError::Malformed);
        assert_eq!(refused(r#"{"a":1"#), RenderError::Malformed);
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(refused(&deep), RenderError::TooDeep);
        assert!(render(r#"{"a":"[[[[\"[[["}"#, &key, None, None).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_survives(name in ".*", value in ".*") {
            let data = serde_json::json!({ name.as_str(): value.as_str() }).to_string();
            let secret = rendered(&data);
            prop_assert_eq!(field(&secret, &name), (value, Kind::Text));
        }
    }
}
