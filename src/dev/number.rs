//! Numbers as KV version 2 keeps them: 64-bit floats, the whole ones written without a point.
//! Version 1 and the other engines keep a number's text.

use serde_json::value::RawValue;
use serde_json::{Number, Value};

use super::reply::{Failure, raw};

/// From here on not every whole number is a float.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// From here on no whole number of 64 bits.
const LARGEST: f64 = 18_446_744_073_709_551_616.0;

/// `json` with every number rounded. Deeper nesting than a parser takes stays as it is.
pub(super) fn as_floats(json: &RawValue) -> Result<Box<RawValue>, Failure> {
    match serde_json::from_str(json.get()) {
        Ok(value) => raw(&rounded(value)),
        Err(_) => Ok(json.to_owned()),
    }
}

fn rounded(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(round(number)),
        Value::Array(items) => Value::Array(items.into_iter().map(rounded).collect()),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, rounded(value))).collect())
        }
        other => other,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
fn round(number: Number) -> Number {
    let float = number.as_f64().unwrap_or_default();
    if float.fract() != 0.0 || float.abs() >= LARGEST {
        Number::from_f64(float).unwrap_or(number)
    } else if float < 0.0 {
        (float as i64).into()
    } else if float < EXACT && number.is_u64() {
        number
    } else {
        (float as u64).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_a_real_vault_answers() {
        let stored = r#"{"z":[1,-1],"a":9007199254740993,"f":1.50,"o":1.0,"m":-9007199254740993,"n":123456789012345678901234567890.1}"#;
        let stored: Box<RawValue> = serde_json::from_str(stored).unwrap();
        assert_eq!(
            as_floats(&stored).unwrap().get(),
            r#"{"a":9007199254740992,"f":1.5,"m":-9007199254740992,"n":1.2345678901234568e+29,"o":1,"z":[1,-1]}"#
        );
    }
}
