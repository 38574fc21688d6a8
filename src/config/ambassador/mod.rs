//! `[adapters.ambassador.NAME]`: where the application connects without a credential, and where
//! it gets to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::callers::declared_name;
use super::error::Problem;
use super::load::Context;
use super::secrets::name as parse_name;
use super::section::{Section, quoted};
use super::{AbstractName, CallerRule, CertificateSpec, Listen, SecretName, listen, scope};
use crate::scope::Scope;

mod credential;
mod destination;
mod spec;

pub use spec::{
    AmbassadorListen, AmbassadorProtocol, AmbassadorSpec, Destination, DestinationTls, HeaderForm,
    HeaderSpec, PostgresUser,
};

const MOMENT: Duration = Duration::from_millis(1);
/// The kernel counts whole seconds.
const LEAST_KEEPALIVE: Duration = Duration::from_secs(1);
const PROTOCOLS: [&str; 3] = ["http", "postgres", "tcp"];
const PROTOCOLS_HINT: &str = "one of http, postgres and tcp";

/// What the protocol is, before all that belongs to it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http,
    Postgres,
    Tcp,
}

/// What other sections say.
pub(super) struct Others<'a> {
    /// Names of secrets and certificates.
    pub(super) secrets: &'a BTreeSet<String>,
    pub(super) certificates: &'a BTreeMap<SecretName, CertificateSpec>,
    pub(super) callers: &'a [CallerRule],
    pub(super) listen: &'a Listen,
    pub(super) health: Option<std::net::SocketAddr>,
}

pub(super) fn read(
    mut section: Section<'_>,
    others: &Others<'_>,
    context: &Context<'_>,
) -> Vec<AmbassadorSpec> {
    let mut ambassadors: Vec<AmbassadorSpec> = Vec::new();
    for name in section.names() {
        let at = section.at(name);
        if !section.is_table(name) {
            section.named_table(name).finish();
            continue;
        }
        let name = (name, parse_name(name, &at, context));
        let taken: Vec<_> = ambassadors.iter().map(|other| other.listen.clone()).collect();
        let spec = declaration(section.named_table(name.0), name.1, &taken, others, context);
        ambassadors.extend(spec);
    }
    section.finish();
    ambassadors
}

fn declaration(
    mut section: Section<'_>,
    name: Option<SecretName>,
    taken: &[AmbassadorListen],
    others: &Others<'_>,
    context: &Context<'_>,
) -> Option<AmbassadorSpec> {
    let listen = listen(&mut section, taken, others, context);
    let protocol = protocol(&mut section, context);
    let certificate = certificate(&mut section, others, context);
    let destination = destination::read(&mut section, protocol, certificate.clone(), context);
    let credential = credential::read(&mut section, protocol, certificate, others, context);
    let scope = scope(&mut section, protocol, context);
    let allow = allow(&mut section, protocol, others, context);
    let is_tcp = protocol == Some(Protocol::Tcp);
    if is_tcp && section.has("response_timeout") {
        let message = "the key is HTTP's and PostgreSQL's";
        let problem = Problem::at(&section.at("response_timeout"), message);
        context
            .report
            .problem(problem.hint("idle_timeout ends a connection on which nothing moves"));
    }
    let mut timeout =
        |key, least, default| section.duration(key, least).unwrap_or(Duration::from_secs(default));
    let connect_timeout = timeout("connect_timeout", MOMENT, 5);
    let response_timeout = timeout("response_timeout", MOMENT, 60);
    let idle_timeout = timeout("idle_timeout", MOMENT, if is_tcp { 3600 } else { 30 });
    let keepalive = timeout("keepalive", LEAST_KEEPALIVE, 15);
    let most = section.count("max_connections");
    section.finish();
    Some(AmbassadorSpec {
        name: name?,
        listen: listen?,
        destination: destination?,
        protocol: credential?,
        scope,
        allow: allow?,
        connect_timeout,
        response_timeout,
        idle_timeout,
        keepalive,
        max_connections: most.map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
    })
}

fn listen(
    section: &mut Section<'_>,
    taken: &[AmbassadorListen],
    others: &Others<'_>,
    context: &Context<'_>,
) -> Option<AmbassadorListen> {
    let hint = "a loopback address such as 127.0.0.1:9001, or an abstract unix socket such as @api";
    let text = section.required("listen", hint)?;
    let found = if text.value.starts_with('@') {
        listen::abstract_name(&text, context).map(AmbassadorListen::Unix)
    } else {
        listen::loopback(&text, context).map(AmbassadorListen::Tcp)
    }?;
    let is_taken = match &found {
        AmbassadorListen::Tcp(addr) if addr.get().port() == 0 => false,
        AmbassadorListen::Tcp(addr) => {
            others.listen.tcp.contains(addr)
                || others.health == Some(addr.get())
                || taken.contains(&found)
        }
        AmbassadorListen::Unix(name) => {
            others.listen.unix.as_ref().is_some_and(|own: &AbstractName| own == name)
                || taken.contains(&found)
        }
    };
    if is_taken {
        let problem = Problem::at(&text.at, format!("{found} is listened on already"));
        context.report.problem(problem.hint("each listener has an address of its own"));
    }
    Some(found)
}

fn protocol(section: &mut Section<'_>, context: &Context<'_>) -> Option<Protocol> {
    let text = section.required("protocol", PROTOCOLS_HINT)?;
    match text.value.as_str() {
        "http" => Some(Protocol::Http),
        "postgres" => Some(Protocol::Postgres),
        "tcp" => Some(Protocol::Tcp),
        other => {
            let problem = Problem::at(&text.at, format!("unknown protocol {}", quoted(other)));
            let problem = problem.hint(PROTOCOLS_HINT).did_you_mean(other, PROTOCOLS);
            context.report.problem(problem);
            None
        }
    }
}

/// The certificate that is shown to the destination, when there is to be one.
fn certificate(
    section: &mut Section<'_>,
    others: &Others<'_>,
    context: &Context<'_>,
) -> Option<SecretName> {
    let text = section.string("client_certificate")?;
    let declared = others.certificates.keys().find(|name| name.as_str() == text.value);
    if let Some(name) = declared {
        return Some(name.clone());
    }
    let message = format!("no certificate {} is declared", quoted(&text.value));
    let problem = Problem::at(&text.at, message);
    let names = others.certificates.keys().map(SecretName::as_str);
    let problem = problem.hint("declare it under [certificates]");
    context.report.absence(problem.did_you_mean(&text.value, names));
    None
}

fn scope(section: &mut Section<'_>, protocol: Option<Protocol>, context: &Context<'_>) -> Scope {
    let scope = scope::read(section, context);
    if protocol.is_some_and(|protocol| protocol != Protocol::Http) {
        section.refuse(&["methods", "paths"], "the key is HTTP's", "leave it out");
    }
    scope
}

fn allow(
    section: &mut Section<'_>,
    protocol: Option<Protocol>,
    others: &Others<'_>,
    context: &Context<'_>,
) -> Option<BTreeSet<String>> {
    let names = section.strings("allow");
    if !section.has("allow") || section.is_empty_list("allow") {
        let problem = Problem::at(&section.at("allow"), "nobody may use it");
        let hint = "allow = [\"app\"] with names of [[callers]] rules";
        context.report.absence(problem.hint(hint));
    }
    let names = names?;
    for name in &names {
        let rule = others.callers.iter().find(|rule| rule.name == name.value);
        let Some(rule) = rule else {
            let message = format!("no caller {} is declared", quoted(&name.value));
            let problem = Problem::at(&name.at, message);
            let callers = others.callers.iter().map(|rule| rule.name.as_str());
            let problem = problem.hint("declare it with [[callers]], or take it out of the list");
            context.report.absence(problem.did_you_mean(&name.value, callers));
            continue;
        };
        if rule.token.is_some() && matches!(protocol, Some(Protocol::Postgres | Protocol::Tcp)) {
            let message = format!("the caller {} has to show a token", rule.name);
            let hint = "the protocol has no place for it: allow a rule that goes by uid alone";
            context.report.problem(Problem::at(&name.at, message).hint(hint));
        }
    }
    Some(names.into_iter().map(|name| name.value).collect())
}
