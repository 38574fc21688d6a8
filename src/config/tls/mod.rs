//! `[adapters.tls.NAME]`: a port for the outside, with TLS, in front of the application.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::error::{Located, Problem};
use super::load::Context;
use super::secrets::name as parse_name;
use super::section::{Section, quoted};
use super::{AmbassadorSpec, CertificateSpec, Listen, SecretName};

pub(super) mod access;
mod clients;
mod place;
mod spec;

pub use spec::{
    ClientAuth, ClientAuthority, ClientTrust, Forward, Revocation, RevocationSource, TlsHttp,
    TlsLimits, TlsMode, TlsSpec, TlsVersion,
};

const MOMENT: Duration = Duration::from_millis(1);
/// The kernel counts in seconds.
const LEAST_KEEPALIVE: Duration = Duration::from_secs(1);
/// What the name of a protocol may have (RFC 7301, 3.1), in bytes.
const LONGEST_ALPN: usize = 255;

/// What other sections say.
pub(super) struct Others<'a> {
    pub(super) certificates: &'a BTreeMap<SecretName, CertificateSpec>,
    pub(super) listen: &'a Listen,
    pub(super) health: Option<std::net::SocketAddr>,
    pub(super) ambassadors: &'a [AmbassadorSpec],
}

pub(super) fn read(
    mut section: Section<'_>,
    others: &Others<'_>,
    context: &Context<'_>,
) -> Vec<TlsSpec> {
    let mut adapters = Vec::new();
    let mut places = place::Places::new(others);
    for name in section.names() {
        let at = section.at(name);
        if !section.is_table(name) {
            section.named_table(name).finish();
            continue;
        }
        let parsed = parse_name(name, &at, context);
        let table = section.named_table(name);
        adapters.extend(declaration(table, parsed, &mut places, others, context));
    }
    section.finish();
    places.check(context);
    adapters
}

fn declaration(
    mut section: Section<'_>,
    name: Option<SecretName>,
    places: &mut place::Places,
    others: &Others<'_>,
    context: &Context<'_>,
) -> Option<TlsSpec> {
    let listen = places.listen(&mut section, context);
    let forward = places.forward(&mut section, context);
    let certificate = certificate(&mut section, others, context);
    let issuer = certificate.as_ref().and_then(|name| others.certificates.get(name));
    let kind = one_of(&mut section, "mode", &["http", "tcp"], context);
    let is_http = kind.as_deref() != Some("tcp");
    let mode = mode(&mut section, is_http, context);
    let min_version = one_of(&mut section, "min_version", &["1.2", "1.3"], context);
    let min_version = match min_version.as_deref() {
        Some("1.3") => TlsVersion::Tls13,
        _ => TlsVersion::Tls12,
    };
    let accept_proxy_from = networks(&mut section, context);
    let clients = clients::read(&mut section, issuer, context);
    let limits = limits(&mut section, is_http);
    let learns = access::Learns {
        certificate: clients.as_ref().is_none_or(|clients| *clients != ClientAuth::None),
        requests: is_http,
    };
    let access = access::read(&mut section, learns, context);
    section.finish();
    Some(TlsSpec {
        name: name?,
        listen: listen?,
        certificate: certificate?,
        forward: forward?,
        mode,
        min_version,
        accept_proxy_from: accept_proxy_from?,
        clients: clients?,
        access: access?,
        limits,
    })
}

/// One of a few words; `None` without the key, and after a problem was reported.
fn one_of<'a>(
    section: &mut Section<'a>,
    key: &'a str,
    words: &[&'static str],
    context: &Context<'_>,
) -> Option<String> {
    let text = section.string(key)?;
    if words.contains(&text.value.as_str()) {
        return Some(text.value);
    }
    let list = words.join(", ");
    let message = format!("expected one of {list}, found {}", quoted(&text.value));
    let problem = Problem::at(&text.at, message);
    context.report.problem(problem.did_you_mean(&text.value, words.iter().copied()));
    None
}

fn certificate(
    section: &mut Section<'_>,
    others: &Others<'_>,
    context: &Context<'_>,
) -> Option<SecretName> {
    let hint = "the name of the certificate that is shown, declared with [certificates.NAME]";
    let name = section.required("certificate", hint)?;
    if others.certificates.contains_key(name.value.as_str()) {
        return SecretName::parse(&name.value);
    }
    let message = format!("no certificate {} is declared", quoted(&name.value));
    let problem = Problem::at(&name.at, message);
    let known = others.certificates.keys().map(SecretName::as_str);
    let problem = problem.hint(format!("declare it with [certificates.{}]", name.value));
    context.report.absence(problem.did_you_mean(&name.value, known));
    None
}

fn mode(section: &mut Section<'_>, is_http: bool, context: &Context<'_>) -> TlsMode {
    let timeout = |section: &mut Section<'_>, key, default| {
        section.duration(key, MOMENT).unwrap_or(Duration::from_secs(default))
    };
    let header_timeout = timeout(section, "header_timeout", 10);
    let response_timeout = timeout(section, "response_timeout", 60);
    let write_timeout = timeout(section, "write_timeout", 30);
    let max_request_body = section.size("max_request_body");
    let max_concurrent_streams = section.number_in("max_concurrent_streams", 1..=10_000);
    let proxy = one_of(section, "proxy_protocol", &["v2", "none"], context);
    let alpn = alpn(section, context);
    let of_http = [
        "header_timeout",
        "response_timeout",
        "write_timeout",
        "max_request_body",
        "max_concurrent_streams",
    ];
    let (strange, mode): (&[&str], _) =
        if is_http { (&["proxy_protocol", "alpn"], "http") } else { (&of_http, "tcp") };
    for key in strange.iter().filter(|key| section.has(key)) {
        let message = format!("there is no such thing in mode {mode}");
        let problem = Problem::at(&section.at(key), message);
        context.report.problem(problem.hint(match *key {
            "proxy_protocol" => {
                "the application learns from X-Forwarded-For who asked; or take mode = \"tcp\""
            }
            "alpn" => "HTTP/2 and HTTP/1.1 are offered by themselves; or take mode = \"tcp\"",
            _ => "take it out, or take mode = \"http\"",
        }));
    }
    if !is_http {
        return TlsMode::Tcp { proxy_protocol: proxy.as_deref() == Some("v2"), alpn };
    }
    TlsMode::Http(TlsHttp {
        header_timeout,
        response_timeout,
        write_timeout,
        max_request_body,
        max_concurrent_streams: max_concurrent_streams.unwrap_or(100),
    })
}

/// Names of protocols, in the order in which they are preferred.
fn alpn(section: &mut Section<'_>, context: &Context<'_>) -> Vec<Box<str>> {
    let mut names: Vec<Box<str>> = Vec::new();
    for Located { value, at } in section.strings("alpn").unwrap_or_default() {
        let printable = value.bytes().all(|byte| byte.is_ascii_graphic());
        if value.len() > LONGEST_ALPN || !printable {
            let message = format!("expected the name of a protocol, found {}", quoted(&value));
            context
                .report
                .problem(Problem::at(&at, message).hint("write it as in h2 or postgresql"));
        } else if names.iter().any(|name| **name == *value) {
            context.report.problem(Problem::at(&at, format!("{} is named twice", quoted(&value))));
        } else {
            names.push(value.into());
        }
    }
    names
}

fn networks(section: &mut Section<'_>, context: &Context<'_>) -> Option<Vec<IpNet>> {
    if !section.has("accept_proxy_from") {
        section.strings("accept_proxy_from");
        return Some(Vec::new());
    }
    let parse = |text: Located<String>| {
        let address = || text.value.parse::<IpAddr>().ok().map(IpNet::from);
        let network = text.value.parse::<IpNet>().ok().or_else(address);
        if network.is_none() {
            let message = format!("expected a network, found {}", quoted(&text.value));
            let problem = Problem::at(&text.at, message);
            context.report.problem(problem.hint("write it as in 10.0.0.0/8 or fd00::/8"));
        }
        network
    };
    let networks: Vec<_> = section.strings("accept_proxy_from")?.into_iter().map(parse).collect();
    networks.into_iter().collect()
}

fn limits(section: &mut Section<'_>, is_http: bool) -> TlsLimits {
    let max_connections = section.count("max_connections").unwrap_or(1024);
    let mut timeout =
        |key, default| section.duration(key, MOMENT).unwrap_or(Duration::from_secs(default));
    let idle_timeout = timeout("idle_timeout", if is_http { 60 } else { 3600 });
    let (handshake_timeout, connect_timeout) =
        (timeout("handshake_timeout", 10), timeout("connect_timeout", 5));
    let keepalive = section.duration("keepalive", LEAST_KEEPALIVE);
    TlsLimits {
        max_connections: usize::try_from(max_connections).unwrap_or(usize::MAX),
        handshake_timeout,
        connect_timeout,
        idle_timeout,
        keepalive: keepalive.unwrap_or(Duration::from_secs(30)),
    }
}
