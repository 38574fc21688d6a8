//! Other forms of a whole secret: environment file, YAML, Java properties.

use std::collections::BTreeSet;
use std::io::Write as _;

use super::{Secret, Value};
use crate::memory::{SecretBuf, SecretWriter};

mod yaml;

pub(super) use yaml::write_quoted;

/// A form that all fields of a secret can be asked for in, besides JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `NAME=value` lines that a POSIX shell can source; quoted where needed.
    Env,
    /// A YAML mapping.
    Yaml,
    /// `java.util.Properties` text, ASCII only.
    Properties,
}

/// A field that the asked format has no way to express.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field {field:?} cannot be written in this format: {reason}")]
pub struct Unrepresentable {
    /// The field's name.
    pub field: Box<str>,
    /// Why, without its value.
    pub reason: &'static str,
}

pub(super) fn write(secret: &Secret, format: Format) -> Result<SecretBuf, Unrepresentable> {
    let mut out = SecretWriter::with_capacity(secret.len() * 2);
    let mut seen = BTreeSet::new();
    for (name, value) in secret.values() {
        match format {
            Format::Env => write_env(name, value, &mut seen, &mut out)?,
            Format::Yaml => yaml::write(name, value, &mut out)?,
            Format::Properties => write_properties(name, value, &mut out),
        }
    }
    if format == Format::Yaml && out.is_empty() {
        out.push(b"{}\n");
    }
    Ok(out.finish())
}

fn write_env(
    name: &str,
    value: Value<'_>,
    seen: &mut BTreeSet<String>,
    out: &mut SecretWriter,
) -> Result<(), Unrepresentable> {
    let refuse = |reason| Unrepresentable { field: name.into(), reason };
    if value.plaintext.contains(&0) {
        return Err(refuse("an environment value holds no NUL byte"));
    }
    let variable = variable_name(name).ok_or(refuse("its name has no variable form"))?;
    out.push(variable.as_bytes());
    if !seen.insert(variable) {
        return Err(refuse("another field has the same variable name"));
    }
    out.push(b"=");
    let plain = |c: &u8| c.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(c);
    if value.plaintext.iter().all(plain) {
        out.push(value.plaintext);
    } else {
        out.push(b"'");
        for (n, part) in value.plaintext.split(|&c| c == b'\'').enumerate() {
            out.push(if n == 0 { b"" } else { br"'\''" });
            out.push(part);
        }
        out.push(b"'");
    }
    out.push(b"\n");
    Ok(())
}

/// The name with every character that a variable may not have turned into `_`.
fn variable_name(field: &str) -> Option<String> {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = field.chars().map(allowed).collect();
    match name.chars().next()? {
        '0'..='9' => Some(format!("_{name}")),
        _ => Some(name),
    }
}

fn write_properties(name: &str, value: Value<'_>, out: &mut SecretWriter) {
    write_property_text(name.as_bytes(), true, out);
    out.push(b"=");
    write_property_text(value.plaintext, false, out);
    out.push(b"\n");
}

/// The escapes of `java.util.Properties.load`: a key's blanks and separators, a value's leading
/// blank, and everything outside printable ASCII as UTF-16 code units.
fn write_property_text(text: &[u8], key: bool, out: &mut SecretWriter) {
    let mut leading = true;
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push(br"\\"),
                '\n' => out.push(br"\n"),
                '\r' => out.push(br"\r"),
                '\t' => out.push(br"\t"),
                ' ' if key || leading => out.push(br"\ "),
                '=' | ':' | '#' | '!' if key => out.push(&[b'\\', c as u8]),
                ' '..='~' => out.push(&[c as u8]),
                _ => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
            }
            leading = false;
        }
    }
}

#[cfg(test)]
mod tests;
