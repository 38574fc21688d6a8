//! `[auth]`, `--auth` and `--role`: how to log in to Vault.

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;

use super::credential::{check_file, check_token, check_token_file};
use super::environment::VAULT_TOKEN;
use super::error::{Located, Problem, Spot};
use super::file::read_text;
use super::identity::Identity;
use super::load::Context;
use super::section::{Section, quoted};
use super::{AuthMethod, SecretIdSource, TokenSource, VaultConfig, VaultPath};

const KUBERNETES_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Token,
    AppRole,
    Kubernetes,
    Jwt,
    Cert,
}

use Method::{AppRole, Cert, Jwt, Kubernetes, Token};

/// The methods by name.
const METHODS: [(&str, Method); 5] = [
    ("token", Token),
    ("approle", AppRole),
    ("kubernetes", Kubernetes),
    ("jwt", Jwt),
    ("cert", Cert),
];

/// Which methods a key belongs to.
const KEYS: [(&str, &[Method]); 8] = [
    ("mount", &[AppRole, Kubernetes, Jwt, Cert]),
    ("role", &[Kubernetes, Jwt, Cert]),
    ("role_id", &[AppRole]),
    ("role_id_file", &[AppRole]),
    ("secret_id_file", &[AppRole]),
    ("secret_id_wrapped", &[AppRole]),
    ("token_file", &[Token]),
    ("jwt_file", &[Kubernetes, Jwt]),
];

/// The section's keys, read whatever the method, so that all of them are checked.
#[derive(Default)]
struct Keys {
    mount: Option<Located<String>>,
    role: Option<Located<String>>,
    role_id: Option<Located<String>>,
    role_id_file: Option<Located<PathBuf>>,
    secret_id_file: Option<Located<PathBuf>>,
    secret_id_wrapped: bool,
    token_file: Option<Located<PathBuf>>,
    jwt_file: Option<Located<PathBuf>>,
}

pub(super) fn read(
    mut section: Section<'_>,
    vault: Option<&VaultConfig>,
    identity: &Identity,
    context: &Context<'_>,
) -> Option<AuthMethod> {
    let here = section.here().clone();
    let named = section.string("method");
    let in_file = named.as_ref().map(|name| method(name, context));
    let flag = context.flags.auth.clone();
    let flag = flag.map(|value| Located { value, at: Spot::outside("--auth") });
    let by_flag = flag.as_ref().map(|name| method(name, context));
    let mut keys = keys(&mut section);
    let chosen = match by_flag.or(in_file) {
        Some(method) => method,
        None if section.has("method") => None,
        None => default_method(&section, context),
    };
    if by_flag.is_some() && in_file.is_some_and(|in_file| in_file != chosen) {
        context.report.warn("--auth names another method than [auth], which is not used");
        keys = Keys::default();
    } else if let Some(chosen) = chosen {
        refuse_keys_of_others(&section, chosen, context);
    }
    section.finish();
    let chosen = chosen?;
    keys.role = role_flag(chosen, context).or(keys.role);
    if chosen != Token && context.environment.secret(VAULT_TOKEN).is_some() {
        context.report.warn(format!(
            "VAULT_TOKEN is set and not used: the login method is {}",
            method_name(chosen)
        ));
    }
    build(chosen, &here, keys, vault, identity, context)
}

fn keys(section: &mut Section<'_>) -> Keys {
    Keys {
        mount: section.string("mount"),
        role: section.string("role"),
        role_id: section.string("role_id"),
        role_id_file: section.file_path("role_id_file"),
        secret_id_file: section.file_path("secret_id_file"),
        secret_id_wrapped: section.boolean("secret_id_wrapped").unwrap_or(false),
        token_file: section.file_path("token_file"),
        jwt_file: section.file_path("jwt_file"),
    }
}

fn method(name: &Located<String>, context: &Context<'_>) -> Option<Method> {
    let known = METHODS.iter().find(|(known, _)| *known == name.value);
    if known.is_none() {
        let message = format!("unknown login method {}", quoted(&name.value));
        let problem = Problem::at(&name.at, message);
        let problem = problem.hint(format!("one of {}", names().collect::<Vec<_>>().join(", ")));
        context.report.problem(problem.did_you_mean(&name.value, names()));
    }
    known.map(|(_, method)| *method)
}

fn names() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|(name, _)| *name)
}

fn method_name(method: Method) -> &'static str {
    METHODS.iter().find(|(_, known)| *known == method).map_or("token", |(name, _)| name)
}

/// The token method, unless keys of another one say that naming it was forgotten.
fn default_method(section: &Section<'_>, context: &Context<'_>) -> Option<Method> {
    let is_other = |(key, methods): &&(&str, &[Method])| {
        section.has(key) && *key != "mount" && !methods.contains(&Token)
    };
    if !KEYS.iter().any(|entry| is_other(&entry)) {
        return Some(Token);
    }
    let problem = Problem::at(&section.at("method"), "is missing");
    let names: Vec<&str> = names().collect();
    context.report.absence(problem.hint(format!("one of {}", names.join(", "))));
    None
}

fn refuse_keys_of_others(section: &Section<'_>, chosen: Method, context: &Context<'_>) {
    for (key, methods) in KEYS {
        if section.has(key) && !methods.contains(&chosen) {
            let message = format!("does not belong to the method {}", method_name(chosen));
            let owners: Vec<&str> = methods.iter().map(|method| method_name(*method)).collect();
            let hint = format!("it belongs to {}", owners.join(", "));
            context.report.problem(Problem::at(&section.at(key), message).hint(hint));
        }
    }
}

fn role_flag(chosen: Method, context: &Context<'_>) -> Option<Located<String>> {
    let value = context.flags.role.clone()?;
    let at = Spot::outside("--role");
    let message = match chosen {
        Token | AppRole => format!("does not belong to the method {}", method_name(chosen)),
        Kubernetes | Jwt | Cert if value.is_empty() => "must not be empty".to_owned(),
        Kubernetes | Jwt | Cert => return Some(Located { value, at }),
    };
    context.report.problem(Problem::at(&at, message));
    None
}

fn build(
    chosen: Method,
    here: &Spot,
    keys: Keys,
    vault: Option<&VaultConfig>,
    identity: &Identity,
    context: &Context<'_>,
) -> Option<AuthMethod> {
    let missing = |key: &str, hint: &str| {
        let at = Spot { path: format!("auth.{key}"), line: here.line };
        context.report.absence(Problem::at(&at, "is missing").hint(hint));
    };
    let checked = |file| {
        check_file(&file, context);
        file.value
    };
    let mount = mount(keys.mount.as_ref(), method_name(chosen), context);
    let has_role = keys.role.is_some();
    let role = keys.role.and_then(|role| identity.fill(&role, context)).map(|role| role.value);
    match chosen {
        Token => token(keys.token_file, context).map(AuthMethod::Token),
        AppRole => {
            let role_id = role_id(keys.role_id, keys.role_id_file, &missing, context);
            let wrapped = keys.secret_id_wrapped;
            if wrapped && keys.secret_id_file.is_none() {
                missing("secret_id_file", "`secret_id_wrapped` says what that file holds");
            }
            let secret_id = keys.secret_id_file.map(|file| {
                check_file(&file, context);
                SecretIdSource { file: file.value, wrapped }
            });
            Some(AuthMethod::AppRole { mount: mount?, role_id: role_id?, secret_id })
        }
        Kubernetes => {
            if !has_role {
                missing("role", "the role of the Kubernetes login, here or with --role");
            }
            let jwt_file = keys.jwt_file.map_or(KUBERNETES_TOKEN.into(), checked);
            Some(AuthMethod::Kubernetes { mount: mount?, role: role?, jwt_file })
        }
        Jwt => {
            if keys.jwt_file.is_none() {
                missing("jwt_file", "the file that holds the token; it is read at every login");
            }
            Some(AuthMethod::Jwt { mount: mount?, role, jwt_file: keys.jwt_file.map(checked)? })
        }
        Cert => {
            want_client_certificate(here, vault, context);
            Some(AuthMethod::Cert { mount: mount?, role })
        }
    }
}

fn want_client_certificate(here: &Spot, vault: Option<&VaultConfig>, context: &Context<'_>) {
    // One without the other was reported where it stands.
    if vault.is_some_and(|vault| vault.client_cert.is_none() && vault.client_key.is_none()) {
        let problem = Problem::at(here, "the method cert needs a client certificate");
        context.report.absence(problem.hint(
            "set vault.client_cert and vault.client_key, or VAULT_CLIENT_CERT and VAULT_CLIENT_KEY",
        ));
    }
}

fn mount(
    given: Option<&Located<String>>,
    default: &str,
    context: &Context<'_>,
) -> Option<VaultPath> {
    let Some(Located { value, at }) = given else {
        return VaultPath::parse(default);
    };
    let Some(path) = VaultPath::parse(value.trim_end_matches('/')) else {
        let message = format!("expected a mount such as {default}, found {}", quoted(value));
        context.report.problem(Problem::at(at, message));
        return None;
    };
    if let Some(mount) = path.as_str().strip_prefix("auth/") {
        let problem = Problem::at(at, "`auth/` is added by itself");
        context.report.problem(problem.hint(format!("write {}", quoted(mount))));
    }
    Some(path)
}

/// `VAULT_TOKEN`, else the file that is named, else the one that `vault login` writes.
fn token(file: Option<Located<PathBuf>>, context: &Context<'_>) -> Option<TokenSource> {
    if let Some(token) = context.environment.secret(VAULT_TOKEN) {
        if file.is_some() {
            context.report.warn("auth.token_file is not used: VAULT_TOKEN is set");
        }
        check_token(token, &Spot::outside(VAULT_TOKEN), context);
        return Some(TokenSource::Environment(Arc::clone(token)));
    }
    let of_login = || {
        let path = context.environment.home.as_ref()?.join(".vault-token");
        path.is_file().then(|| Located { value: path, at: Spot::outside("~/.vault-token") })
    };
    if let Some(file) = file.or_else(of_login) {
        check_token_file(&file, context);
        return Some(TokenSource::File(file.value));
    }
    let problem = Problem::at(&Spot::outside("auth"), "no way to log in to Vault");
    context.report.absence(problem.hint(
        "set VAULT_TOKEN, run `vault login` (which writes ~/.vault-token), name a file with \
         auth.token_file, or choose a method: --auth kubernetes --role ROLE, or [auth] method = \
         with approle, kubernetes, jwt or cert",
    ));
    None
}

fn role_id(
    inline: Option<Located<String>>,
    file: Option<Located<PathBuf>>,
    missing: &impl Fn(&str, &str),
    context: &Context<'_>,
) -> Option<SecretString> {
    match (inline, file) {
        (Some(_), Some(file)) => {
            let problem = Problem::at(&file.at, "`role_id` is given too");
            context.report.problem(problem.hint("keep one of the two"));
            None
        }
        (Some(inline), None) => Some(inline.value.into()),
        (None, Some(file)) => {
            context.report.reads(&file.value);
            match read_text(&file.value) {
                Ok(text) => Some(text.trim().into()),
                Err(problem) => {
                    let message = format!("{} {}", problem.path, problem.message);
                    context.report.problem(Problem::at(&file.at, message));
                    None
                }
            }
        }
        (None, None) => {
            missing("role_id", "set `role_id`, or name a file with `role_id_file`");
            None
        }
    }
}
