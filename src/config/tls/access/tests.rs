use http::Method;
use toml::de::DeTable;

use super::*;
use crate::config::load::Context;
use crate::config::report::Report;
use crate::config::{Environment, Flags};

const ALL: Learns = Learns { certificate: true, requests: true };
const JWT: &str = "[adapters.tls.web.jwt]\nissuer = 'https://id.example.com/'\naudience = 'shop'\n";
const RULE: &str = "[[adapters.tls.web.rules]]\nname = 'ops'\n";

fn read_as(text: &str, learns: Learns) -> (Option<AccessSpec>, String) {
    let report = Report::new(text);
    let (tree, errors) = DeTable::parse_recoverable(text);
    assert!(errors.is_empty(), "{errors:?}");
    let (flags, environment) = (Flags::default(), Environment::default());
    let context =
        Context { flags: &flags, environment: &environment, report: &report, has_adapters: true };
    let mut root = Section::root(tree.get_ref(), &report);
    let mut adapters = root.table("adapters");
    let mut tls = adapters.table("tls");
    let mut section = tls.named_table("web");
    let spec = read(&mut section, learns, &context);
    section.finish();
    let problems = report.finish(None, Some("f".into())).err().map(|error| error.to_string());
    (spec, problems.unwrap_or_default())
}

fn spec(text: &str) -> AccessSpec {
    let (spec, problems) = read_as(text, ALL);
    assert_eq!(problems, "");
    spec.unwrap()
}

fn problems(text: &str) -> String {
    let (spec, problems) = read_as(text, ALL);
    assert!(!problems.is_empty(), "{text} is taken: {spec:?}");
    problems
}

#[test]
fn nothing_is_asked_for_by_default() {
    assert_eq!(spec(""), AccessSpec::default());
}

#[test]
fn defaults_of_tokens() {
    let jwt = spec(JWT).jwt.unwrap();
    assert_eq!((&*jwt.issuer, &*jwt.audience), ("https://id.example.com/", &["shop".into()][..]));
    let KeySource::Metadata(place) = &jwt.keys else { panic!("{:?}", jwt.keys) };
    assert_eq!(
        place.url().as_str(),
        "https://id.example.com/.well-known/openid-configuration",
        "no second slash"
    );
    assert_eq!(jwt.leeway.as_secs(), 30);
    assert!(jwt.required && !jwt.pass_token && jwt.forward.is_empty());
    assert_eq!(jwt.header, "authorization");
    assert!(jwt.algorithms.iter().all(|it| it.family() != jsonwebtoken::AlgorithmFamily::Hmac));
}

#[test]
fn everything_of_tokens() {
    let text = format!(
        "{JWT}jwks_url = 'http://127.0.0.1:8200/v1/identity/oidc/.well-known/keys'\n\
         jwks_ca = '/etc/ca.pem'\nalgorithms = ['RS256', 'EdDSA']\nleeway = '1m'\n\
         required = false\nheader = 'X-Id-Token'\npass_token = true\n\
         jwks_refresh = '1m'\njwks_max_stale = '10m'\njwks_timeout = '2s'\n\
         [adapters.tls.web.jwt.forward]\nsub = 'X-User'\n'https://x/groups' = 'X-Groups'\n"
    );
    let access = spec(&text);
    assert_eq!(access.key_port(), Some(8200));
    assert_eq!(access.ca_cert(), Some(std::path::Path::new("/etc/ca.pem")));
    let jwt = access.jwt.unwrap();
    assert_eq!(jwt.algorithms, [jsonwebtoken::Algorithm::RS256, jsonwebtoken::Algorithm::EdDSA]);
    assert_eq!(jwt.header, "x-id-token");
    let forward: Vec<_> =
        jwt.forward.iter().map(|(claim, name)| (&**claim, name.as_str())).collect();
    assert_eq!(forward, [("https://x/groups", "x-groups"), ("sub", "x-user")]);
    let seconds = [jwt.leeway, jwt.refresh, jwt.max_stale, jwt.timeout].map(|it| it.as_secs());
    assert_eq!(seconds, [60, 60, 600, 2]);
}

#[test]
fn each_mistake_about_tokens_is_named() {
    for (line, expected) in [
        ("algorithms = ['HS256']", "algorithms[0]: HS256 proves nothing"),
        ("algorithms = 'none'", "algorithms: none proves nothing"),
        ("algorithms = ['ES255']", "unknown algorithm \"ES255\"\n  hint: did you mean `ES256`?"),
        ("algorithms = []", "algorithms: an empty list refuses every token"),
        ("leeway = '6m'", "leeway: expected at most 5m"),
        ("jwks_url = 'http://id.example.com/jwks'", "jwks_url: expected a URL that starts with"),
        ("jwks_url = 'https://u:canary@id.example.com/'", "jwks_url: expected a URL"),
        ("jwks_url = 5", "jwks_url: expected a string"),
        ("header = 'Cookie'", "header: \"Cookie\" carries no token"),
        ("header = 'a b'", "header: \"a b\" carries no token"),
        ("forward = { sub = 'Host' }", "forward.sub: \"Host\" cannot carry a claim"),
        ("forward = { sub = 'Authorization' }", "cannot carry a claim"),
        ("forward = { sub = 'X-Forwarded-User' }", "cannot carry a claim"),
        ("forward = { a = 'X-A', b = 'X_A' }", "forward.b: \"X_A\" cannot carry a claim"),
        ("audiance = 'x'", "audiance: unknown key\n  hint: did you mean `audience`?"),
    ] {
        let found = problems(&format!("{JWT}{line}\n"));
        assert!(found.contains(expected), "{line}: {found}");
        assert!(!found.contains("canary"), "{found}");
    }
    let found = problems("[adapters.tls.web.jwt]\n");
    assert!(found.contains("jwt.issuer: is missing"), "{found}");
    assert!(found.contains("jwt.audience: is missing"), "{found}");
    let found = problems("[adapters.tls.web.jwt]\nissuer = 'accounts'\naudience = 'a'\n");
    assert!(found.contains("jwt.issuer: expected a URL"), "{found}");
    assert!(found.contains("name their place with `jwks_url`"), "{found}");
}

#[test]
fn rules_as_they_are_written() {
    let text = format!(
        "{JWT}{RULE}san = ['Jobs.example.com', '*.ops.example.com']\n\
         spiffe = 'spiffe://example.org/ns/shop/*'\n\
         claims = {{ groups = ['ops', 'admins'], mfa = true, realm_access = {{ roles = 'r' }} }}\n\
         methods = ['GET']\npaths = ['/api/*']\n",
    );
    let rule = spec(&text).rules.remove(0);
    assert_eq!(&*rule.name, "ops");
    assert_eq!(
        rule.san.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["jobs.example.com", "*.ops.example.com"]
    );
    assert_eq!(rule.spiffe.len(), 1);
    let tests: Vec<_> =
        rule.claims.iter().map(|test| (test.path.join("."), test.any.len())).collect();
    let expected = [("groups", 2), ("mfa", 1), ("realm_access.roles", 1)];
    assert_eq!(tests, expected.map(|(path, any)| (path.to_owned(), any)));
    assert_eq!(rule.scope.methods, Some(vec![Method::GET]));
}

#[test]
fn each_mistake_about_rules_is_named() {
    for (lines, expected) in [
        ("", "rules[0]: a rule without a condition lets everybody in"),
        ("san = 'a b'", "rules[0].san: expected a DNS name"),
        ("san = ['ok', '*.*.com']", "rules[0].san[1]: expected a DNS name"),
        ("san = []", "rules[0].san: an empty list lets nobody in"),
        ("spiffe = 'example.org/ns'", "rules[0].spiffe: expected a SPIFFE ID"),
        ("spiffe = 'spiffe://example.org/ns/sh*'", "rules[0].spiffe: expected a SPIFFE ID"),
        ("claims = {}", "rules[0].claims: no claim is asked for"),
        ("claims = { groups = [] }", "claims.groups: an empty list lets nobody in"),
        ("claims = { level = 5 }", "claims.level: expected a string, found an integer"),
        ("claims = 'ops'", "claims: expected a table"),
        ("paths = '/a;b'", "rules[0].paths: \"/a;b\": no request with such a path"),
        ("methods = 'get'", "rules[0].methods: \"get\" is not a method"),
        ("pathes = '/a'", "rules[0].pathes: unknown key\n  hint: did you mean `paths`?"),
    ] {
        let found = problems(&format!("{JWT}{RULE}{lines}\n"));
        assert!(found.contains(expected), "{lines}: {found}");
    }
    let found = problems(&format!("{RULE}paths = '/a'\n{RULE}paths = '/b'\n"));
    assert!(found.contains("rules[1].name: another rule is called \"ops\""), "{found}");
    let found = problems(&format!("{RULE}claims = {{ sub = 'x' }}\n"));
    assert!(found.contains("rules[0].claims: no token is looked at"), "{found}");
}

#[test]
fn what_the_adapter_does_not_learn_cannot_be_asked_for() {
    let without = |learns, text: &str| read_as(text, learns).1;
    let found =
        without(Learns { certificate: false, ..ALL }, &format!("{RULE}spiffe = 'spiffe://a'\n"));
    assert!(found.contains("rules[0].spiffe: clients are not asked for a certificate"), "{found}");
    let bytes = Learns { requests: false, ..ALL };
    let found = without(bytes, &format!("{JWT}{RULE}paths = '/a'\n"));
    assert!(found.contains("jwt: there are no requests that could carry a token"), "{found}");
    assert!(found.contains("rules[0].paths: no requests are seen here"), "{found}");
    assert_eq!(without(bytes, &format!("{RULE}san = 'a.example'\n")), "");
}

#[test]
fn names_of_certificates() {
    let admits = |pattern: &str, name: &str| SanPattern::parse(pattern).unwrap().admits(name);
    assert!(admits("api.example.com", "API.example.com"));
    assert!(!admits("api.example.com", "api.example.com.evil.com"));
    assert!(admits("*.example.com", "a.example.com"));
    for name in ["example.com", "a.b.example.com", ".example.com", "*.example.com", "aexample.com"]
    {
        assert!(!admits("*.example.com", name), "{name}");
    }
    // A certificate for all names is not the one of any.
    assert!(!admits("api.example.com", "*.example.com"));
    assert!(!admits("api.example.com", "api.example.com\0.evil.com"));
    assert!(!admits("api.example.com", "api.example.com."));
}

#[test]
fn spiffe_ids() {
    for bad in [
        "",
        "spiffe://",
        "https://example.org/a",
        "SPIFFE://example.org/a",
        "spiffe://Example.org/a",
        "spiffe://example.org:8443/a",
        "spiffe://user@example.org/a",
        "spiffe://example.org/",
        "spiffe://example.org/a/",
        "spiffe://example.org//a",
        "spiffe://example.org/a/../b",
        "spiffe://example.org/a%2fb",
        "spiffe://example.org/a?b",
        "spiffe://example.org/a#b",
    ] {
        assert_eq!(SpiffeId::parse(bad), None, "{bad}");
    }
    assert_eq!(SpiffeId::parse(&format!("spiffe://a/{}", "x".repeat(2048))), None);
    let admits = |pattern: &str, id: &str| {
        SpiffePattern::parse(pattern).unwrap().admits(&SpiffeId::parse(id).unwrap())
    };
    assert!(admits("spiffe://a/ns/x", "spiffe://a/ns/x"));
    assert!(!admits("spiffe://a/ns/x", "spiffe://a/ns/x/y"));
    assert!(!admits("spiffe://a/ns/x", "spiffe://b/ns/x"));
    assert!(admits("spiffe://a/ns/*", "spiffe://a/ns/x/y"));
    for id in ["spiffe://a/ns", "spiffe://a/nsx/y", "spiffe://a.b/ns/x", "spiffe://a"] {
        assert!(!admits("spiffe://a/ns/*", id), "{id}");
    }
    assert!(admits("spiffe://a/*", "spiffe://a/b") && !admits("spiffe://a/*", "spiffe://a"));
}
