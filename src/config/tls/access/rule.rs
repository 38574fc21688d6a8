//! `[[adapters.tls.NAME.rules]]`.

use super::{ClaimTest, ClaimValue, RuleSpec, SanPattern, SpiffePattern};
use crate::config::error::{Located, Problem};
use crate::config::load::Context;
use crate::config::scope;
use crate::config::section::{Section, quoted};

/// What there is that a rule can go by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sees {
    pub(super) certificate: bool,
    pub(super) token: bool,
    pub(super) requests: bool,
}

const CONDITIONS: [&str; 5] = ["san", "spiffe", "claims", "methods", "paths"];

pub(super) fn read(
    sections: Vec<Section<'_>>,
    sees: Sees,
    context: &Context<'_>,
) -> Option<Vec<RuleSpec>> {
    let count = sections.len();
    let mut rules: Vec<RuleSpec> = Vec::new();
    for section in sections {
        let at = section.at("name");
        let Some(rule) = rule(section, sees, context) else { continue };
        if rules.iter().any(|other| other.name == rule.name) {
            let message = format!("another rule is called {}", quoted(&rule.name));
            context
                .report
                .problem(Problem::at(&at, message).hint("the log tells them apart by it"));
        }
        rules.push(rule);
    }
    Some(rules).filter(|rules| rules.len() == count)
}

fn rule(mut section: Section<'_>, sees: Sees, context: &Context<'_>) -> Option<RuleSpec> {
    let name = section.required("name", "what the log calls it");
    for (key, seen, message, hint) in [
        ("san", sees.certificate, NO_CERTIFICATE, CLIENT_AUTH),
        ("spiffe", sees.certificate, NO_CERTIFICATE, CLIENT_AUTH),
        ("claims", sees.token, "no token is looked at", "declare with [adapters.tls.NAME.jwt] how"),
        ("methods", sees.requests, NO_REQUESTS, HTTP),
        ("paths", sees.requests, NO_REQUESTS, HTTP),
    ] {
        if !seen {
            section.refuse(&[key], message, hint);
        }
    }
    if !CONDITIONS.into_iter().any(|key| section.has(key)) {
        let problem = Problem::at(section.here(), "a rule without a condition lets everybody in");
        let hint = "one or more of san, spiffe, claims, methods and paths";
        context.report.absence(problem.hint(hint));
    }
    let san = list(&mut section, "san", context);
    let spiffe = list(&mut section, "spiffe", context);
    let claims = claims(&mut section, context);
    let scope = scope::read(&mut section, context);
    section.finish();
    let san: Option<Vec<_>> = san.iter().map(|text| self::san(text, context)).collect();
    let spiffe: Option<Vec<_>> = spiffe.iter().map(|text| self::spiffe(text, context)).collect();
    let (name, san, spiffe) = (name?.value.into(), san?, spiffe?);
    Some(RuleSpec { name, san, spiffe, claims: claims?, scope })
}

const NO_CERTIFICATE: &str = "clients are not asked for a certificate";
const CLIENT_AUTH: &str = "client_auth = \"required\" or \"optional\" does";
const NO_REQUESTS: &str = "no requests are seen here";
const HTTP: &str = "take it out, or take mode = \"http\"";

fn list<'a>(
    section: &mut Section<'a>,
    key: &'a str,
    context: &Context<'_>,
) -> Vec<Located<String>> {
    if section.is_empty_list(key) {
        let problem = Problem::at(&section.at(key), "an empty list lets nobody in");
        context.report.problem(problem.hint(format!("leave `{key}` out where it does not matter")));
    }
    section.strings(key).unwrap_or_default()
}

fn san(text: &Located<String>, context: &Context<'_>) -> Option<SanPattern> {
    let pattern = SanPattern::parse(&text.value);
    if pattern.is_none() {
        let message = format!("expected a DNS name, found {}", quoted(&text.value));
        let hint = "as in \"jobs.example.com\", or \"*.example.com\" for any one label";
        context.report.problem(Problem::at(&text.at, message).hint(hint));
    }
    pattern
}

fn spiffe(text: &Located<String>, context: &Context<'_>) -> Option<SpiffePattern> {
    let pattern = SpiffePattern::parse(&text.value);
    if pattern.is_none() {
        let message = format!("expected a SPIFFE ID, found {}", quoted(&text.value));
        let hint = "as in \"spiffe://example.org/ns/shop/sa/cart\", or with /* at the end for \
                    all below";
        context.report.problem(Problem::at(&text.at, message).hint(hint));
    }
    pattern
}

fn claims(section: &mut Section<'_>, context: &Context<'_>) -> Option<Vec<ClaimTest>> {
    let has_claims = section.has("claims");
    let at = section.at("claims");
    let mut tests = Vec::new();
    let read = below(section.table("claims"), &mut Vec::new(), &mut tests, context);
    if has_claims && read.is_some() && tests.is_empty() {
        let problem = Problem::at(&at, "no claim is asked for");
        context.report.problem(problem.hint("as in { groups = [\"ops\"] }"));
        return None;
    }
    read.map(|()| tests)
}

/// The tests of a table of claims, and of tables in it. `None` after a problem was reported.
fn below(
    mut section: Section<'_>,
    path: &mut Vec<Box<str>>,
    tests: &mut Vec<ClaimTest>,
    context: &Context<'_>,
) -> Option<()> {
    let mut fine = Some(());
    for name in section.names() {
        path.push(name.into());
        if section.is_table(name) {
            fine = fine.and(below(section.named_table(name), path, tests, context));
        } else {
            match values(&mut section, name, context) {
                Some(any) => tests.push(ClaimTest { path: path.clone(), any }),
                None => fine = None,
            }
        }
        path.pop();
    }
    section.finish();
    fine
}

fn values<'a>(
    section: &mut Section<'a>,
    name: &'a str,
    context: &Context<'_>,
) -> Option<Vec<ClaimValue>> {
    if section.is_boolean(name) {
        return section.boolean(name).map(|value| vec![ClaimValue::Bool(value)]);
    }
    let texts = list(section, name, context);
    let texts: Vec<_> = texts.into_iter().map(|text| ClaimValue::Text(text.value.into())).collect();
    (!texts.is_empty()).then_some(texts)
}
