//! A YAML mapping that parsers of YAML 1.1 and 1.2 read alike: texts quoted, structures in flow
//! style.

use std::io::Write as _;
use std::str::Chars;

use super::super::{Kind, Value};
use super::Unrepresentable;
use crate::memory::SecretWriter;

/// A longer key takes a `?`: parsers look for the `:` within 1024 characters alone.
const LONGEST_PLAIN_KEY: usize = 1000;

/// One field, a line or two.
pub(super) fn write(
    name: &str,
    value: Value<'_>,
    out: &mut SecretWriter,
) -> Result<(), Unrepresentable> {
    let mut key = SecretWriter::with_capacity(name.len() + 2);
    if is_plain_key(name) {
        key.push(name.as_bytes());
    } else {
        write_quoted(name, &mut key);
    }
    write_key(key.expose(), b"\n", out);
    match (value.kind, std::str::from_utf8(value.plaintext)) {
        (Kind::Text, Ok(text)) => write_quoted(text, out),
        (Kind::Structure, Ok(json)) => write_structure(json, out).ok_or(Unrepresentable {
            field: name.into(),
            reason: "it has half of a surrogate pair, which is no character",
        })?,
        _ => out.push(value.plaintext),
    }
    out.push(b"\n");
    Ok(())
}

fn is_plain_key(name: &str) -> bool {
    const RESERVED: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let simple = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    name.bytes().next().is_some_and(|c| c.is_ascii_alphabetic() || c == b'_')
        && name.bytes().all(simple)
        && !RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name))
}

/// A key up to its value. In block style, the `:` of a long one begins a line.
fn write_key(key: &[u8], before_colon: &[u8], out: &mut SecretWriter) {
    let is_long = key.len() > LONGEST_PLAIN_KEY;
    if is_long {
        out.push(b"? ");
    }
    out.push(key);
    if is_long {
        out.push(before_colon);
    }
    out.push(b": ");
}

/// A double-quoted scalar, which is a JSON string too.
pub(in crate::secret) fn write_quoted(text: &str, out: &mut SecretWriter) {
    out.push(b"\"");
    text.chars().for_each(|c| write_char(c, out));
    out.push(b"\"");
}

/// Escaped is what the quotes need, what YAML does not count as printable, and what a parser
/// could take for the end of a line or of the file.
fn write_char(c: char, out: &mut SecretWriter) {
    match c {
        '"' => out.push(b"\\\""),
        '\\' => out.push(br"\\"),
        '\n' => out.push(br"\n"),
        '\t' => out.push(br"\t"),
        '\u{0}'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{feff}'
        | '\u{fffe}'
        | '\u{ffff}' => {
            // A SecretWriter takes everything.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
        _ => out.push(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// JSON is almost YAML: its strings are written anew, because YAML knows no surrogate pairs and
/// takes fewer characters as they are, and its white space is left out, because a tab or the end
/// of a line may not stand everywhere. `None` for a string that is no text.
fn write_structure(json: &str, out: &mut SecretWriter) -> Option<()> {
    let mut rest = json.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => {
                let mut string = SecretWriter::with_capacity(64);
                transcribe(&mut rest, &mut string)?;
                match rest.as_str().trim_start().strip_prefix(':') {
                    Some(value) => {
                        write_key(string.expose(), b" ", out);
                        rest = value.chars();
                    }
                    None => out.push(string.expose()),
                }
            }
            ' ' | '\t' | '\n' | '\r' => {}
            _ => out.push(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Some(())
}

/// Rewrites a JSON string from behind its opening quote, closing quote included.
fn transcribe(json: &mut Chars<'_>, out: &mut SecretWriter) -> Option<()> {
    out.push(b"\"");
    loop {
        match json.next()? {
            '"' => break,
            '\\' => write_char(unescaped(json)?, out),
            c => write_char(c, out),
        }
    }
    out.push(b"\"");
    Some(())
}

/// What a JSON escape stands for, from behind its backslash.
fn unescaped(json: &mut Chars<'_>) -> Option<char> {
    match json.next()? {
        'b' => Some('\u{8}'),
        'f' => Some('\u{c}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'u' => {
            let first = code_unit(json)?;
            let pair = match first {
                0xd800..=0xdbff if json.next()? == '\\' && json.next()? == 'u' => {
                    [first, code_unit(json)?]
                }
                _ => [first, 0],
            };
            char::decode_utf16(pair).next()?.ok()
        }
        c => Some(c),
    }
}

fn code_unit(json: &mut Chars<'_>) -> Option<u16> {
    let (digits, rest) = json.as_str().split_at_checked(4)?;
    *json = rest.chars();
    u16::from_str_radix(digits, 16).ok()
}
