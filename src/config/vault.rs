//! `[vault]`, and the variables that the `vault` CLI knows.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::VaultConfig;
use super::error::{Located, Problem, Spot};
use super::load::Context;
use super::section::{Section, quoted};

const DEFAULT_ADDRESS: &str = "https://127.0.0.1:8200";
const DEFAULT_REQUESTS_PER_SECOND: u32 = 5;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn read(mut section: Section<'_>, context: &Context<'_>) -> Option<VaultConfig> {
    let environment = context.environment;
    let flag = context.flags.vault_addr.clone();
    let flag = flag.map(|value| Located { value, at: Spot::outside("--vault-addr") });
    let file = section.string("address");
    let address = flag.or(environment.value("VAULT_ADDR")).or(file);
    let namespace = setting(&mut section, "namespace", "VAULT_NAMESPACE", context);
    let server_name = setting(&mut section, "tls_server_name", "VAULT_TLS_SERVER_NAME", context);
    let skip_verify = skip_verify(&mut section, context);
    let client_cert = file_setting(&mut section, "client_cert", "VAULT_CLIENT_CERT", context);
    let client_key = file_setting(&mut section, "client_key", "VAULT_CLIENT_KEY", context);
    both_or_none(client_cert.as_ref(), client_key.as_ref(), context);
    let ca_cert = file_setting(&mut section, "ca_cert", "VAULT_CACERT", context);
    let ca_path = file_setting(&mut section, "ca_path", "VAULT_CAPATH", context);
    let ceiling = section.count("max_requests_per_second");
    let timeout = section.duration("timeout", Duration::from_millis(1));
    let start_jitter = section.duration("start_jitter", Duration::ZERO);
    section.finish();
    let address = self::address(address.as_ref(), context);
    let namespace = namespace.and_then(|name| header_value(&name, context));
    let tls_server_name = server_name.and_then(|name| server_name_value(&name, context));
    Some(VaultConfig {
        address: address?,
        namespace,
        ca_cert: ca_cert.map(value),
        ca_path: ca_path.map(value),
        client_cert: client_cert.map(value),
        client_key: client_key.map(value),
        tls_server_name,
        skip_verify,
        max_requests_per_second: ceiling.unwrap_or(DEFAULT_REQUESTS_PER_SECOND),
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
        start_jitter: start_jitter.unwrap_or_default(),
    })
}

/// What the environment says, else what the file says. The file's is checked in any case.
fn setting<'a>(
    section: &mut Section<'a>,
    key: &'a str,
    variable: &str,
    context: &Context<'_>,
) -> Option<Located<String>> {
    let file = section.string(key);
    context.environment.value(variable).or(file)
}

fn file_setting<'a>(
    section: &mut Section<'a>,
    key: &'a str,
    variable: &str,
    context: &Context<'_>,
) -> Option<Located<PathBuf>> {
    let file = section.file_path(key);
    let environment = context.environment.value(variable);
    environment.map(|path| Located { value: path.value.into(), at: path.at }).or(file)
}

fn value<T>(located: Located<T>) -> T {
    located.value
}

/// An address is not quoted in problems: it may have a password in it.
fn address(given: Option<&Located<String>>, context: &Context<'_>) -> Option<Url> {
    let default = Spot::outside("vault.address");
    let (text, at) =
        given.map_or((DEFAULT_ADDRESS, &default), |given| (given.value.as_str(), &given.at));
    let complain = |message: &str, hint: &str| {
        context.report.problem(Problem::at(at, message).hint(hint));
        None
    };
    let example = "write it as in https://vault.example.com:8200";
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return complain(&format!("not a URL: {error}"), example),
    };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return complain("expected a URL that starts with https:// or http://", example);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return complain("a user name or password has no place in the address", example);
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return complain(
            "expected scheme, host and port alone",
            "leave out what follows the port: `/v1/…` is added by itself",
        );
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        context.report.warn(format!(
            "{}: tokens and secrets travel to Vault unencrypted over http://, which anyone on the \
             way can read",
            at.path
        ));
    }
    Some(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn skip_verify(section: &mut Section<'_>, context: &Context<'_>) -> bool {
    let file = section.boolean("skip_verify").map(|skip| (skip, section.at("skip_verify")));
    let environment = context.environment.value("VAULT_SKIP_VERIFY").and_then(|text| {
        let skip = match text.value.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" => true,
            "0" | "f" | "false" => false,
            _ => {
                let message = format!("expected true or false, found {}", quoted(&text.value));
                context.report.problem(Problem::at(&text.at, message));
                return None;
            }
        };
        Some((skip, text.at))
    });
    let Some((true, at)) = environment.or(file) else {
        return false;
    };
    context.report.warn(format!(
        "{}: Vault's certificate is not verified, so whoever answers in its place gets the login \
         and chooses the secrets",
        at.path
    ));
    true
}

fn both_or_none(
    cert: Option<&Located<PathBuf>>,
    key: Option<&Located<PathBuf>>,
    context: &Context<'_>,
) {
    let (given, missing, variable) = match (cert, key) {
        (Some(cert), None) => (cert, "client_key", "VAULT_CLIENT_KEY"),
        (None, Some(key)) => (key, "client_cert", "VAULT_CLIENT_CERT"),
        _ => return,
    };
    let problem = Problem::at(&given.at, format!("needs `{missing}` beside it"));
    context.report.absence(problem.hint(format!("set vault.{missing} or {variable}")));
}

fn header_value(text: &Located<String>, context: &Context<'_>) -> Option<String> {
    if text.value.bytes().all(|c| c.is_ascii_graphic()) {
        return Some(text.value.clone());
    }
    let message = format!("expected a namespace such as team-a, found {}", quoted(&text.value));
    context.report.problem(Problem::at(&text.at, message));
    None
}

fn server_name_value(text: &Located<String>, context: &Context<'_>) -> Option<String> {
    if rustls_pki_types::ServerName::try_from(text.value.as_str()).is_ok() {
        return Some(text.value.clone());
    }
    let message = format!("expected a DNS name or an IP address, found {}", quoted(&text.value));
    context.report.problem(Problem::at(&text.at, message));
    None
}
