//! `[adapters.tls.NAME.jwt]`.

use std::time::Duration;

use http::{HeaderName, header};
use jsonwebtoken::{Algorithm, AlgorithmFamily};

use super::{JwtSpec, KeyAddress, KeySource};
use crate::config::error::{Located, Problem};
use crate::config::load::Context;
use crate::config::section::{Section, quoted};
use crate::scope::is_alike;

const MOST_LEEWAY: Duration = Duration::from_mins(5);
const SECOND: Duration = Duration::from_secs(1);
const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
];
const DEFAULT: [Algorithm; 5] =
    [Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA, Algorithm::PS256, Algorithm::RS256];

/// They say where a request goes, how it is framed and who sent it.
const NOT_OURS: [&str; 15] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

pub(super) fn read(mut section: Section<'_>, context: &Context<'_>) -> Option<JwtSpec> {
    let issuer = section.required("issuer", "what tokens have in `iss`: https://id.example.com");
    let audience = audience(&mut section, context);
    let keys = keys(&mut section, issuer.as_ref(), context);
    let ca_cert = section.file_path("jwks_ca").map(|file| file.value);
    let algorithms = algorithms(&mut section, context);
    let leeway = leeway(&mut section, context);
    let required = section.boolean("required").unwrap_or(true);
    let header = token_header(&mut section, context);
    let pass_token = section.boolean("pass_token").unwrap_or(false);
    let forward = forward(&mut section, header.as_ref(), context);
    let refresh = section.duration("jwks_refresh", SECOND);
    let max_stale = section.duration("jwks_max_stale", Duration::ZERO);
    let timeout = section.duration("jwks_timeout", Duration::from_millis(1));
    section.finish();
    Some(JwtSpec {
        issuer: issuer?.value.into(),
        audience: audience?,
        keys: keys?,
        ca_cert,
        algorithms: algorithms?,
        leeway,
        required,
        header: header?,
        pass_token,
        forward: forward?,
        refresh: refresh.unwrap_or(Duration::from_mins(10)),
        max_stale: max_stale.unwrap_or(Duration::from_hours(1)),
        timeout: timeout.unwrap_or(Duration::from_secs(5)),
    })
}

fn audience(section: &mut Section<'_>, context: &Context<'_>) -> Option<Vec<Box<str>>> {
    let hint = "what tokens for this application have in `aud`; without it a token that was \
                issued for another application would do";
    section.missing("audience", hint);
    if section.is_empty_list("audience") {
        let problem = Problem::at(&section.at("audience"), "an empty list refuses every token");
        context.report.problem(problem.hint(hint));
    }
    Some(section.strings("audience")?.into_iter().map(|text| text.value.into()).collect())
}

fn keys(
    section: &mut Section<'_>,
    issuer: Option<&Located<String>>,
    context: &Context<'_>,
) -> Option<KeySource> {
    let parse = |text: &str, at: &Located<String>, hint: &str| {
        let address = KeyAddress::parse(text);
        if address.is_none() {
            // Not quoted: it may have a password in it.
            let message = "expected a URL that starts with https://, or http:// on loopback";
            context.report.problem(Problem::at(&at.at, message).hint(hint));
        }
        address
    };
    let given = section.has("jwks_url");
    if let Some(text) = section.string("jwks_url") {
        let hint = "where the issuer publishes its keys: https://id.example.com/jwks.json";
        return parse(&text.value, &text, hint).map(KeySource::Keys);
    }
    let issuer = issuer.filter(|_| !given)?;
    let base = issuer.value.strip_suffix('/').unwrap_or(&issuer.value);
    let metadata = format!("{base}/.well-known/openid-configuration");
    let hint = "the issuer's keys are found through its URL; name their place with `jwks_url`";
    parse(&metadata, issuer, hint).map(KeySource::Metadata)
}

fn algorithms(section: &mut Section<'_>, context: &Context<'_>) -> Option<Vec<Algorithm>> {
    if section.is_empty_list("algorithms") {
        let problem = Problem::at(&section.at("algorithms"), "an empty list refuses every token");
        context.report.problem(problem.hint("leave it out for the usual ones"));
    }
    if !section.has("algorithms") {
        section.strings("algorithms");
        return Some(DEFAULT.to_vec());
    }
    let found = section.strings("algorithms")?.into_iter().map(|text| algorithm(&text, context));
    found.collect()
}

fn algorithm(text: &Located<String>, context: &Context<'_>) -> Option<Algorithm> {
    let word = text.value.as_str();
    if let Some((_, algorithm)) = ALGORITHMS.iter().find(|(name, _)| *name == word) {
        return Some(*algorithm);
    }
    let is_hmac = word.parse::<Algorithm>().is_ok_and(|it| it.family() == AlgorithmFamily::Hmac);
    let message = if is_hmac || word.eq_ignore_ascii_case("none") {
        format!("{word} proves nothing about who issued a token")
    } else {
        format!("unknown algorithm {}", quoted(word))
    };
    let problem = Problem::at(&text.at, message);
    let names = ALGORITHMS.map(|(name, _)| name);
    let problem = problem.hint(format!("any of {}", names.join(", ")));
    context.report.problem(if is_hmac { problem } else { problem.did_you_mean(word, names) });
    None
}

fn leeway(section: &mut Section<'_>, context: &Context<'_>) -> Duration {
    let leeway = section.duration("leeway", Duration::ZERO).unwrap_or(Duration::from_secs(30));
    if leeway > MOST_LEEWAY {
        let problem = Problem::at(&section.at("leeway"), "expected at most 5m");
        context.report.problem(problem.hint("it is for clocks that are a little off"));
    }
    leeway
}

fn token_header(section: &mut Section<'_>, context: &Context<'_>) -> Option<HeaderName> {
    if !section.has("header") {
        section.string("header");
        return Some(header::AUTHORIZATION);
    }
    let text = section.string("header")?;
    let name = HeaderName::from_bytes(text.value.as_bytes()).ok();
    let name = name.filter(|name| *name == header::AUTHORIZATION || is_free(name));
    if name.is_none() {
        let message = format!("{} carries no token", quoted(&text.value));
        let hint = "Authorization, or the header in which a proxy in front puts it";
        context.report.problem(Problem::at(&text.at, message).hint(hint));
    }
    name
}

/// Claims and the headers that they go into.
fn forward(
    section: &mut Section<'_>,
    of_token: Option<&HeaderName>,
    context: &Context<'_>,
) -> Option<Vec<(Box<str>, HeaderName)>> {
    let mut table = section.table("forward");
    let mut found: Vec<(Box<str>, HeaderName)> = Vec::new();
    let mut fine = true;
    for claim in table.names() {
        let Some(text) = table.string(claim) else {
            fine = false;
            continue;
        };
        let name = HeaderName::from_bytes(text.value.as_bytes()).ok().filter(is_free);
        let taken = |name: &HeaderName| {
            let alike = |other: &HeaderName| is_alike(other.as_str(), name.as_str());
            of_token.is_some_and(alike) || found.iter().any(|(_, other)| alike(other))
        };
        match name {
            Some(name) if !taken(&name) => found.push((claim.into(), name)),
            _ => {
                fine = false;
                let message = format!("{} cannot carry a claim", quoted(&text.value));
                let hint = "a header of its own that the application reads, such as X-User";
                context.report.problem(Problem::at(&text.at, message).hint(hint));
            }
        }
    }
    table.finish();
    fine.then_some(found)
}

fn is_free(name: &HeaderName) -> bool {
    let name = name.as_str();
    !NOT_OURS.iter().any(|other| is_alike(name, other)) && !name.starts_with("x-forwarded")
}
