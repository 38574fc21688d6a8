//! What an ambassador makes of a secret.

use http::HeaderName;

use super::super::error::Problem;
use super::super::load::Context;
use super::super::section::{Section, quoted};
use super::{
    AmbassadorProtocol, HeaderForm, HeaderSpec, Others, PostgresUser, Protocol, SecretName,
    declared_name,
};
use crate::config::SIDEKEY_TOKEN_HEADER;

const FORMS: &str = "one of bearer, basic and header";

/// The framing of a message, its addressee, and what belongs to one connection are not to be had.
const NOT_OURS: [&str; 14] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    SIDEKEY_TOKEN_HEADER,
];

/// Every key, so that those of another protocol are a problem of their own.
#[derive(Default)]
struct Keys {
    credential: Option<String>,
    header: Option<String>,
    prefix: Option<String>,
    field: Option<Box<str>>,
    user_field: Option<Box<str>>,
    password_field: Option<Box<str>>,
    user: Option<Box<str>>,
    database: Option<Box<str>>,
}

/// All that is about a secret.
const OF_A_SECRET: [&str; 6] =
    ["credential", "header", "prefix", "field", "user_field", "password_field"];

pub(super) fn read(
    section: &mut Section<'_>,
    protocol: Option<Protocol>,
    certificate: Option<SecretName>,
    others: &Others<'_>,
    context: &Context<'_>,
) -> Option<AmbassadorProtocol> {
    let mut text = |key| section.string(key).map(|located| located.value);
    let keys = Keys {
        credential: text("credential"),
        header: text("header"),
        prefix: text("prefix"),
        field: text("field").map(Into::into),
        user_field: text("user_field").map(Into::into),
        password_field: text("password_field").map(Into::into),
        user: text("user").map(Into::into),
        database: text("database").map(Into::into),
    };
    let by_certificate = section.has("client_certificate") && !section.has("secret");
    let secret = match protocol {
        Some(Protocol::Tcp) => section.string("secret").and(None),
        _ if by_certificate => None,
        _ => secret(section, others, context),
    };
    if by_certificate && protocol != Some(Protocol::Tcp) {
        refuse(&OF_A_SECRET, "about a secret, and none is named", section);
    }
    match protocol? {
        Protocol::Tcp => {
            refuse(&["secret", "user", "database"], "another protocol's", section);
            refuse(&OF_A_SECRET, "another protocol's", section);
            Some(AmbassadorProtocol::Tcp)
        }
        Protocol::Http if by_certificate => {
            refuse(&["user", "database"], "PostgreSQL's", section);
            Some(AmbassadorProtocol::Http(None))
        }
        Protocol::Http => {
            let header = http(keys, secret, section, context)?;
            Some(AmbassadorProtocol::Http(Some(header)))
        }
        Protocol::Postgres => {
            let user = if by_certificate {
                // As the server's `cert` method has it, unless it is told otherwise.
                let spec = certificate.and_then(|name| others.certificates.get(&name));
                let common_name = || Some(spec?.common_name.as_str().into());
                PostgresUser::Certified(keys.user.or_else(common_name)?)
            } else {
                user_of(secret, &keys, section)?
            };
            Some(AmbassadorProtocol::Postgres { user, database: keys.database })
        }
    }
}

fn secret(
    section: &mut Section<'_>,
    others: &Others<'_>,
    context: &Context<'_>,
) -> Option<SecretName> {
    let hint = "the name of the secret that the credential is made of";
    let name = section.required("secret", hint)?;
    if others.certificates.contains_key(name.value.as_str()) {
        let problem = Problem::at(&name.at, "a certificate is no secret with fields");
        let hint = "name a secret under [secrets]; client_certificate shows a certificate";
        context.report.problem(problem.hint(hint));
        return None;
    }
    declared_name(&name, others.secrets, context)
}

fn user_of(secret: Option<SecretName>, keys: &Keys, section: &Section<'_>) -> Option<PostgresUser> {
    refuse(&["credential", "header", "prefix", "field"], "HTTP's", section);
    refuse(&["user"], "for a client certificate alone: the secret has one", section);
    let field = |chosen: &Option<Box<str>>, usual: &str| chosen.clone().unwrap_or(usual.into());
    Some(PostgresUser::OfSecret {
        secret: secret?,
        user_field: field(&keys.user_field, "username"),
        password_field: field(&keys.password_field, "password"),
    })
}

fn http(
    keys: Keys,
    secret: Option<SecretName>,
    section: &Section<'_>,
    context: &Context<'_>,
) -> Option<HeaderSpec> {
    refuse(&["user", "database"], "PostgreSQL's", section);
    let Some(form) = keys.credential else {
        section.missing("credential", FORMS);
        return None;
    };
    let name = keys
        .header
        .map_or(Some(http::header::AUTHORIZATION), |name| header_name(&name, section, context));
    let value = match form.as_str() {
        "bearer" => {
            refuse(&["prefix", "user_field", "password_field"], "another form's", section);
            let field = keys.field.unwrap_or("token".into());
            HeaderForm::Field { prefix: "Bearer ".into(), field }
        }
        "basic" => {
            refuse(&["prefix", "field"], "another form's", section);
            HeaderForm::Basic {
                user_field: keys.user_field.unwrap_or("username".into()),
                password_field: keys.password_field.unwrap_or("password".into()),
            }
        }
        "header" => {
            refuse(&["user_field", "password_field"], "another form's", section);
            for key in ["header", "field"] {
                let hint = "header = \"X-Api-Key\" and the field of the secret: field = \"key\"";
                section.missing(key, hint);
            }
            let prefix = keys.prefix.unwrap_or_default();
            if http::HeaderValue::from_str(&prefix).is_err() {
                let problem = Problem::at(&section.at("prefix"), "not to be had in a header");
                context.report.problem(problem);
            }
            HeaderForm::Field { prefix: prefix.into(), field: keys.field? }
        }
        other => {
            let message = format!("unknown form {}", quoted(other));
            context.report.problem(Problem::at(&section.at("credential"), message).hint(FORMS));
            return None;
        }
    };
    Some(HeaderSpec { secret: secret?, name: name?, value })
}

fn header_name(name: &str, section: &Section<'_>, context: &Context<'_>) -> Option<HeaderName> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
    let parsed = parsed.filter(|name| !NOT_OURS.contains(&name.as_str()));
    if parsed.is_none() {
        let message = format!("{} cannot carry a credential", quoted(name));
        let hint = "the name of a header that the destination reads, such as X-Api-Key";
        context.report.problem(Problem::at(&section.at("header"), message).hint(hint));
    }
    parsed
}

fn refuse(keys: &[&str], whose: &str, section: &Section<'_>) {
    section.refuse(keys, &format!("the key is {whose}"), "leave it out");
}
