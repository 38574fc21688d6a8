//! Who may do what, as it is configured.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;
use jsonwebtoken::Algorithm;
use url::{Host, Url};

use super::{SanPattern, SpiffePattern};
use crate::scope::Scope;

/// Who may do what at one adapter. The default lets in whoever TLS lets in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AccessSpec {
    /// How tokens are judged.
    pub jwt: Option<JwtSpec>,
    /// With any rule, what none of them admits is refused.
    pub rules: Vec<RuleSpec>,
}

/// How tokens are judged: RFC 7519, with the advice of RFC 8725.
#[derive(Debug, Clone, PartialEq)]
pub struct JwtSpec {
    /// What `iss` has to be.
    pub issuer: Box<str>,
    /// One of these has to be in `aud`.
    pub audience: Vec<Box<str>>,
    /// Where the issuer's keys are.
    pub keys: KeySource,
    /// A PEM file with the certificate authorities to trust about them; `None` for the system's.
    pub ca_cert: Option<PathBuf>,
    /// The signatures that count; default ES256, ES384, `EdDSA`, PS256 and RS256. Never HMAC.
    pub algorithms: Vec<Algorithm>,
    /// How far the issuer's clock may be off; default 30 s.
    pub leeway: Duration,
    /// A request without a token is refused; default on.
    pub required: bool,
    /// Where the token is; default `Authorization`, after `Bearer`. Under any other name it
    /// stands alone.
    pub header: HeaderName,
    /// The application gets the token too; default off.
    pub pass_token: bool,
    /// Claims that the application is told, each in a header. What comes under these names from
    /// outside is dropped.
    pub forward: Vec<(Box<str>, HeaderName)>,
    /// The keys are read again this often; default 10 min.
    pub refresh: Duration,
    /// How long past `refresh` an issuer out of reach is tolerated; default 1 h.
    pub max_stale: Duration,
    /// Of one attempt to read the keys, connection included; default 5 s.
    pub timeout: Duration,
}

/// Where an issuer's keys are (RFC 7517, 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// There.
    Keys(KeyAddress),
    /// Where the issuer's metadata says, which are there (`OpenID` Connect Discovery 1.0).
    Metadata(KeyAddress),
}

/// An `https://` URL, or an `http://` one on loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAddress(Url);

impl KeyAddress {
    /// `None` for a URL of another kind, or with a user name, a password or a fragment.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let on_loopback = match url.host()? {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(ip) => ip.is_loopback(),
            Host::Ipv6(ip) => ip.is_loopback(),
        };
        let private = url.scheme() == "https" || (url.scheme() == "http" && on_loopback);
        let plain =
            url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        (private && plain && url.port_or_known_default()? != 0).then_some(Self(url))
    }

    /// The URL.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(443)
    }
}

/// What is let in. All conditions that are given must hold, each by one of its values.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSpec {
    /// The name in logs.
    pub name: Box<str>,
    /// DNS names of the client's certificate.
    pub san: Vec<SanPattern>,
    /// The SPIFFE ID of the client's certificate.
    pub spiffe: Vec<SpiffePattern>,
    /// Claims of the token; every one must hold.
    pub claims: Vec<ClaimTest>,
    /// What may be asked for.
    pub scope: Scope,
}

/// What a claim has to be, or to have in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimTest {
    /// The claim's name, and below it those of members.
    pub path: Vec<Box<str>>,
    /// One of these.
    pub any: Vec<ClaimValue>,
}

/// A value of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimValue {
    /// Text; a list with it among its elements, or, of `scope`, a word of it.
    Text(Box<str>),
    /// True or false.
    Bool(bool),
}

impl AccessSpec {
    /// The port where keys are read.
    pub fn key_port(&self) -> Option<u16> {
        self.jwt.as_ref().map(|jwt| jwt.keys.address().port())
    }

    /// The file with the authorities to trust about the keys.
    pub fn ca_cert(&self) -> Option<&Path> {
        self.jwt.as_ref()?.ca_cert.as_deref()
    }
}

impl KeySource {
    /// What is asked first.
    pub fn address(&self) -> &KeyAddress {
        match self {
            Self::Keys(address) | Self::Metadata(address) => address,
        }
    }
}
