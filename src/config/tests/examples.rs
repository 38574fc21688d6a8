//! The files under `examples/config`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::load::{self, Sources, load};
use super::super::report::Report;
use super::*;
use crate::config::{Allow, AuthMethod, JwtSpec, TlsHttp, TlsMode};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/config")
}

#[test]
fn every_example_loads() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let file = entry.unwrap().path();
        names.push(file.file_stem().unwrap().to_str().unwrap().to_owned());
        let environment =
            environment(&[("APP", "timeline"), ("ENVIRONMENT", "production")], &["VAULT_TOKEN"]);
        let sources = Sources { file: Some(file), environment, flags: Flags::default() };
        load(sources).unwrap_or_else(|error| panic!("{error}"));
    }
    names.sort();
    let all = [
        "ambassador",
        "ambassador-tcp",
        "approle",
        "approle-wrapped",
        "cert",
        "certificate",
        "complete",
        "jwt",
        "kubernetes",
        "minimal",
        "tls-access",
        "tls-adapter",
        "token",
    ];
    assert_eq!(names, all);
}

#[test]
fn each_login_example_uses_its_method() {
    let method = |name: &str| {
        let file = Some(folder().join(name));
        let environment = environment(&[("APP", "timeline")], &[]);
        load(Sources { file, environment, flags: Flags::default() }).unwrap().config.auth
    };
    assert!(matches!(method("token.toml"), AuthMethod::Token(_)));
    assert!(matches!(
        method("approle.toml"),
        AuthMethod::AppRole { secret_id: Some(source), .. } if !source.wrapped
    ));
    assert!(matches!(
        method("approle-wrapped.toml"),
        AuthMethod::AppRole { secret_id: Some(source), .. } if source.wrapped
    ));
    assert!(matches!(
        method("kubernetes.toml"),
        AuthMethod::Kubernetes { role, .. } if role == "timeline"
    ));
    assert!(matches!(method("jwt.toml"), AuthMethod::Jwt { role: Some(_), .. }));
    assert!(matches!(method("cert.toml"), AuthMethod::Cert { role: Some(_), .. }));
}

/// Their keys are the operator's names.
const HOLD_NAMES: [&str; 8] = [
    "",
    "adapters",
    "adapters.ambassador",
    "adapters.tls",
    "adapters.tls.….jwt.forward",
    "adapters.tls.….rules.claims",
    "certificates",
    "secrets",
];

#[test]
fn the_certificate_example_says_whom_it_is_for() {
    let file = Some(folder().join("certificate.toml"));
    let environment = environment(&[("ENVIRONMENT", "production")], &["VAULT_TOKEN"]);
    let config = load(Sources { file, environment, flags: Flags::default() }).unwrap().config;
    assert_eq!(config.certificates["web"].common_name, "timeline.production.example.io");
    assert_eq!(config.secrets.len(), 0);
}

/// In both directions: no key is left out, and none is made up.
#[test]
fn the_complete_example_has_every_key() {
    let text = std::fs::read_to_string(folder().join("complete.toml")).unwrap();
    let report = Report::new(&text);
    load::read(&text, &Sources::default(), &report);
    let known = report.known_keys().into_iter();
    let known = known.map(|known| (known.section.replace("NAME", "…"), known.key));
    let keys: BTreeSet<_> =
        known.filter(|(section, _)| !HOLD_NAMES.contains(&section.as_str())).collect();
    let keys = keys.into_iter().filter(|(section, _)| !section.starts_with("identity")).collect();
    assert_eq!(mentioned_keys(&text), keys);
}

/// Keys with the header they stand under, commented out or not; `[identity]` aside.
fn mentioned_keys(text: &str) -> BTreeSet<(String, String)> {
    let mut keys = BTreeSet::new();
    let mut section = String::new();
    for line in text.lines() {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_start_matches('[').split(']').next().unwrap();
            section = pattern(header);
            if let Some((of_adapter, key)) =
                section.rsplit_once('.').filter(|(it, _)| it.ends_with('…'))
            {
                keys.insert((of_adapter.to_owned(), key.to_owned()));
            }
            continue;
        }
        let assignment = line.strip_prefix("# ").unwrap_or(line).split_once(" = ");
        if let Some((key, _)) = assignment.filter(|_| section != "identity") {
            keys.insert((section.clone(), key.to_owned()));
        }
    }
    keys
}

/// A header with `…` for what the operator names, which comes after the kind of an adapter.
fn pattern(header: &str) -> String {
    let mut parts: Vec<_> = header.split('.').collect();
    let named = if parts[0] == "adapters" { 2 } else { 1 };
    if let Some(name) = parts.get_mut(named) {
        *name = "…";
    }
    parts.join(".")
}

/// The defaults that the complete example claims are those in force.
#[test]
fn the_complete_example_shows_the_defaults() {
    let text = std::fs::read_to_string(folder().join("complete.toml")).unwrap();
    let complete = config(&text);
    let bare = config(REST);
    assert_eq!(complete.limits, bare.limits);
    assert_eq!(complete.life, bare.life);
    assert_eq!(complete.listen.tcp, bare.listen.tcp);
    assert_eq!(complete.health, bare.health);
    assert_eq!(complete.vault.address, bare.vault.address);
    assert_eq!(complete.vault.timeout, bare.vault.timeout);
    assert_eq!(complete.vault.skip_verify, bare.vault.skip_verify);
    assert_eq!(complete.vault.max_requests_per_second, bare.vault.max_requests_per_second);
    let web = "[certificates.web]\nrole = 'r'\ncommon_name = 'n'\n[adapters.tls.web]\nlisten = '0.0.0.0:1'\n\
               forward = '127.0.0.1:2'\ncertificate = 'web'\nclient_auth = 'required'\nclient_ca = 'vault'\n";
    let bare_tls = config(&format!("{web}{REST}")).tls.remove(0);
    let TlsMode::Http(http) = &complete.tls[0].mode else { panic!("not http") };
    let http = TlsHttp { max_request_body: None, ..http.clone() };
    assert_eq!(TlsMode::Http(http), bare_tls.mode);
    assert_eq!(complete.tls[0].limits, bare_tls.limits);
    assert_eq!(complete.tls[0].min_version, bare_tls.min_version);
    assert_eq!(complete.tls[0].clients, bare_tls.clients);
    let jwt = "[adapters.tls.web.jwt]\nissuer = 'https://id.example.com'\naudience = 'shop'\n\
               jwks_url = 'https://id.example.com/jwks.json'\n";
    let bare_jwt = config(&format!("{web}{jwt}{REST}")).tls.remove(0).access.jwt.unwrap();
    let jwt = complete.tls[0].access.jwt.clone().unwrap();
    assert_eq!(jwt.forward.len(), 2);
    assert_eq!(JwtSpec { forward: Vec::new(), ..jwt }, bare_jwt);
    let (explicit, default) = (&complete.secrets["db"], &bare.secrets["db"]);
    assert_eq!(explicit.path.as_str(), "secret/data/timeline/db");
    assert_eq!(complete.secrets["mail"].path.as_str(), "secret/data/eu-1/mail");
    assert_eq!(explicit.required, default.required);
    assert_eq!(explicit.refresh, default.refresh);
    assert_eq!(explicit.max_stale, default.max_stale);
    let app = &complete.callers[0];
    assert_eq!(app.uids, Some(BTreeSet::from([10001, 10002])));
    assert!(matches!(&app.allow, Allow::Names(names) if names.len() == 3));
}
