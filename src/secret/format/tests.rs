use std::collections::BTreeMap;
use std::process::Command;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::{EtagKey, Secret, render};
use super::*;

fn secret(json: &str) -> Secret {
    render(json, &EtagKey::random().unwrap(), None, None).unwrap()
}

fn formatted_text(json: &str, format: Format) -> Result<String, Unrepresentable> {
    let out = secret(json).formatted(format)?;
    Ok(String::from_utf8(out.expose().to_vec()).unwrap())
}

fn formatted(json: Value, format: Format) -> Result<String, Unrepresentable> {
    formatted_text(&json.to_string(), format)
}

#[test]
fn env_quotes_what_a_shell_would_read() {
    let json = json!({"user": "alice", "pass-word": "it's $HOME\nnext", "n": 5, "empty": ""});
    assert_eq!(
        formatted(json, Format::Env).unwrap(),
        "empty=\nn=5\npass_word='it'\\''s $HOME\nnext'\nuser=alice\n"
    );
}

#[test]
fn env_refuses_what_it_cannot_hold() {
    let nul = formatted(json!({"a": "x\u{0}y"}), Format::Env).unwrap_err();
    assert_eq!(&*nul.field, "a");
    let twice = formatted(json!({"a-b": "1", "a.b": "2"}), Format::Env);
    assert_eq!(twice.unwrap_err().reason, "another field has the same variable name");
}

#[test]
fn yaml_quotes_texts_and_reserved_keys() {
    let json = json!({"no": "yes", "port": 5432, "a b": "x\u{7f}\"\n", "list": [1, "2"]});
    assert_eq!(
        formatted(json, Format::Yaml).unwrap(),
        "\"a b\": \"x\\u007f\\\"\\n\"\nlist: [1,\"2\"]\n\"no\": \"yes\"\nport: 5432\n"
    );
}

#[test]
fn an_empty_secret_is_an_empty_mapping() {
    assert_eq!(formatted(json!({}), Format::Yaml).unwrap(), "{}\n");
    assert_eq!(formatted(json!({}), Format::Env).unwrap(), "");
    assert_eq!(formatted(json!({}), Format::Properties).unwrap(), "");
}

#[test]
fn yaml_writes_long_keys_out() {
    let (plain, odd) = ("k".repeat(1025), "\u{7f}".repeat(300));
    let json = json!({ &plain: 1, &odd: { &plain: [], &odd: "x" } });
    let yaml = formatted(json.clone(), Format::Yaml).unwrap();
    assert!(yaml.contains(&format!("? {plain}\n: 1\n")), "{yaml}");
    assert_eq!(serde_yaml_ng::from_str::<Value>(&yaml).unwrap(), json);
}

#[test]
fn yaml_reads_the_escapes_of_json() {
    let json = r#"{"a":{ "\ud83d\ude00\/\b\f" :
        ["\u00e9", "\u0000\ufffe", "\u007f\""],	"e":{}}}"#;
    let yaml = formatted_text(json, Format::Yaml).unwrap();
    assert_eq!(
        yaml,
        "a: {\"😀/\\u0008\\u000c\": [\"é\",\"\\u0000\\ufffe\",\"\\u007f\\\"\"],\"e\": {}}\n"
    );
    let read: Value = serde_yaml_ng::from_str(&yaml).unwrap();
    assert_eq!(read, serde_json::from_str::<Value>(json).unwrap());
    for half in [r"\ud83d", r"\ude00", r"\ud83dx", r"\ud83d\n", r"\ud83d\ud83d"] {
        let refused = formatted_text(&format!(r#"{{"a":["{half}"]}}"#), Format::Yaml).unwrap_err();
        assert!(refused.reason.contains("surrogate"), "{half}");
    }
}

#[test]
fn properties_escape_as_java_reads() {
    let json = json!({"a key": " é=😀\\", "b": "x:y"});
    assert_eq!(
        formatted(json, Format::Properties).unwrap(),
        "a\\ key=\\ \\u00e9=\\ud83d\\ude00\\\\\nb=x:y\n"
    );
}

/// Texts with more than their share of what writers and parsers trip over.
fn text() -> impl Strategy<Value = String> {
    let odd = "\0\u{7f}\u{85}\u{9f}\u{2028}\u{2029}\u{feff}\u{fffe}\u{ffff}\u{1fffe}\u{10ffff}\
               \"\\'\n\r\t\u{c} #:=!?-&*%@`{}[],|>~$u";
    let odd = proptest::sample::select(odd.chars().collect::<Vec<_>>());
    let short = vec(prop_oneof![any::<char>(), odd], 0..12);
    let short = short.prop_map(|chars| chars.into_iter().collect::<String>());
    prop_oneof![19 => short.clone(), 1 => short.prop_map(|text| text.repeat(200))]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let members = btree_map(text(), inner.clone(), 0..4);
        prop_oneof![
            vec(inner, 0..4).prop_map(Value::from),
            members.prop_map(|members| members.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

fn fields() -> impl Strategy<Value = Value> {
    let members = btree_map(text(), value(), 0..5);
    members.prop_map(|members| members.into_iter().collect::<Map<_, _>>().into())
}

/// JSON in another spelling of the same: line by line, and everything but ASCII escaped.
fn spelled_out(json: &Value) -> String {
    let mut ascii = String::new();
    for c in serde_json::to_string_pretty(json).unwrap().chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            let units = c.encode_utf16(&mut [0; 2]).to_vec();
            ascii.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    ascii
}

/// As YAML 1.2 has it, but for what begins a file or ends a line.
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
        && !matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}')
}

/// What a shell makes of the script, by its variables.
fn sourced(script: &str, count: usize) -> Vec<String> {
    let print: Vec<_> = (0..count).map(|n| format!("printf '%s\\0' \"$v{n}\"\n")).collect();
    let print = print.concat();
    let output = Command::new("sh").arg("-c").arg(format!("{script}{print}")).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// By the rules of `java.util.Properties.load`.
fn loaded(properties: &str) -> BTreeMap<String, String> {
    let is_blank = |c: char| matches!(c, ' ' | '\t' | '\u{c}');
    let mut read = BTreeMap::new();
    let mut lines = properties.split(['\n', '\r']);
    while let Some(line) = lines.next() {
        let mut line = line.trim_start_matches(is_blank).to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        while line.bytes().rev().take_while(|&c| c == b'\\').count() % 2 == 1 {
            line.pop();
            line.push_str(lines.next().unwrap_or_default().trim_start_matches(is_blank));
        }
        let mut escaped = false;
        let end = line.find(|c: char| {
            let ends = !escaped && (is_blank(c) || matches!(c, '=' | ':'));
            escaped = c == '\\' && !escaped;
            ends
        });
        let (key, rest) = line.split_at(end.unwrap_or(line.len()));
        let rest = rest.trim_start_matches(is_blank);
        let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(is_blank);
        assert!(read.insert(java_text(key), java_text(rest)).is_none(), "{key} twice");
    }
    read
}

fn java_text(escaped: &str) -> String {
    let mut units = Vec::new();
    let mut chars = escaped.chars();
    while let Some(c) = chars.next() {
        let meant = match c {
            '\\' => match chars.next() {
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&digits, 16).unwrap());
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                other => other.unwrap(),
            },
            c => c,
        };
        units.extend_from_slice(meant.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).unwrap()
}

proptest! {
    #[test]
    fn a_yaml_parser_reads_back_what_was_written(json in fields()) {
        for spelling in [json.to_string(), spelled_out(&json)] {
            let yaml = formatted_text(&spelling, Format::Yaml).unwrap();
            prop_assert!(yaml.chars().all(is_printable), "{}", yaml);
            let read: Value = serde_yaml_ng::from_str(&yaml).unwrap();
            prop_assert_eq!(&read, &json, "{}", yaml);
        }
    }

    #[test]
    fn java_reads_back_what_was_written(json in fields()) {
        let secret = secret(&json.to_string());
        let bare = |name: &String| {
            let value = secret.field(name).unwrap().0;
            (name.clone(), String::from_utf8(value.to_vec()).unwrap())
        };
        let expected: BTreeMap<_, _> = json.as_object().unwrap().keys().map(bare).collect();
        let properties = formatted_text(&json.to_string(), Format::Properties).unwrap();
        prop_assert!(properties.is_ascii());
        prop_assert_eq!(loaded(&properties), expected, "{}", properties);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_shell_reads_back_what_was_written(values in vec(text(), 1..9)) {
        let names = (0..).map(|n| format!("v{n}"));
        let json: Map<_, _> = names.zip(values.iter().cloned().map(Value::from)).collect();
        let script = formatted(json.into(), Format::Env);
        if values.iter().any(|value| value.contains('\0')) {
            prop_assert!(script.is_err());
        } else {
            prop_assert_eq!(sourced(&script.unwrap(), values.len()), values);
        }
    }
}
