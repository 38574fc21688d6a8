//! Where an ambassador connects to, and how it judges who answers there.

use std::net::{IpAddr, Ipv6Addr};

use rustls_pki_types::ServerName;
use url::{Host, Url};

use super::super::error::{Located, Problem};
use super::super::load::Context;
use super::super::section::Section;
use super::{Destination, DestinationTls, Protocol, SecretName};

const POSTGRES_PORT: u16 = 5432;
/// What nobody says of a destination without TLS.
const OF_TLS: [&str; 3] = ["ca_cert", "server_name", "client_certificate"];

struct Place {
    host: Box<str>,
    port: u16,
    tls: bool,
}

pub(super) fn read(
    section: &mut Section<'_>,
    protocol: Option<Protocol>,
    client_certificate: Option<SecretName>,
    context: &Context<'_>,
) -> Option<Destination> {
    let hint = match protocol {
        Some(Protocol::Postgres) => "host and port, such as db.internal:5432",
        Some(Protocol::Tcp) => "host and port, such as cache.internal:6379",
        _ => "a URL without a path, such as https://api.example.com",
    };
    let text = section.required("destination", hint);
    let tls = section.boolean("tls");
    let ca_cert = section.file_path("ca_cert");
    let server_name = section.string("server_name");
    if protocol == Some(Protocol::Http) && section.has("tls") {
        let problem = Problem::at(&section.at("tls"), "the destination's scheme says it");
        context.report.problem(problem.hint("https:// is with TLS, http:// without"));
    }
    let text = text?;
    let tls = tls.or(section.has("client_certificate").then_some(true));
    let place = match protocol? {
        Protocol::Http => from_url(&text, context),
        Protocol::Postgres => from_authority(&text, Some(POSTGRES_PORT), tls, context),
        Protocol::Tcp => from_authority(&text, None, tls, context),
    }?;
    if !place.tls {
        let message = "the destination is reached without TLS";
        section.refuse(&OF_TLS, message, "leave it out, or use TLS");
        if !is_loopback(&place.host) {
            let what =
                if protocol == Some(Protocol::Tcp) { "everything" } else { "the credential" };
            context.report.warn(format!(
                "{}: {what} travels unencrypted, which anyone on the way can read",
                text.at.path
            ));
        }
    }
    let name = server_name.map_or_else(|| place.host.to_string(), |name| name.value);
    let Ok(name) = ServerName::try_from(name) else {
        let key = if section.has("server_name") { "server_name" } else { "destination" };
        let message = "expected a DNS name or an IP address";
        context.report.problem(Problem::at(&section.at(key), message));
        return None;
    };
    let ca_cert = ca_cert.map(|file| file.value);
    let tls = place.tls.then_some(DestinationTls { name, ca_cert, client_certificate });
    Some(Destination { host: place.host, port: place.port, tls })
}

/// Not quoted in problems: it may have a password in it.
fn from_url(text: &Located<String>, context: &Context<'_>) -> Option<Place> {
    let complain = |message: &str, hint: &str| {
        context.report.problem(Problem::at(&text.at, message).hint(hint));
        None
    };
    let example = "write it as in https://api.example.com";
    let Ok(url) = Url::parse(&text.value) else { return complain("not a URL", example) };
    if !matches!(url.scheme(), "http" | "https") {
        return complain("expected a URL that starts with https:// or http://", example);
    }
    if !url.username().is_empty() || url.password().is_some() {
        let hint = "the credential comes from the secret";
        return complain("a user name or password has no place in it", hint);
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        let hint = "paths are the application's: they are passed on as they are";
        return complain("expected scheme, host and port alone", hint);
    }
    let (host, port) = (bare(&url.host()?), url.port_or_known_default()?);
    Some(Place { host, port, tls: url.scheme() == "https" })
}

fn from_authority(
    text: &Located<String>,
    default_port: Option<u16>,
    tls: Option<bool>,
    context: &Context<'_>,
) -> Option<Place> {
    let value = text.value.as_str();
    let (host, port) = match value.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        _ => (value, default_port),
    };
    let host = Host::parse(host).ok().filter(|_| !value.contains(['/', '@']));
    let (Some(host), Some(port)) = (host, port.filter(|port| *port != 0)) else {
        let problem = Problem::at(&text.at, "expected host and port");
        context.report.problem(problem.hint("write it as in db.internal:5432"));
        return None;
    };
    let host = bare(&host);
    let tls = tls.unwrap_or_else(|| !is_loopback(&host));
    Some(Place { host, port, tls })
}

/// A host without the brackets of IPv6.
fn bare<S: std::fmt::Display>(host: &Host<S>) -> Box<str> {
    match host {
        Host::Domain(name) => name.to_string().into(),
        Host::Ipv4(ip) => ip.to_string().into(),
        Host::Ipv6(ip) => Ipv6Addr::to_string(ip).into(),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
