//! `[secrets.NAME]` and `--secret NAME=PATH`: what is served.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::error::{Located, Problem, Spot};
use super::identity::Identity;
use super::load::Context;
use super::section::{Section, quoted};
use super::{SecretName, SecretSpec, VaultPath};

const DEFAULT_REFRESH: Duration = Duration::from_mins(1);
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);
const DEFAULT_MAX_STALE: Duration = Duration::from_hours(1);

/// What was declared; also the names of declarations that have problems, so that a rule which
/// allows them is not a second problem.
pub(super) struct Declared {
    pub(super) secrets: BTreeMap<SecretName, SecretSpec>,
    pub(super) names: BTreeSet<String>,
}

pub(super) fn read(
    mut section: Section<'_>,
    identity: &Identity,
    context: &Context<'_>,
) -> Declared {
    let mut flags = flags(context);
    let mut declared = Declared { secrets: BTreeMap::new(), names: BTreeSet::new() };
    for name in section.names() {
        declared.names.insert(name.to_owned());
        let at = section.at(name);
        if !section.is_table(name) {
            section.named_table(name).finish();
            flags.remove(name);
            continue;
        }
        let spec = declaration(section.named_table(name), flags.remove(name), identity, context);
        let name = self::name(name, &at, context);
        declared.secrets.extend(name.zip(spec));
    }
    section.finish();
    for (name, path) in flags {
        let spec = vault_path(&path, identity, context).map(default_spec);
        declared.secrets.extend(self::name(&name, &path.at, context).zip(spec));
        declared.names.insert(name);
    }
    declared
}

/// Reports a configuration that declares nothing at all.
pub(super) fn insist(declared: &Declared, context: &Context<'_>) {
    if declared.names.is_empty() && context.flags.secrets.is_empty() {
        let problem = Problem::at(&Spot::outside("secrets"), "no secret is declared");
        context.report.absence(problem.hint(
            "pass --secret NAME=PATH, as in --secret db=secret/data/app, or write [secrets.db] and \
             path = \"secret/data/app\" to the configuration file",
        ));
    }
}

/// The paths of `--secret`, by name.
fn flags(context: &Context<'_>) -> BTreeMap<String, Located<String>> {
    let mut paths = BTreeMap::new();
    for flag in &context.flags.secrets {
        let at = Spot::outside("--secret");
        let Some((name, path)) = flag.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            // Not quoted: it may be a secret, given by misunderstanding.
            let problem = Problem::at(&at, "expected NAME=PATH");
            context.report.problem(problem.hint("as in --secret db=secret/data/app"));
            continue;
        };
        let path = Located { value: path.to_owned(), at };
        if let Some(earlier) = paths.insert(name.to_owned(), path) {
            let message = format!("{} is given twice", quoted(name));
            context.report.problem(Problem::at(&earlier.at, message));
        }
    }
    paths
}

fn declaration(
    mut section: Section<'_>,
    flag: Option<Located<String>>,
    identity: &Identity,
    context: &Context<'_>,
) -> Option<SecretSpec> {
    let file = section.string("path");
    let path = flag.or(file);
    if path.is_none() {
        section.missing("path", "the read path in Vault, such as secret/data/app");
    }
    let required = section.boolean("required").unwrap_or(true);
    let refresh = section.duration("refresh", SHORTEST_REFRESH).unwrap_or(DEFAULT_REFRESH);
    let max_stale = section.duration("max_stale", Duration::ZERO).unwrap_or(DEFAULT_MAX_STALE);
    section.finish();
    let path = vault_path(&path?, identity, context)?;
    Some(SecretSpec { path, required, refresh, max_stale })
}

fn default_spec(path: VaultPath) -> SecretSpec {
    let (refresh, max_stale) = (DEFAULT_REFRESH, DEFAULT_MAX_STALE);
    SecretSpec { path, required: true, refresh, max_stale }
}

pub(super) fn name(name: &str, at: &Spot, context: &Context<'_>) -> Option<SecretName> {
    let parsed = SecretName::parse(name);
    if parsed.is_none() {
        let problem = Problem::at(at, format!("{} cannot be a name", quoted(name)));
        context.report.problem(
            problem.hint("1 to 128 letters, digits, `.`, `_` and `-`, the first a letter or digit"),
        );
    }
    parsed
}

/// Not quoted in problems: what is no path may be a secret, given by misunderstanding.
fn vault_path(
    template: &Located<String>,
    identity: &Identity,
    context: &Context<'_>,
) -> Option<VaultPath> {
    let filled = identity.fill(template, context)?;
    // Every mount has at least one segment, and there is something to read below it.
    let path = VaultPath::parse(&filled.value).filter(|path| path.as_str().contains('/'));
    if path.is_none() {
        let problem = Problem::at(&filled.at, "expected a path such as secret/data/app");
        context.report.problem(problem.hint(
            "mount and path, without a trailing slash, empty, `.` or `..` segments, `?`, `#`, `\\`",
        ));
    }
    path
}
