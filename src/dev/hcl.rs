//! The part of HCL that policies are written in, read into JSON values.
//!
//! `word "label" { key = value }`, with texts, numbers, booleans, lists, nested blocks and
//! the three kinds of comments. A document that starts with `{` is JSON already.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::{Map, Value};

/// Deeper nesting than any policy has.
const DEPTH: usize = 16;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Mark(char),
}

/// The document as a JSON object; a repeated block's bodies are merged.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    let mut tokens = lex(text)?.into_iter().peekable();
    let mut document = Map::new();
    while tokens.peek().is_some() {
        entry(&mut tokens, &mut document, DEPTH)?;
    }
    Ok(Value::Object(document))
}

type Tokens = Peekable<std::vec::IntoIter<Token>>;

/// One `key = value` or `key "label"… { … }`.
fn entry(tokens: &mut Tokens, into: &mut Map<String, Value>, depth: usize) -> Result<(), String> {
    let Some(Token::Word(key) | Token::Text(key)) = tokens.next() else {
        return Err("a name was expected".to_owned());
    };
    let Some(depth) = depth.checked_sub(1) else {
        return Err("nested too deeply".to_owned());
    };
    match tokens.peek() {
        Some(Token::Mark('=')) => {
            tokens.next();
            let value = value(tokens, depth)?;
            into.insert(key, value);
            Ok(())
        }
        Some(Token::Mark('{')) => {
            let body = block(tokens, depth)?;
            merge(into, key, body);
            Ok(())
        }
        Some(Token::Text(_)) => {
            let slot = into.entry(key).or_insert_with(|| Value::Object(Map::new()));
            match slot {
                Value::Object(inner) => entry(tokens, inner, depth),
                _ => Err("a block's name is already a value".to_owned()),
            }
        }
        _ => Err(format!("after {key:?}, `=` or a block was expected")),
    }
}

fn merge(into: &mut Map<String, Value>, key: String, body: Map<String, Value>) {
    match into.entry(key).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(inner) => inner.extend(body),
        other => *other = Value::Object(body),
    }
}

fn block(tokens: &mut Tokens, depth: usize) -> Result<Map<String, Value>, String> {
    tokens.next();
    let mut body = Map::new();
    loop {
        match tokens.peek() {
            Some(Token::Mark('}')) => {
                tokens.next();
                return Ok(body);
            }
            Some(_) => entry(tokens, &mut body, depth)?,
            None => return Err("a block is not closed".to_owned()),
        }
    }
}

fn value(tokens: &mut Tokens, depth: usize) -> Result<Value, String> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err("nested too deeply".to_owned());
    };
    match tokens.peek().cloned() {
        Some(Token::Mark('{')) => block(tokens, depth).map(Value::Object),
        Some(Token::Mark('[')) => {
            tokens.next();
            let mut items = Vec::new();
            while tokens.peek() != Some(&Token::Mark(']')) {
                items.push(value(tokens, depth)?);
                if tokens.peek() == Some(&Token::Mark(',')) {
                    tokens.next();
                }
            }
            tokens.next();
            Ok(Value::Array(items))
        }
        Some(Token::Text(text)) => {
            tokens.next();
            Ok(Value::String(text))
        }
        Some(Token::Word(word)) => {
            tokens.next();
            serde_json::from_str(&word).map_err(|_| format!("{word:?} is no value"))
        }
        _ => Err("a value was expected".to_owned()),
    }
}

fn lex(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            _ if letter.is_whitespace() => {}
            '#' => skip_line(&mut letters),
            '/' if letters.peek() == Some(&'/') => skip_line(&mut letters),
            '/' if letters.peek() == Some(&'*') => skip_comment(&mut letters),
            '{' | '}' | '[' | ']' | '=' | ',' => tokens.push(Token::Mark(letter)),
            '"' => tokens.push(Token::Text(quoted(&mut letters)?)),
            _ if letter.is_alphanumeric() || letter == '-' || letter == '_' => {
                let mut word = String::from(letter);
                let belongs = |letter: &char| letter.is_alphanumeric() || "-_.".contains(*letter);
                while let Some(letter) = letters.next_if(belongs) {
                    word.push(letter);
                }
                tokens.push(Token::Word(word));
            }
            _ => return Err(format!("unexpected {letter:?}")),
        }
    }
    Ok(tokens)
}

fn skip_line(letters: &mut Peekable<Chars<'_>>) {
    while letters.next_if(|&letter| letter != '\n').is_some() {}
}

fn skip_comment(letters: &mut Peekable<Chars<'_>>) {
    letters.next();
    while let Some(letter) = letters.next() {
        if letter == '*' && letters.next_if_eq(&'/').is_some() {
            return;
        }
    }
}

fn quoted(letters: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Ok(text),
            '\\' => match letters.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some(other) => text.push(other),
                None => break,
            },
            _ => text.push(letter),
        }
    }
    Err("a text is not closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_comments() {
        let text = r#"
            # one
            name = "x" // two
            /* three */
            path "a" { capabilities = ["read", "list",] }
            path "b" {
              capabilities = ["deny"]
              max_wrapping_ttl = 10
              allowed_parameters = { "*" = [] }
            }
        "#;
        let document = parse(text).unwrap();
        assert_eq!(document["path"]["a"]["capabilities"][1], "list");
        assert_eq!(document["path"]["b"]["max_wrapping_ttl"], 10);
        assert_eq!(document["name"], "x");
    }

    #[test]
    fn mistakes_are_errors() {
        for text in ["path", "path \"a\"", "path \"a\" {", "x = [", "x = \"", "= 1", "x = y z"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"x = [".repeat(100)).is_err());
    }
}
