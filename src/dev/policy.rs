//! Policies: reading them, and which rule decides about a path.
//!
//! Syntax and precedence: <https://developer.hashicorp.com/vault/docs/concepts/policies>

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::Value;

use super::hcl;
use super::reply::Failure;

/// What every token may do, unless it was made without it.
pub(super) const DEFAULT: &str = r#"path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
path "sys/capabilities-self" { capabilities = ["update"] }
path "sys/internal/ui/resultant-acl" { capabilities = ["read"] }
path "sys/renew" { capabilities = ["update"] }
path "sys/leases/renew" { capabilities = ["update"] }
path "sys/leases/lookup" { capabilities = ["update"] }
path "cubbyhole/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "sys/wrapping/wrap" { capabilities = ["update"] }
path "sys/wrapping/lookup" { capabilities = ["update"] }
path "sys/wrapping/unwrap" { capabilities = ["update"] }
"#;

/// What a wrapping token may do.
pub(super) const RESPONSE_WRAPPING: &str = r#"path "cubbyhole/response" { capabilities = ["create", "read"] }
path "sys/wrapping/unwrap" { capabilities = ["update"] }
path "sys/wrapping/rewrap" { capabilities = ["update"] }
"#;

/// What a rule may allow, in the words of a policy.
const CAPABILITIES: [&str; 8] =
    ["create", "read", "update", "patch", "delete", "list", "sudo", "deny"];

/// A policy as it was written, and its rules.
pub(super) struct Policy {
    pub(super) text: String,
    rules: Vec<Rule>,
}

struct Rule {
    pattern: String,
    capabilities: BTreeSet<String>,
}

impl Policy {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let failed = |error: String| Failure::bad(format!("failed to parse policy: {error}"));
        let document = hcl::parse(text).map_err(failed)?;
        let mut rules = Vec::new();
        for (pattern, body) in paths(&document) {
            rules.push(Rule::read(pattern, body).map_err(failed)?);
        }
        Ok(Self { text: text.to_owned(), rules })
    }
}

/// The `path` blocks: an object by pattern, or a list of such objects.
fn paths(document: &Value) -> Vec<(&String, &Value)> {
    let blocks = match document.get("path") {
        Some(Value::Array(blocks)) => blocks.iter().collect(),
        Some(block) => vec![block],
        None => Vec::new(),
    };
    blocks.into_iter().filter_map(Value::as_object).flatten().collect()
}

impl Rule {
    fn read(pattern: &str, body: &Value) -> Result<Self, String> {
        let mut capabilities = BTreeSet::new();
        for word in body.get("capabilities").and_then(Value::as_array).into_iter().flatten() {
            let word = word.as_str().unwrap_or_default();
            if !CAPABILITIES.contains(&word) {
                return Err(format!("path {pattern:?}: invalid capability {word:?}"));
            }
            capabilities.insert(word.to_owned());
        }
        // The older spelling, one word for a set of capabilities.
        let older: &[&str] = match body.get("policy").and_then(Value::as_str) {
            Some("read") => &["read", "list"],
            Some("write") => &["create", "read", "update", "delete", "list"],
            Some("sudo") => &["create", "read", "update", "delete", "list", "sudo"],
            Some("deny") => &["deny"],
            _ => &[],
        };
        capabilities.extend(older.iter().map(|&word| word.to_owned()));
        Ok(Self { pattern: pattern.trim_start_matches('/').to_owned(), capabilities })
    }
}

/// The rules of all of a token's policies together.
pub(super) struct Acl<'a> {
    root: bool,
    rules: Vec<&'a Rule>,
}

impl<'a> Acl<'a> {
    pub(super) fn new(root: bool, policies: impl Iterator<Item = &'a Policy>) -> Self {
        Self { root, rules: policies.flat_map(|policy| &policy.rules).collect() }
    }

    /// Every capability on `path`; `["deny"]` when there is none.
    pub(super) fn capabilities(&self, path: &str) -> BTreeSet<&'a str> {
        if self.root {
            return BTreeSet::from(["root"]);
        }
        let matching = || self.rules.iter().filter(|rule| matches(&rule.pattern, path));
        let best = matching().max_by(|a, b| precedence(&a.pattern, &b.pattern));
        let merged: BTreeSet<&str> = matching()
            .filter(|rule| best.is_some_and(|best| best.pattern == rule.pattern))
            .flat_map(|rule| rule.capabilities.iter().map(String::as_str))
            .collect();
        if merged.is_empty() || merged.contains("deny") { BTreeSet::from(["deny"]) } else { merged }
    }

    pub(super) fn allows(&self, path: &str, capability: &str) -> bool {
        let has = |path| {
            let capabilities = self.capabilities(path);
            capabilities.contains(capability) || capabilities.contains("root")
        };
        // A list's path ends in a slash; a rule for it may be written without.
        has(path) || (capability == "list" && has(path.trim_end_matches('/')))
    }

    /// Whether any rule lets this token see something below `mount`.
    pub(super) fn sees(&self, mount: &str) -> bool {
        self.root
            || self.rules.iter().any(|rule| {
                let fixed = rule.pattern.split(['*', '+']).next().unwrap_or_default();
                !rule.capabilities.contains("deny")
                    && (fixed.starts_with(mount) || mount.starts_with(fixed))
            })
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, glob) =
        pattern.strip_suffix('*').map_or((pattern, false), |pattern| (pattern, true));
    if !pattern.contains('+') {
        return if glob { path.starts_with(pattern) } else { path == pattern };
    }
    let wanted: Vec<&str> = pattern.split('/').collect();
    let segments: Vec<&str> = path.split('/').collect();
    if segments.len() < wanted.len() || (!glob && segments.len() != wanted.len()) {
        return false;
    }
    wanted.iter().zip(&segments).enumerate().all(|(index, (want, have))| {
        let last = index + 1 == wanted.len();
        *want == "+" || want == have || (glob && last && have.starts_with(want))
    })
}

/// Greater is the rule that decides: exact before wildcard, then by where the first
/// wildcard stands and the other steps of the documented order.
fn precedence(a: &str, b: &str) -> Ordering {
    let wild = |pattern: &str| pattern.find(['*', '+']).unwrap_or(usize::MAX);
    let pluses = |pattern: &str| pattern.split('/').filter(|&segment| segment == "+").count();
    wild(a)
        .cmp(&wild(b))
        .then_with(|| b.ends_with('*').cmp(&a.ends_with('*')))
        .then_with(|| pluses(b).cmp(&pluses(a)))
        .then_with(|| a.len().cmp(&b.len()))
        .then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(text: &str, path: &str, capability: &str) -> bool {
        let policy = Policy::parse(text).unwrap();
        Acl::new(false, [&policy].into_iter()).allows(path, capability)
    }

    #[test]
    fn patterns() {
        assert!(matches("secret/data/*", "secret/data/a/b"));
        assert!(!matches("secret/data/*", "secret/metadata/a"));
        assert!(matches("secret/+/team", "secret/data/team"));
        assert!(!matches("secret/+/team", "secret/data/team/x"));
        assert!(matches("secret/+/te*", "secret/data/team/x"));
        assert!(matches("*", "anything"));
    }

    #[test]
    fn the_most_specific_rule_decides() {
        let text = r#"
            # everything below, but one
            path "secret/data/*" { capabilities = ["read", "list"] }
            path "secret/data/private" { capabilities = ["deny"] }
            path "secret/data/+/own" { capabilities = ["update"] }
        "#;
        assert!(allows(text, "secret/data/a", "read"));
        assert!(!allows(text, "secret/data/private", "read"));
        assert!(!allows(text, "secret/data/a", "update"));
        // The first wildcard of both stands at the same place; the glob gives way.
        assert!(allows(text, "secret/data/x/own", "update"));
        assert!(!allows(text, "secret/data/x/own", "read"));
        assert!(!allows(text, "kv/a", "read"));
    }

    #[test]
    fn a_list_needs_no_trailing_slash_in_its_rule() {
        let text = r#"path "secret/metadata" { capabilities = ["list"] }"#;
        assert!(allows(text, "secret/metadata/", "list"));
    }

    #[test]
    fn json_and_older_words() {
        let json = r#"{"path": {"kv/a": {"capabilities": ["read"]}}}"#;
        assert!(allows(json, "kv/a", "read"));
        assert!(allows(r#"path "kv/a" { policy = "write" }"#, "kv/a", "update"));
        assert!(Policy::parse(r#"path "a" { capabilities = ["fly"] }"#).is_err());
        assert!(Policy::parse(r#"path "a" { capabilities = "#).is_err());
    }

    #[test]
    fn the_built_in_policies_parse() {
        assert!(Policy::parse(DEFAULT).is_ok());
        assert!(Policy::parse(RESPONSE_WRAPPING).is_ok());
    }
}
