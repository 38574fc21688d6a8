//! The one reading of a path, or none.
//!
//! Servers differ in how often they decode, whether they merge slashes and take out dots, what
//! they do with `\`, with `;` and with bytes that are no UTF-8. A path that any of these could
//! change is refused; clients that follow RFC 3986 (6.2.2) send none.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Why a request has more than one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguous {
    /// It does not start with a slash.
    #[error("not a path")]
    NotAPath,
    /// A character that is not to be sent as it is, or a control character in any form.
    #[error("a character that has no place in a path")]
    Character,
    /// `%` without two hexadecimal digits, or bytes that are no UTF-8.
    #[error("broken percent-encoding")]
    Encoding,
    /// `%25` before two hexadecimal digits: it could be decoded twice.
    #[error("encoded twice")]
    Twice,
    /// `%2F`, and whatever else would separate, encoded.
    #[error("an encoded separator")]
    Separator,
    /// `;`, after which some servers take the rest of a segment for a parameter.
    #[error("a parameter in the path")]
    Parameter,
    /// `.` or `..`, encoded or not.
    #[error("a dot segment")]
    Dots,
    /// Two slashes in a row.
    #[error("an empty segment")]
    Empty,
    /// A header asks for another method or path.
    #[error("a header that overrides method or path")]
    Override,
}

/// The decoded path.
///
/// # Errors
/// [`Ambiguous`].
pub fn read(raw: &str) -> Result<Cow<'_, str>, Ambiguous> {
    let path = decode(raw)?;
    let segments = path.strip_prefix('/').ok_or(Ambiguous::NotAPath)?;
    let mut segments = segments.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => return Err(Ambiguous::Dots),
            // At the end it is a path's own slash.
            "" if segments.peek().is_some() => return Err(Ambiguous::Empty),
            _ => {}
        }
    }
    Ok(path)
}

fn decode(raw: &str) -> Result<Cow<'_, str>, Ambiguous> {
    if raw.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'\\' | b'?' | b'#')) {
        return Err(Ambiguous::Character);
    }
    if raw.match_indices('%').any(|(at, _)| !is_escape(raw, at)) {
        return Err(Ambiguous::Encoding);
    }
    let path = percent_decode_str(raw).decode_utf8().map_err(|_| Ambiguous::Encoding)?;
    if path.contains(char::is_control) {
        return Err(Ambiguous::Character);
    }
    let slashes = |text: &str| text.bytes().filter(|byte| *byte == b'/').count();
    if slashes(&path) != slashes(raw) || path.contains(['\\', '?', '#']) {
        return Err(Ambiguous::Separator);
    }
    if path.contains(';') {
        return Err(Ambiguous::Parameter);
    }
    if path.match_indices('%').any(|(at, _)| is_escape(&path, at)) {
        return Err(Ambiguous::Twice);
    }
    Ok(path)
}

fn is_escape(text: &str, at: usize) -> bool {
    let digits = text.as_bytes().get(at + 1..at + 3);
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}
