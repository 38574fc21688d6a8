//! The query string. An unknown parameter is an error: a typing error must not pass unseen.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::problem::QueryProblem;

/// Reads the query. `known` are the parameters that the resource has; the answer holds their
/// values in the same order.
pub(super) fn parse<'q, const N: usize>(
    query: Option<&'q str>,
    known: [&'static str; N],
) -> Result<[Option<Cow<'q, str>>; N], QueryProblem> {
    let mut values = [const { None }; N];
    let Some(query) = query else { return Ok(values) };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let mut places = known.iter().zip(values.iter_mut());
        let Some((known, room)) = places.find(|(known, _)| **known == key) else {
            return Err(QueryProblem::Unknown(printable(key)));
        };
        let value = percent_decode_str(value).decode_utf8();
        let value = value.map_err(|_| QueryProblem::BadValue(known))?;
        if room.replace(value).is_some() {
            return Err(QueryProblem::Repeated(known));
        }
    }
    Ok(values)
}

/// Only what looks like a mistyped parameter is repeated to the asker.
fn printable(key: &str) -> Option<Box<str>> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
    (key.len() <= 32 && key.bytes().all(plain)).then(|| key.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_parameters_are_found_in_any_order() {
        let [a, b] = parse(Some("b=1&a=x%20y"), ["a", "b"]).unwrap();
        assert_eq!((a.as_deref(), b.as_deref()), (Some("x y"), Some("1")));
        assert_eq!(parse(None, ["a"]).unwrap(), [None]);
        assert_eq!(parse(Some(""), ["a"]).unwrap(), [None]);
    }

    #[test]
    fn mistakes_are_named() {
        let unknown = |name: Option<&str>| QueryProblem::Unknown(name.map(Into::into));
        assert_eq!(parse(Some("formt=env"), ["format"]), Err(unknown(Some("formt"))));
        assert_eq!(parse(Some("<x>=1"), ["a"]), Err(unknown(None)));
        assert_eq!(parse(Some("a=1&a=1"), ["a"]), Err(QueryProblem::Repeated("a")));
        assert_eq!(parse(Some("a=%ff"), ["a"]), Err(QueryProblem::BadValue("a")));
    }
}
