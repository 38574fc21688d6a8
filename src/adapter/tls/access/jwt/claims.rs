//! What a token says, once it counts.

use serde_json::{Map, Value};

use crate::config::{ClaimTest, ClaimValue};

/// The claims of a token that counts. Not to be printed: they may be about a person.
pub(in super::super) struct Claims(Map<String, Value>);

/// Claims that are lists of words, written as one text (RFC 8693, 4.2).
const WORDS: [&str; 2] = ["scope", "scp"];

impl Claims {
    pub(super) fn new(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// Whether a claim is, or has in it, what is asked for.
    pub(in super::super) fn fulfil(&self, test: &ClaimTest) -> bool {
        let Some((first, below)) = test.path.split_first() else { return false };
        let mut found = self.0.get(&**first);
        for name in below {
            found = found.and_then(|value| value.as_object()?.get(&**name));
        }
        let words = below.is_empty() && WORDS.contains(&&**first);
        found.is_some_and(|found| test.any.iter().any(|wanted| has(found, wanted, words)))
    }

    /// A claim as one line of text; the inner `None` when it is not there, the outer one when it
    /// makes no such line: lists are joined by commas, so no element may have one; objects,
    /// control characters and what is not ASCII are read differently by different programs.
    #[expect(clippy::option_option, reason = "not there, and not to be said")]
    pub(in super::super) fn as_text(&self, name: &str) -> Option<Option<String>> {
        let text = match self.0.get(name) {
            None | Some(Value::Null) => return Some(None),
            Some(Value::Array(items)) => {
                let items: Option<Vec<_>> = items.iter().map(scalar).collect();
                let items = items?;
                if items.iter().any(|item| item.contains(',')) {
                    return None;
                }
                items.join(",")
            }
            Some(value) => scalar(value)?,
        };
        Some(Some(text))
    }
}

fn scalar(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        _ => return None,
    };
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    (plain && text.trim() == text && !text.is_empty()).then_some(text)
}

fn has(found: &Value, wanted: &ClaimValue, words: bool) -> bool {
    match (found, wanted) {
        (Value::Array(items), _) => items.iter().any(|item| is(item, wanted)),
        (Value::String(text), ClaimValue::Text(wanted)) if words => {
            text.split(' ').any(|word| *word == **wanted)
        }
        _ => is(found, wanted),
    }
}

fn is(found: &Value, wanted: &ClaimValue) -> bool {
    match wanted {
        ClaimValue::Text(wanted) => found.as_str() == Some(wanted),
        ClaimValue::Bool(wanted) => found.as_bool() == Some(*wanted),
    }
}
