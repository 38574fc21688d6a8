//! The request target, decoded once.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// No route has more.
const MAX_SEGMENTS: usize = 3;

/// A path as decoded segments, and the query as it came.
#[derive(Debug)]
pub(super) struct Target<'r> {
    segments: [Cow<'r, str>; MAX_SEGMENTS],
    /// How many of them there are; `None` for a path that can match no route.
    count: Option<usize>,
    query: Option<&'r str>,
}

impl<'r> Target<'r> {
    /// Decodes each segment by itself, so that an encoded slash separates nothing.
    ///
    /// # Errors
    /// What is wrong with the path.
    pub(super) fn parse(path: &'r str, query: Option<&'r str>) -> Result<Self, &'static str> {
        let path = path.strip_prefix('/').ok_or("the target must be a path")?;
        let mut segments = [const { Cow::Borrowed("") }; MAX_SEGMENTS];
        let mut count = Some(0);
        for segment in path.split('/') {
            let segment = decode(segment)?;
            count = match (count, &*segment) {
                (_, "" | "." | "..") | (None, _) => None,
                (Some(at), _) => segments.get_mut(at).map(|room| {
                    *room = segment;
                    at + 1
                }),
            };
        }
        Ok(Self { segments, count, query })
    }

    /// The decoded segments; `None` when the path can match no route (empty or dot segments,
    /// or too many).
    pub(super) fn segments(&self) -> Option<&[Cow<'r, str>]> {
        self.segments.get(..self.count?)
    }

    /// The segment after `/secrets/`, `/aws/` or `/certificates/`.
    pub(super) fn name(&self) -> Option<&str> {
        self.named(1)
    }

    /// The segment after the name.
    pub(super) fn field(&self) -> Option<&str> {
        self.named(2)
    }

    /// The query, without its question mark.
    pub(super) fn query(&self) -> Option<&'r str> {
        self.query
    }

    fn named(&self, at: usize) -> Option<&str> {
        let segments = self.segments()?;
        matches!(&**segments.first()?, "secrets" | "aws" | "certificates")
            .then(|| segments.get(at).map(|s| &**s))
            .flatten()
    }
}

/// Strict percent-decoding to text without control characters.
fn decode(text: &str) -> Result<Cow<'_, str>, &'static str> {
    let decoded = if text.contains('%') {
        if !well_formed(text) {
            return Err("malformed percent-encoding");
        }
        percent_decode_str(text).decode_utf8().map_err(|_| "the path is not UTF-8")?
    } else {
        Cow::Borrowed(text)
    };
    let has_control = if decoded.is_ascii() {
        decoded.bytes().any(|c| c.is_ascii_control())
    } else {
        decoded.chars().any(char::is_control)
    };
    if has_control { Err("control characters in the path") } else { Ok(decoded) }
}

fn well_formed(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let mut digits = rest.bytes().take(2);
        digits.next().is_some_and(|c| c.is_ascii_hexdigit())
            && digits.next().is_some_and(|c| c.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_one_by_one() {
        let target = Target::parse("/secrets/d%62/a%2Fb%C3%A9%25", Some("x")).unwrap();
        assert_eq!(target.segments().unwrap(), ["secrets", "db", "a/bé%"]);
        assert_eq!((target.name(), target.field()), (Some("db"), Some("a/bé%")));
        assert_eq!(target.query(), Some("x"));
    }

    #[test]
    fn bad_encodings_are_refused_wherever_they_stand() {
        for path in [
            "/%",
            "/a%2",
            "/a%zz",
            "/a/%+1",
            "/%00",
            "/a%0a",
            "/%7f",
            "/%ff",
            "/%C3",
            "/%C2%85",
            "/a/b/c/d/e/f%",
            "*",
            "",
            "secrets",
        ] {
            assert!(Target::parse(path, None).is_err(), "{path}");
        }
    }
}
