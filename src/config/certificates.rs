//! `[certificates.NAME]`: what is issued by Vault's PKI engine.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::error::{Located, Problem};
use super::identity::Identity;
use super::load::Context;
use super::secrets::Declared;
use super::section::{Section, quoted};
use super::{SecretName, VaultPath};

/// One certificate of Vault's PKI engine.
#[derive(Debug, Clone, PartialEq)]
pub struct CertificateSpec {
    /// Where the engine is mounted; default `pki`.
    pub mount: VaultPath,
    /// The role of the mount that issues it.
    pub role: String,
    /// Whom it is for, placeholders filled in.
    pub common_name: String,
    /// Further host names.
    pub alt_names: Vec<String>,
    /// IP addresses that it is good for.
    pub ip_sans: Vec<IpAddr>,
    /// URIs that it is good for.
    pub uri_sans: Vec<String>,
    /// The life that is asked for; `None` for the role's own.
    pub ttl: Option<Duration>,
    /// Who makes the private key.
    pub key: KeyOrigin,
    /// How much of its life has passed when it is replaced, at the latest; default 67.
    pub renew_at_percent: u32,
    /// Readiness waits for it.
    pub required: bool,
    /// Revoke it when it is handed back; default on.
    pub revoke: bool,
    /// Revoke a replaced one this long after the new one is served; `None` (default) leaves it
    /// to its users until it ends, or the sidecar does.
    pub revoke_replaced_after: Option<Duration>,
}

impl CertificateSpec {
    /// The same certificate, kept as `other` is. The life to ask for is the next one's affair.
    pub(super) fn kept_as(&self, other: &Self) -> Self {
        Self {
            ttl: other.ttl,
            renew_at_percent: other.renew_at_percent,
            required: other.required,
            revoke: other.revoke,
            revoke_replaced_after: other.revoke_replaced_after,
            ..self.clone()
        }
    }

    /// Every host name that it is asked for, the common name first when it is one.
    pub fn host_names(&self) -> impl Iterator<Item = &str> {
        let common_name = Some(&self.common_name)
            .filter(|name| is_host_name(name) && !self.alt_names.contains(name));
        common_name.into_iter().chain(&self.alt_names).map(String::as_str)
    }
}

/// Who makes a certificate's private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOrigin {
    /// The sidecar where the role signs such a key, else Vault.
    Auto(KeyType),
    /// The sidecar; Vault sees a signing request alone.
    Local(KeyType),
    /// Vault, which sends it. Its type is the role's affair.
    Vault,
}

/// A private key made in the sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// Ed25519.
    Ed25519,
}

/// A shorter life is over before it can be renewed with care.
const SHORTEST_TTL: Duration = Duration::from_secs(5);
const DEFAULT_RENEW_AT_PERCENT: u32 = 67;

/// The certificates; their names are added to those of `declared`, with which they share the
/// callers' `allow`, the audit log and the events.
pub(super) fn read(
    mut section: Section<'_>,
    declared: &mut Declared,
    identity: &Identity,
    context: &Context<'_>,
) -> BTreeMap<SecretName, CertificateSpec> {
    let mut certificates = BTreeMap::new();
    for name in section.names() {
        let at = section.at(name);
        if !declared.names.insert(name.to_owned()) {
            let problem = Problem::at(&at, "a secret has this name too");
            context.report.problem(
                problem.hint("callers' rules name secrets and certificates alike: rename one"),
            );
        }
        if !section.is_table(name) {
            section.named_table(name).finish();
            continue;
        }
        let spec = declaration(section.named_table(name), identity, context);
        certificates.extend(super::secrets::name(name, &at, context).zip(spec));
    }
    section.finish();
    certificates
}

fn declaration(
    mut section: Section<'_>,
    identity: &Identity,
    context: &Context<'_>,
) -> Option<CertificateSpec> {
    let mount = mount(&mut section, identity, context);
    let role = role(&mut section, identity, context);
    let common_name = common_name(&mut section, identity, context);
    let alt_names = list(&mut section, "alt_names", identity, context, |name| {
        is_host_name(name).then(|| name.to_owned()).ok_or("a host name such as app.example.io")
    });
    let ip_sans = list(&mut section, "ip_sans", identity, context, |ip| {
        ip.parse::<IpAddr>().map_err(|_| "an IP address")
    });
    let uri_sans = list(&mut section, "uri_sans", identity, context, |uri| {
        let expected = "a URI such as spiffe://example.io/app";
        url::Url::parse(uri).map(|_| uri.to_owned()).map_err(|_| expected)
    });
    let ttl = section.duration("ttl", SHORTEST_TTL);
    let key = key(&mut section, context);
    let renew_at_percent =
        section.number_in("renew_at_percent", 10..=90).unwrap_or(DEFAULT_RENEW_AT_PERCENT);
    let required = section.boolean("required").unwrap_or(true);
    let revoke = section.boolean("revoke").unwrap_or(true);
    let revoke_replaced_after = section.duration("revoke_replaced_after", Duration::ZERO);
    if revoke_replaced_after.is_some() && !revoke {
        let problem = Problem::at(&section.at("revoke_replaced_after"), "`revoke` is false");
        context.report.problem(problem.hint("take one of the two out"));
    }
    section.finish();
    Some(CertificateSpec {
        mount: mount?,
        role: role?,
        common_name: common_name?,
        alt_names: alt_names?,
        ip_sans: ip_sans?,
        uri_sans: uri_sans?,
        ttl,
        key: key?,
        renew_at_percent,
        required,
        revoke,
        revoke_replaced_after,
    })
}

fn mount(
    section: &mut Section<'_>,
    identity: &Identity,
    context: &Context<'_>,
) -> Option<VaultPath> {
    if !section.has("mount") {
        section.string("mount");
        return VaultPath::parse("pki");
    }
    let filled = identity.fill(&section.string("mount")?, context)?;
    let mount = VaultPath::parse(&filled.value);
    if mount.is_none() {
        let problem = Problem::at(&filled.at, "expected the path of a mount such as pki");
        context.report.problem(problem.hint("without a trailing slash, empty or `..` segments"));
    }
    mount
}

fn role(section: &mut Section<'_>, identity: &Identity, context: &Context<'_>) -> Option<String> {
    let role = section.required("role", "the role of the PKI mount that issues it");
    let filled = identity.fill(&role?, context)?;
    if VaultPath::parse(&filled.value).is_none_or(|path| path.as_str().contains('/')) {
        context.report.problem(Problem::at(&filled.at, "expected the name of a role"));
        return None;
    }
    Some(filled.value)
}

fn common_name(
    section: &mut Section<'_>,
    identity: &Identity,
    context: &Context<'_>,
) -> Option<String> {
    let name = section.required("common_name", "whom it is for, such as {app}.example.io");
    let filled = identity.fill(&name?, context)?;
    let is_bad = |c: char| c.is_control() || c.is_whitespace();
    if filled.value.is_empty() || filled.value.chars().any(is_bad) || filled.value.len() > 253 {
        let found = quoted(&filled.value);
        let message =
            format!("expected a name of 1 to 253 characters without spaces, found {found}");
        let hint = "a host name such as app.example.io, or an e-mail address, as the role permits";
        context.report.problem(Problem::at(&filled.at, message).hint(hint));
        return None;
    }
    Some(filled.value)
}

/// A list of strings with placeholders, each understood by `parse`. Empty without the key.
fn list<'a, T>(
    section: &mut Section<'a>,
    key: &'a str,
    identity: &Identity,
    context: &Context<'_>,
    parse: impl Fn(&str) -> Result<T, &'static str>,
) -> Option<Vec<T>> {
    let is_there = section.has(key);
    let items = section.strings(key);
    if !is_there {
        return Some(Vec::new());
    }
    let understood = |item: &Located<String>| {
        let filled = identity.fill(item, context)?;
        let parsed = parse(&filled.value);
        if let Err(expected) = &parsed {
            let message = format!("expected {expected}, found {}", quoted(&filled.value));
            context.report.problem(Problem::at(&filled.at, message));
        }
        parsed.ok()
    };
    // All of them are looked at, so that all problems are found.
    let parsed: Vec<_> = items?.iter().map(understood).collect();
    parsed.into_iter().collect()
}

/// `key`, `key_type` and `key_bits`.
fn key(section: &mut Section<'_>, context: &Context<'_>) -> Option<KeyOrigin> {
    let origin = section.string("key");
    let key_type = key_type(section, context);
    let described = ["key_type", "key_bits"].into_iter().find(|key| section.has(key));
    let Some(origin) = origin else {
        return (!section.has("key")).then_some(KeyOrigin::Auto(key_type?));
    };
    match (origin.value.as_str(), described) {
        ("auto", _) => Some(KeyOrigin::Auto(key_type?)),
        ("local", _) => Some(KeyOrigin::Local(key_type?)),
        ("vault", None) => Some(KeyOrigin::Vault),
        ("vault", Some(described)) => {
            let message = "the role decides about a key that Vault makes";
            let problem = Problem::at(&section.at(described), message);
            context.report.problem(problem.hint(format!("take {described} out")));
            None
        }
        (other, _) => {
            let message = format!("expected auto, local or vault, found {}", quoted(other));
            context.report.problem(Problem::at(&origin.at, message).hint(
                "local: the key is made here and never leaves; vault: Vault makes it; \
                 auto: local where the role signs such keys, else vault",
            ));
            None
        }
    }
}

fn key_type(section: &mut Section<'_>, context: &Context<'_>) -> Option<KeyType> {
    let word = section.string("key_type");
    let bits = section.count("key_bits");
    if section.has("key_type") && word.is_none() || section.has("key_bits") && bits.is_none() {
        return None;
    }
    let at = section.at(if section.has("key_bits") { "key_bits" } else { "key_type" });
    let report = |message: String, hint: &str| {
        context.report.problem(Problem::at(&at, message).hint(hint));
        None
    };
    match (word.as_ref().map_or("ec", |word| &word.value), bits) {
        ("ec", None | Some(256)) => Some(KeyType::P256),
        ("ec", Some(384)) => Some(KeyType::P384),
        ("ed25519", None) => Some(KeyType::Ed25519),
        ("ec", Some(bits)) => {
            report(format!("expected 256 or 384, found {bits}"), "of key type ec")
        }
        ("ed25519", Some(_)) => report("ed25519 keys have one size".into(), "take key_bits out"),
        ("rsa", _) => report(
            "RSA keys are not made here".into(),
            "key = \"vault\" has Vault make the key that the role says; or use ec",
        ),
        (other, _) => report(
            format!("expected ec or ed25519, found {}", quoted(other)),
            "as Vault's roles name them",
        ),
    }
}

/// Labels of letters, digits, `-` and `_`; the first may be `*`. An address is none.
pub(super) fn is_host_name(name: &str) -> bool {
    if name.parse::<IpAddr>().is_ok() {
        return false;
    }
    let name = name.strip_prefix("*.").unwrap_or(name);
    let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(allowed);
    name.len() <= 253 && name.split('.').all(is_label)
}
