//! `[identity]`: who this instance is, and the placeholders that say so in paths and roles.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::environment::{Environment, SIDEKEY_TOKEN, VAULT_TOKEN};
use super::error::{Located, Problem, Spot};
use super::file::read_text;
use super::load::Context;
use super::section::{Section, quoted};
use super::unknown::closest;

/// The placeholders; `None` for one whose value has a problem of its own.
pub(super) struct Identity(BTreeMap<String, Option<String>>);

impl Identity {
    pub(super) fn read(mut section: Section<'_>, context: &Context<'_>) -> Self {
        let mut values = BTreeMap::new();
        for name in section.names() {
            values.insert(name.to_owned(), entry(&mut section, name, context));
        }
        section.finish();
        Self(values)
    }

    /// `template` with `{name}` replaced, `{{` and `}}` being the braces themselves.
    pub(super) fn fill(
        &self,
        template: &Located<String>,
        context: &Context<'_>,
    ) -> Option<Located<String>> {
        let Located { value: template, at } = template;
        let mut filled = Some(String::with_capacity(template.len()));
        let mut rest = template.as_str();
        while let Some(brace) = rest.find(['{', '}']) {
            let (text, tail) = rest.split_at_checked(brace)?;
            append(&mut filled, Some(text));
            rest = if let Some(tail) = tail.strip_prefix("{{") {
                append(&mut filled, Some("{"));
                tail
            } else if let Some(tail) = tail.strip_prefix("}}") {
                append(&mut filled, Some("}"));
                tail
            } else if let Some((name, tail)) =
                tail.strip_prefix('{').and_then(|tail| tail.split_once('}'))
            {
                append(&mut filled, self.value(name, at, context));
                tail
            } else {
                let problem = Problem::at(at, "a brace without its partner");
                context.report.problem(problem.hint("for the brace itself write `{{` or `}}`"));
                return None;
            };
        }
        append(&mut filled, Some(rest));
        Some(Located { value: filled?, at: at.clone() })
    }

    fn value(&self, name: &str, at: &Spot, context: &Context<'_>) -> Option<&str> {
        if let Some(value) = self.0.get(name) {
            return value.as_deref();
        }
        let problem = Problem::at(at, format!("unknown placeholder `{{{name}}}`"));
        let declared = self.0.keys().map(String::as_str);
        context.report.absence(match closest(name, declared) {
            Some(meant) => problem.hint(format!("did you mean `{{{meant}}}`?")),
            None => problem.hint(format!("declare it: [identity] {name} = …")),
        });
        None
    }
}

fn append(filled: &mut Option<String>, text: Option<&str>) {
    match (filled.as_mut(), text) {
        (Some(filled), Some(text)) => filled.push_str(text),
        _ => *filled = None,
    }
}

/// A string, `{ env = "APP" }` or `{ file = "/etc/podinfo/app" }`.
fn entry<'a>(section: &mut Section<'a>, name: &'a str, context: &Context<'_>) -> Option<String> {
    if !is_placeholder_name(name) {
        let problem = Problem::at(&section.at(name), "not a name for a placeholder");
        context.report.problem(problem.hint("use letters, digits, `_` and `-`"));
    }
    let value = if section.is_table(name) {
        reference(section.named_table(name), context)?
    } else {
        section.string(name)?
    };
    if !is_path_segment(&value.value) {
        // Not quoted: the variable or file may be the wrong one.
        let problem = Problem::at(&value.at, "the value cannot be part of a path");
        let hint = "1 to 253 letters, digits, `.`, `_` and `-`, the first a letter or digit";
        context.report.problem(problem.hint(hint));
        return None;
    }
    Some(value.value)
}

fn reference(mut section: Section<'_>, context: &Context<'_>) -> Option<Located<String>> {
    let variable = section.string("env");
    let file = section.file_path("file");
    let here = section.here().clone();
    let asked = (section.has("env"), section.has("file"));
    section.finish();
    let value =
        match (asked, variable, file) {
            ((true, false), Some(variable), _) => from_environment(&variable, context),
            ((false, true), _, Some(file)) => from_file(&file, context),
            ((true, true) | (false, false), ..) => {
                let problem = Problem::at(&here, "expected either `env` or `file`");
                context.report.absence(problem.hint(
                    "write { env = \"VARIABLE\" } or { file = \"/path\" }, or a plain string",
                ));
                None
            }
            _ => None,
        };
    Some(Located { value: value?, at: here })
}

fn from_environment(variable: &Located<String>, context: &Context<'_>) -> Option<String> {
    let name = variable.value.as_str();
    if is_secret(name, context.environment) {
        let message = format!("the environment variable {} holds a secret", quoted(name));
        let problem = Problem::at(&variable.at, message);
        context.report.problem(problem.hint("an identity becomes part of paths and logs"));
        return None;
    }
    let value = context.environment.value(name);
    if value.is_none() {
        let message = format!("the environment variable {} is not set", quoted(name));
        context.report.problem(Problem::at(&variable.at, message));
    }
    value.map(|value| value.value)
}

fn from_file(file: &Located<PathBuf>, context: &Context<'_>) -> Option<String> {
    context.report.reads(&file.value);
    match read_text(&file.value) {
        Ok(text) => Some(text.trim().to_owned()),
        Err(problem) => {
            let message = format!("{} {}", problem.path, problem.message);
            context.report.problem(Problem::at(&file.at, message));
            None
        }
    }
}

fn is_secret(variable: &str, environment: &Environment) -> bool {
    variable == VAULT_TOKEN
        || variable == SIDEKEY_TOKEN
        || environment.secrets.contains_key(variable)
}

fn is_placeholder_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-')
}

/// No `/` and no `..`: a value can neither leave its place in a path nor add to it.
fn is_path_segment(value: &str) -> bool {
    let starts_well = value.starts_with(|c: char| c.is_ascii_alphanumeric());
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    starts_well && value.len() <= 253 && value.bytes().all(allowed)
}
