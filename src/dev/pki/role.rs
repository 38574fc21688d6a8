//! A role: which names it permits, how long, for which keys.

use std::time::Duration;

use rcgen::{PublicKeyData, SanType, SignatureAlgorithm};
use serde_json::{Value, json};

use crate::dev::fields::Fields;
use crate::dev::reply::Failure;

#[expect(clippy::struct_excessive_bools, reason = "as Vault's roles are")]
pub(super) struct Role {
    allow_any_name: bool,
    allowed_domains: Vec<String>,
    allow_subdomains: bool,
    allow_bare_domains: bool,
    allow_ip_sans: bool,
    allowed_uri_sans: Vec<String>,
    pub(super) key_type: String,
    pub(super) key_bits: u64,
    ttl: Duration,
    max_ttl: Duration,
    pub(super) generate_lease: bool,
}

impl Role {
    pub(super) fn read(fields: &Fields) -> Result<Self, Failure> {
        let flag = |name, otherwise| Ok::<_, Failure>(fields.flag(name)?.unwrap_or(otherwise));
        let list = |name| Ok::<_, Failure>(fields.list(name)?.unwrap_or_default());
        Ok(Self {
            allow_any_name: flag("allow_any_name", false)?,
            allowed_domains: list("allowed_domains")?,
            allow_subdomains: flag("allow_subdomains", false)?,
            allow_bare_domains: flag("allow_bare_domains", false)?,
            allow_ip_sans: flag("allow_ip_sans", true)?,
            allowed_uri_sans: list("allowed_uri_sans")?,
            key_type: fields.text("key_type").unwrap_or_else(|| "rsa".into()),
            key_bits: fields.count("key_bits")?.unwrap_or_default(),
            ttl: fields.duration("ttl")?.unwrap_or_default(),
            max_ttl: fields.duration("max_ttl")?.unwrap_or_default(),
            generate_lease: flag("generate_lease", false)?,
        })
    }

    /// Every name, for a day, for keys of any type that is made here.
    pub(super) fn permissive() -> Result<Self, Failure> {
        let mut role = Self::read(&Fields::default())?;
        role.allow_any_name = true;
        role.key_type = "ec".into();
        role.max_ttl = Duration::from_hours(24);
        Ok(role)
    }

    pub(super) fn describe(&self) -> Value {
        json!({
            "allow_any_name": self.allow_any_name,
            "allow_bare_domains": self.allow_bare_domains,
            "allow_ip_sans": self.allow_ip_sans,
            "allow_subdomains": self.allow_subdomains,
            "allowed_domains": self.allowed_domains,
            "allowed_uri_sans": self.allowed_uri_sans,
            "generate_lease": self.generate_lease,
            "key_bits": self.key_bits,
            "key_type": self.key_type,
            "max_ttl": self.max_ttl.as_secs(),
            "ttl": self.ttl.as_secs(),
        })
    }

    /// The life of a certificate for which `asked` is asked.
    pub(super) fn life(&self, asked: Option<Duration>) -> Duration {
        let longest = if self.max_ttl.is_zero() { Duration::from_hours(768) } else { self.max_ttl };
        let own = if self.ttl.is_zero() { longest } else { self.ttl };
        asked.filter(|asked| !asked.is_zero()).unwrap_or(own).min(longest)
    }

    /// Whether it signs such a key.
    pub(super) fn takes_key(&self, key: &impl PublicKeyData) -> Result<(), Failure> {
        let found = kind(key.algorithm());
        if self.key_type == "any" || self.key_type == found {
            return Ok(());
        }
        Err(Failure::bad(format!("role requires keys of type {}", self.key_type)))
    }

    pub(super) fn permits_common_name(&self, name: &str) -> Result<(), Failure> {
        let refused = || Failure::bad(format!("common name {name} not allowed by this role"));
        self.permits_host(name).then_some(()).ok_or_else(refused)
    }

    pub(super) fn permits(&self, name: &SanType) -> Result<(), Failure> {
        let refused = |what: &str| Err(Failure::bad(what));
        match name {
            SanType::DnsName(name) if self.permits_host(name.as_str()) => Ok(()),
            SanType::DnsName(name) => {
                let name = name.as_str();
                let error = format!("subject alternate name {name} not allowed by this role");
                Err(Failure::bad(error))
            }
            SanType::IpAddress(_) if self.allow_ip_sans => Ok(()),
            SanType::IpAddress(_) => refused(
                "IP Subject Alternative Names are not allowed in this role, but was provided via \
                 the API",
            ),
            SanType::URI(uri) if self.allowed_uri_sans.iter().any(|it| globs(it, uri.as_str())) => {
                Ok(())
            }
            SanType::URI(_) => refused(
                "URI Subject Alternative Names are not allowed in this role, but were provided \
                 via the API",
            ),
            _ => refused("other names are not allowed in this role"),
        }
    }

    fn permits_host(&self, name: &str) -> bool {
        let host = name.strip_prefix("*.").unwrap_or(name);
        let within = |domain: &String| {
            let below = host.strip_suffix(domain.as_str()).is_some_and(|it| it.ends_with('.'));
            self.allow_bare_domains && host == domain
                || self.allow_subdomains && (below || name != host && host == domain)
        };
        self.allow_any_name || host == "localhost" || self.allowed_domains.iter().any(within)
    }
}

fn kind(algorithm: &'static SignatureAlgorithm) -> &'static str {
    let curves = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384];
    if curves.contains(&algorithm) {
        "ec"
    } else if algorithm == &rcgen::PKCS_ED25519 {
        "ed25519"
    } else {
        "rsa"
    }
}

/// A `*` at the end stands for anything.
fn globs(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => pattern == text,
    }
}
