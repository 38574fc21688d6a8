//! `methods` and `paths`: what of HTTP is let through.

use http::Method;

use super::error::{Located, Problem};
use super::load::Context;
use super::section::{Section, quoted};
use crate::scope::{BadPattern, PathPattern, Scope};

/// Reads the two keys of `section`.
pub(super) fn read(section: &mut Section<'_>, context: &Context<'_>) -> Scope {
    let methods = list(section, "methods", context);
    let paths = list(section, "paths", context);
    Scope {
        methods: methods.map(|all| all.iter().filter_map(|text| method(text, context)).collect()),
        paths: paths.map(|all| all.iter().filter_map(|text| path(text, context)).collect()),
    }
}

fn list<'a>(
    section: &mut Section<'a>,
    key: &'a str,
    context: &Context<'_>,
) -> Option<Vec<Located<String>>> {
    if section.is_empty_list(key) {
        let problem = Problem::at(&section.at(key), "an empty list lets nothing through");
        context.report.problem(problem.hint(format!("leave `{key}` out to let all through")));
    }
    section.strings(key)
}

fn method(text: &Located<String>, context: &Context<'_>) -> Option<Method> {
    let shouted = !text.value.contains(|c: char| c.is_ascii_lowercase());
    let method = Method::from_bytes(text.value.as_bytes()).ok().filter(|_| shouted);
    if method.is_none() {
        let message = format!("{} is not a method", quoted(&text.value));
        let hint = "written in capitals, as in \"GET\"; GET and HEAD are two";
        context.report.problem(Problem::at(&text.at, message).hint(hint));
    }
    method
}

fn path(text: &Located<String>, context: &Context<'_>) -> Option<PathPattern> {
    let bad = match PathPattern::parse(&text.value) {
        Ok(pattern) => return Some(pattern),
        Err(bad) => bad,
    };
    let hint = match bad {
        BadPattern::NotAPath => "write it as in \"/api/*\"",
        BadPattern::Wildcard => "as in \"/users/*/profile\", or in \"/api/*\" for all below /api/",
        BadPattern::Refused => {
            "write it decoded, without a query; paths with \"..\", \"//\", \";\" and encoded \
             separators are refused in any case"
        }
    };
    let message = format!("{}: {bad}", quoted(&text.value));
    context.report.problem(Problem::at(&text.at, message).hint(hint));
    None
}
