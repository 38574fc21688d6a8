//! `[[callers]]` and `SIDEKEY_TOKEN`: who may ask, and for what.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::credential::{check_token, check_token_file};
use super::environment::{Environment, SIDEKEY_TOKEN, is_variable_name};
use super::error::{Located, Problem, Spot};
use super::load::Context;
use super::section::{Section, quoted};
use super::{Allow, CallerRule, SecretName, TokenSource};
use crate::memory::SecretBuf;

/// The caller that `SIDEKEY_TOKEN` stands for.
const ENVIRONMENT: &str = "environment";
/// Shorter tokens can be guessed.
const SHORTEST_TOKEN: usize = 16;
/// What the kernel reports for a user of another user namespace (`/proc/sys/fs/overflowuid`).
const OVERFLOW_UID: u32 = 65534;

pub(super) fn read(
    sections: Vec<Section<'_>>,
    declared: &BTreeSet<String>,
    context: &Context<'_>,
) -> Vec<CallerRule> {
    let has_sections = !sections.is_empty();
    let by_environment = context.environment.secret(SIDEKEY_TOKEN);
    let mut taken = BTreeSet::new();
    if by_environment.is_some() {
        taken.insert(ENVIRONMENT.to_owned());
    }
    let mut callers = Vec::new();
    for section in sections {
        callers.extend(caller(section, &mut taken, declared, context));
    }
    if let Some(token) = by_environment {
        if has_sections {
            context.report.warn("SIDEKEY_TOKEN: whoever has it may read every declared secret");
        }
        callers.push(environment_caller(token, context));
    } else if !has_sections && !context.flags.without_door {
        let problem = Problem::at(&Spot::outside("callers"), "nobody may ask for a secret");
        context.report.absence(problem.hint(
            "set SIDEKEY_TOKEN to a long random value, which the application sends as a bearer \
             token, or write a [[callers]] rule with name, allow, and uid, token_file or token_env; \
             `sidekey exec` needs none (`sidekey check --exec`)",
        ));
    }
    callers
}

fn environment_caller(token: &Arc<SecretBuf>, context: &Context<'_>) -> CallerRule {
    check_token(token, &Spot::outside(SIDEKEY_TOKEN), context);
    warn_if_short(token, SIDEKEY_TOKEN, context);
    CallerRule {
        name: ENVIRONMENT.to_owned(),
        uids: None,
        token: Some(TokenSource::Environment(Arc::clone(token))),
        allow: Allow::Everything,
    }
}

fn caller(
    mut section: Section<'_>,
    taken: &mut BTreeSet<String>,
    declared: &BTreeSet<String>,
    context: &Context<'_>,
) -> Option<CallerRule> {
    let name = name(&mut section, taken, context);
    let uids = uids(&mut section, context);
    let bearer = token(&mut section, context);
    if !["uid", "token_file", "token_env"].iter().any(|key| section.has(key)) {
        let message = "expected at least one of `uid`, `token_file` and `token_env`";
        let hint = "without one of them anybody on this loopback would match";
        context.report.absence(Problem::at(section.here(), message).hint(hint));
    }
    let allow = allow(&mut section, name.as_deref(), declared, context);
    section.finish();
    Some(CallerRule { name: name?, uids, token: bearer, allow: allow? })
}

fn name(
    section: &mut Section<'_>,
    taken: &mut BTreeSet<String>,
    context: &Context<'_>,
) -> Option<String> {
    let report = context.report;
    let hint = "it names the caller in the audit log";
    let Located { value: name, at } = section.required("name", hint)?;
    if SecretName::parse(&name).is_none() {
        let problem = Problem::at(&at, format!("{} cannot be a name", quoted(&name)));
        let hint = "1 to 128 letters, digits, `.`, `_` and `-`, the first a letter or digit";
        report.problem(problem.hint(hint));
        return None;
    }
    if !taken.insert(name.clone()) {
        let is_of_environment =
            name == ENVIRONMENT && context.environment.secret(SIDEKEY_TOKEN).is_some();
        let hint = if is_of_environment {
            "SIDEKEY_TOKEN is set, and makes a caller of that name"
        } else {
            "a caller with several uids takes a list: uid = [1, 2]"
        };
        let message = format!("{name} is the name of another caller");
        report.problem(Problem::at(&at, message).hint(hint));
    }
    Some(name)
}

fn uids(section: &mut Section<'_>, context: &Context<'_>) -> Option<BTreeSet<u32>> {
    let hint = "a user's number: `id -u NAME` prints it, in the application's image";
    let uids = section.numbers("uid", hint)?;
    let at = section.at("uid");
    if uids.is_empty() && section.is_empty_list("uid") {
        let problem = Problem::at(&at, "an empty list matches nobody");
        context.report.problem(problem.hint("leave `uid` out to go by the token alone"));
    }
    if uids.contains(&OVERFLOW_UID) {
        context.report.warn(format!(
            "{}: the kernel reports uid {OVERFLOW_UID} for every user of another user namespace",
            at.path
        ));
    }
    Some(uids)
}

fn token(section: &mut Section<'_>, context: &Context<'_>) -> Option<TokenSource> {
    let file = section.file_path("token_file");
    let variable = section.string("token_env");
    if section.has("token_file") && section.has("token_env") {
        let problem = Problem::at(&section.at("token_env"), "`token_file` is given too");
        context.report.problem(problem.hint("keep one of the two"));
        return None;
    }
    if let Some(file) = file {
        check_token_file(&file, context);
        return Some(TokenSource::File(file.value));
    }
    let variable = variable?;
    let token = environment_token(&variable, context.environment);
    match &token {
        Ok(token) => {
            check_token(token, &variable.at, context);
            warn_if_short(token, &variable.at.path, context);
        }
        Err(problem) => context.report.problem(problem.clone()),
    }
    token.ok().map(TokenSource::Environment)
}

/// The variable is not quoted: it may be the token, given by misunderstanding.
fn environment_token(
    variable: &Located<String>,
    environment: &Environment,
) -> Result<Arc<SecretBuf>, Problem> {
    if !is_variable_name(&variable.value) {
        let problem = Problem::at(&variable.at, "expected the name of an environment variable");
        return Err(problem.hint("the name stands here, as in token_env = \"APP_TOKEN\""));
    }
    let token = environment.secret(&variable.value).cloned();
    token.ok_or_else(|| {
        let problem = Problem::at(&variable.at, "the environment variable is not set");
        problem.hint("it is read once, when the process starts")
    })
}

fn allow(
    section: &mut Section<'_>,
    caller: Option<&str>,
    declared: &BTreeSet<String>,
    context: &Context<'_>,
) -> Option<Allow> {
    let names = section.strings("allow");
    let at = section.at("allow");
    // Whoever uses an adapter need not read anything.
    let is_nothing = section.is_empty_list("allow") && !context.has_adapters;
    if !section.has("allow") || is_nothing {
        let problem = Problem::at(&at, "the caller may read nothing");
        let hint = "allow = [\"db\"] with names of secrets, or [\"*\"] for all of them";
        context.report.absence(problem.hint(hint));
    }
    let names = names?;
    let others = names.iter().filter(|name| name.value != "*");
    let others = others.filter_map(|name| declared_name(name, declared, context)).collect();
    if names.iter().any(|name| name.value == "*") {
        context.report.warn(format!(
            "{}: the caller {} may read every declared secret",
            at.path,
            caller.unwrap_or("without a name")
        ));
        return Some(Allow::Everything);
    }
    Some(Allow::Names(others))
}

/// The name, when it is one of those `declared`.
pub(super) fn declared_name(
    name: &Located<String>,
    declared: &BTreeSet<String>,
    context: &Context<'_>,
) -> Option<SecretName> {
    if declared.contains(&name.value) {
        return SecretName::parse(&name.value);
    }
    let message = format!("no secret {} is declared", quoted(&name.value));
    let problem = Problem::at(&name.at, message);
    let problem = problem.hint("declare it with [secrets.NAME], or leave the name out here");
    let declared = declared.iter().map(String::as_str);
    context.report.absence(problem.did_you_mean(&name.value, declared));
    None
}

fn warn_if_short(token: &SecretBuf, path: &str, context: &Context<'_>) {
    if token.len() < SHORTEST_TOKEN {
        context.report.warn(format!(
            "{path}: the token is shorter than {SHORTEST_TOKEN} bytes, which can be guessed"
        ));
    }
}
