//! Other forms of a whole secret: environment file, YAML, Java properties.

use std::collections::BTreeSet;
use std::io::Write as _;

use super::{Kind, Secret, Value};
use crate::memory::{SecretBuf, SecretWriter};

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
            Format::Yaml => write_yaml(name, value, &mut out),
            Format::Properties => write_properties(name, value, &mut out),
        }
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

fn write_yaml(name: &str, value: Value<'_>, out: &mut SecretWriter) {
    if is_plain_yaml_key(name) {
        out.push(name.as_bytes());
    } else {
        write_quoted(name, out);
    }
    out.push(b": ");
    match (value.kind, std::str::from_utf8(value.plaintext)) {
        (Kind::Text, Ok(text)) => write_quoted(text, out),
        // JSON is YAML, flow style.
        _ => out.push(value.plaintext),
    }
    out.push(b"\n");
}

fn is_plain_yaml_key(name: &str) -> bool {
    const RESERVED: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let simple = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    name.bytes().next().is_some_and(|c| c.is_ascii_alphabetic() || c == b'_')
        && name.bytes().all(simple)
        && !RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name))
}

/// A double-quoted YAML scalar: JSON's escapes, and also those characters escaped that YAML
/// does not count as printable.
fn write_quoted(text: &str, out: &mut SecretWriter) {
    out.push(b"\"");
    for c in text.chars() {
        match c {
            '"' => out.push(b"\\\""),
            '\\' => out.push(br"\\"),
            '\n' => out.push(br"\n"),
            '\t' => out.push(br"\t"),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                // A SecretWriter takes everything.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b"\"");
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
mod tests {
    use super::super::{EtagKey, render};
    use super::*;

    fn formatted(json: serde_json::Value, format: Format) -> Result<String, Unrepresentable> {
        let secret = render(&json.to_string(), &EtagKey::random().unwrap(), None, None).unwrap();
        secret.formatted(format).map(|out| String::from_utf8(out.expose().to_vec()).unwrap())
    }

    #[test]
    fn env_quotes_what_a_shell_would_read() {
        let json = serde_json::json!({"user": "alice", "pass-word": "it's $HOME\nnext", "n": 5, "empty": ""});
        assert_eq!(
            formatted(json, Format::Env).unwrap(),
            "empty=\nn=5\npass_word='it'\\''s $HOME\nnext'\nuser=alice\n"
        );
    }

    #[test]
    fn a_shell_reads_back_what_was_written() {
        let value = "a'b\"c\\d $x `y` \n\t é ; # end ";
        let script = formatted(serde_json::json!({ "v": value }), Format::Env).unwrap();
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!("{script}printf %s \"$v\""))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), value);
    }

    #[test]
    fn env_refuses_what_it_cannot_hold() {
        let nul = formatted(serde_json::json!({"a": "x\u{0}y"}), Format::Env).unwrap_err();
        assert_eq!(&*nul.field, "a");
        let twice = formatted(serde_json::json!({"a-b": "1", "a.b": "2"}), Format::Env);
        assert_eq!(twice.unwrap_err().reason, "another field has the same variable name");
    }

    #[test]
    fn yaml_quotes_texts_and_reserved_keys() {
        let json =
            serde_json::json!({"no": "yes", "port": 5432, "a b": "x\u{7f}\"\n", "list": [1, "2"]});
        assert_eq!(
            formatted(json, Format::Yaml).unwrap(),
            "\"a b\": \"x\\u007f\\\"\\n\"\nlist: [1,\"2\"]\n\"no\": \"yes\"\nport: 5432\n"
        );
    }

    #[test]
    fn properties_escape_as_java_reads() {
        let json = serde_json::json!({"a key": " é=😀\\", "b": "x:y"});
        assert_eq!(
            formatted(json, Format::Properties).unwrap(),
            "a\\ key=\\ \\u00e9=\\ud83d\\ude00\\\\\nb=x:y\n"
        );
    }
}
