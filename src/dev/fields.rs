//! The fields of a request, read as leniently as Vault reads them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;

use super::reply::{Failure, raw};

/// A JSON object whose values keep their original text, so that numbers survive whole.
pub(super) type RawMap = BTreeMap<String, Box<RawValue>>;

/// A century: no sum of a few of these overflows.
pub(super) const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// A request's body, or its query for a read.
#[derive(Default)]
pub(super) struct Fields {
    map: RawMap,
    whole: Option<Box<RawValue>>,
}

impl Fields {
    pub(super) fn from_body(body: &[u8]) -> Result<Self, Failure> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let broken = |_| Failure::bad("error parsing JSON");
        let whole: Box<RawValue> = serde_json::from_slice(body).map_err(broken)?;
        let map = serde_json::from_str(whole.get()).map_err(broken)?;
        Ok(Self { map, whole: Some(whole) })
    }

    pub(super) fn from_query(query: &str) -> Result<Self, Failure> {
        let mut map = RawMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            map.insert(decode(name), raw(&decode(value))?);
        }
        Ok(Self { map, whole: None })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The body as it was sent.
    pub(super) fn whole(&self) -> Option<&RawValue> {
        self.whole.as_deref()
    }

    pub(super) fn get(&self, name: &str) -> Option<&RawValue> {
        self.map.get(name).map(AsRef::as_ref).filter(|value| value.get() != "null")
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn value(&self, name: &str) -> Option<Value> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        scalar(&self.value(name)?)
    }

    /// A text that is there and not empty.
    pub(super) fn required(&self, name: &str) -> Result<String, Failure> {
        self.text(name)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Failure::bad(format!("missing {name}")))
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(Value::String(text)) => match text.as_str() {
                "true" | "1" | "t" => Ok(Some(true)),
                "false" | "0" | "f" | "" => Ok(Some(false)),
                _ => Err(unreadable(name)),
            },
            Some(Value::Number(number)) => Ok(Some(number.as_f64() != Some(0.0))),
            Some(_) => Err(unreadable(name)),
        }
    }

    pub(super) fn count(&self, name: &str) -> Result<Option<u64>, Failure> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Number(number)) => {
                number.as_u64().ok_or_else(|| unreadable(name)).map(Some)
            }
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => text.parse().map(Some).map_err(|_| unreadable(name)),
            Some(_) => Err(unreadable(name)),
        }
    }

    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>, Failure> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Number(number)) => {
                let seconds = number.as_u64().ok_or_else(|| unreadable(name))?;
                Ok(Some(Duration::from_secs(seconds).min(LONGEST)))
            }
            Some(Value::String(text)) => duration(&text).ok_or_else(|| unreadable(name)).map(Some),
            Some(_) => Err(unreadable(name)),
        }
    }

    /// An array of strings, or one string with commas.
    pub(super) fn list(&self, name: &str) -> Result<Option<Vec<String>>, Failure> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Array(items)) => {
                let texts = items.iter().map(|item| scalar(item).ok_or_else(|| unreadable(name)));
                texts.collect::<Result<_, _>>().map(Some)
            }
            Some(Value::String(text)) => {
                let items = text.split(',').map(|item| item.trim().to_owned());
                Ok(Some(items.filter(|item| !item.is_empty()).collect()))
            }
            Some(_) => Err(unreadable(name)),
        }
    }

    pub(super) fn pairs(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, Failure> {
        let object = match self.value(name) {
            None => return Ok(None),
            Some(Value::Object(object)) => object,
            // AppRole takes its metadata as a JSON text inside the JSON.
            Some(Value::String(text)) => {
                serde_json::from_str(&text).map_err(|_| unreadable(name))?
            }
            Some(_) => return Err(unreadable(name)),
        };
        let pairs = object
            .iter()
            .map(|(key, value)| Ok((key.clone(), scalar(value).ok_or_else(|| unreadable(name))?)));
        pairs.collect::<Result<_, _>>().map(Some)
    }
}

fn unreadable(name: &str) -> Failure {
    Failure::bad(format!("error converting input for field {name:?}"))
}

/// Vault decodes weakly: a number or a boolean where a text is asked is its text.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// `90`, `90s`, `1h30m`, `1.5h`, `2d`: Go's durations, and bare seconds.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if text.is_empty() {
        return Some(Duration::ZERO);
    }
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds).min(LONGEST));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.find(|letter: char| !letter.is_ascii_alphabetic());
        let (unit, tail) = tail.split_at_checked(letters.unwrap_or(tail.len()))?;
        let scale = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * scale).ok()?)?;
        rest = tail;
    }
    Some(total.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let seconds = |text| duration(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("90"), Some(90));
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("1.5h"), Some(5400));
        assert_eq!(seconds("2d"), Some(172_800));
        assert_eq!(seconds("-1h"), None);
        assert_eq!(seconds("soon"), None);
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
    }

    #[test]
    fn weak_decoding() {
        let fields = Fields::from_body(br#"{"a":"x, y","b":["z",1],"c":"true","d":"7","e":null}"#);
        let fields = fields.unwrap();
        assert_eq!(fields.list("a").unwrap().unwrap(), ["x", "y"]);
        assert_eq!(fields.list("b").unwrap().unwrap(), ["z", "1"]);
        assert_eq!(fields.flag("c").unwrap(), Some(true));
        assert_eq!(fields.count("d").unwrap(), Some(7));
        assert!(!fields.has("e"));
        assert!(Fields::from_body(b"[1]").is_err());
        assert_eq!(Fields::from_query("version=2&a=b%2Fc").unwrap().text("a").unwrap(), "b/c");
    }
}
