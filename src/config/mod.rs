//! What the operator asked for: validated, immutable, one struct per component.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::memory::SecretBuf;

mod load;

// The parts of a configuration.
mod ambassador;
mod auth;
mod callers;
mod certificates;
mod environment;
mod file;
mod identity;
mod limits;
mod listen;
mod notify;
mod secrets;
mod vault;

// What they are read with.
mod error;
mod quantity;
mod report;
mod section;
mod types;
mod unknown;

#[cfg(test)]
mod tests;

pub use ambassador::{
    AmbassadorListen, AmbassadorProtocol, AmbassadorSpec, Destination, DestinationTls, HeaderForm,
    HeaderSpec,
};
pub use environment::Environment;
pub(crate) use environment::is_variable_name;
pub use error::{ConfigError, Problem};
pub use file::secret_variables;
pub use load::{Flags, Loaded, Sources, load, load_text};
pub(crate) use quantity::parse_duration;
pub use types::{AbstractName, LoopbackAddr, NotifySignal, SecretName, VaultPath};

/// The header in which a caller of an ambassador shows its token, in lower case. It never leaves
/// the sidecar.
pub const SIDEKEY_TOKEN_HEADER: &str = "sidekey-token";

/// Everything `sidekey serve` needs to know. Made by [`load()`].
#[derive(Debug)]
pub struct Config {
    /// How to reach Vault.
    pub vault: VaultConfig,
    /// How to log in to it.
    pub auth: AuthMethod,
    /// Where the application asks.
    pub listen: Listen,
    /// Where health and metrics are served; `None` when turned off.
    pub health: Option<SocketAddr>,
    /// What is served, by name.
    pub secrets: BTreeMap<SecretName, SecretSpec>,
    /// What is issued and served, by name. No name is a secret's too.
    pub certificates: BTreeMap<SecretName, CertificateSpec>,
    /// Who may ask, and for what. Never empty.
    pub callers: Vec<CallerRule>,
    /// Whom to tell of rotations.
    pub notify: Vec<NotifyRule>,
    /// Where the application gets to without a credential of its own.
    pub ambassadors: Vec<AmbassadorSpec>,
    /// Limits of the local listener.
    pub limits: Limits,
    /// Start, stop and audit settings.
    pub life: Life,
    /// How the process protects itself.
    pub protection: Protection,
}

/// How to reach Vault: the names are those of the `vault` CLI's environment.
#[derive(Debug, Clone, PartialEq)]
pub struct VaultConfig {
    /// Scheme, host and port (`VAULT_ADDR`); default `https://127.0.0.1:8200`.
    pub address: url::Url,
    /// `VAULT_NAMESPACE`.
    pub namespace: Option<String>,
    /// A PEM file with the certificate authorities to trust (`VAULT_CACERT`).
    pub ca_cert: Option<PathBuf>,
    /// A folder of such files (`VAULT_CAPATH`).
    pub ca_path: Option<PathBuf>,
    /// PEM file of the client certificate (`VAULT_CLIENT_CERT`); always with `client_key`.
    pub client_cert: Option<PathBuf>,
    /// PEM file of its private key (`VAULT_CLIENT_KEY`).
    pub client_key: Option<PathBuf>,
    /// The name that Vault's certificate must have (`VAULT_TLS_SERVER_NAME`).
    pub tls_server_name: Option<String>,
    /// Trust any certificate (`VAULT_SKIP_VERIFY`). Said aloud in the log.
    pub skip_verify: bool,
    /// Ceiling on requests per second for the whole process; default 5.
    pub max_requests_per_second: u32,
    /// Deadline of one request, connection included; default 10 s.
    pub timeout: Duration,
}

/// A login method with what it needs.
#[derive(Debug)]
pub enum AuthMethod {
    /// A token that the operator brings. It is never revoked by us.
    Token(TokenSource),
    /// `AppRole`: <https://developer.hashicorp.com/vault/docs/auth/approle>.
    AppRole {
        /// Where the method is mounted; default `approle`.
        mount: VaultPath,
        /// Identifies the role; not a secret by itself, but not printed either.
        role_id: SecretString,
        /// Where the secret-id comes from; `None` for a role with `bind_secret_id=false`.
        secret_id: Option<SecretIdSource>,
    },
    /// Kubernetes: <https://developer.hashicorp.com/vault/docs/auth/kubernetes>.
    Kubernetes {
        /// Where the method is mounted; default `kubernetes`.
        mount: VaultPath,
        /// The role to log in to.
        role: String,
        /// The projected service account token, read anew at every login.
        jwt_file: PathBuf,
    },
    /// JWT: <https://developer.hashicorp.com/vault/docs/auth/jwt>.
    Jwt {
        /// Where the method is mounted; default `jwt`.
        mount: VaultPath,
        /// The role; `None` takes the mount's default role.
        role: Option<String>,
        /// The token's file, read anew at every login.
        jwt_file: PathBuf,
    },
    /// TLS certificate, with the client certificate of [`VaultConfig`]:
    /// <https://developer.hashicorp.com/vault/docs/auth/cert>.
    Cert {
        /// Where the method is mounted; default `cert`.
        mount: VaultPath,
        /// The certificate role; `None` lets Vault try all.
        role: Option<String>,
    },
}

/// Where a token comes from.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// From the environment, taken out of it at start.
    Environment(Arc<SecretBuf>),
    /// From a file, read anew when it changed.
    File(PathBuf),
}

/// Where an `AppRole` secret-id comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct SecretIdSource {
    /// Read anew at every login.
    pub file: PathBuf,
    /// The file holds a response-wrapping token, good for one unwrapping.
    pub wrapped: bool,
}

/// Local listeners; at least one is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Listen {
    /// Loopback addresses; default `127.0.0.1:7433`.
    pub tcp: Vec<LoopbackAddr>,
    /// Abstract unix socket.
    pub unix: Option<AbstractName>,
}

/// One served secret.
#[derive(Debug, Clone, PartialEq)]
pub struct SecretSpec {
    /// The read path in Vault, placeholders filled in.
    pub path: VaultPath,
    /// Readiness waits for it.
    pub required: bool,
    /// A non-leased secret is re-read this often; default 60 s.
    pub refresh: Duration,
    /// How long past `refresh` an unreachable Vault is tolerated; default 1 h.
    pub max_stale: Duration,
}

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
    /// Every host name that it is asked for, the common name first when it is one.
    pub fn host_names(&self) -> impl Iterator<Item = &str> {
        let common_name = Some(&self.common_name)
            .filter(|name| certificates::is_host_name(name) && !self.alt_names.contains(name));
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

/// What a declared name stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Declaration {
    /// `[secrets.NAME]`
    Secret(SecretSpec),
    /// `[certificates.NAME]`
    Certificate(Box<CertificateSpec>),
}

impl Declaration {
    /// Readiness waits for it.
    pub fn is_required(&self) -> bool {
        match self {
            Self::Secret(spec) => spec.required,
            Self::Certificate(spec) => spec.required,
        }
    }

    /// How often what has no life of its own is read again.
    pub fn refresh(&self) -> Duration {
        match self {
            Self::Secret(spec) => spec.refresh,
            Self::Certificate(_) => Duration::from_mins(1),
        }
    }

    /// Which part of the API serves it.
    pub fn kind(&self) -> NameKind {
        match self {
            Self::Secret(_) => NameKind::Secret,
            Self::Certificate(_) => NameKind::Certificate,
        }
    }
}

/// Which part of the API serves a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// `/secrets/NAME`
    Secret,
    /// `/certificates/NAME`
    Certificate,
}

impl Config {
    /// Every declared name.
    pub fn declarations(&self) -> Declarations {
        let secrets = self.secrets.iter();
        let secrets = secrets.map(|(name, spec)| (name, Declaration::Secret(spec.clone())));
        let certificates = self
            .certificates
            .iter()
            .map(|(name, spec)| (name, Declaration::Certificate(Box::new(spec.clone()))));
        secrets.chain(certificates).map(|(name, what)| (name.clone(), what)).collect()
    }
}

/// Every declared name, and what it stands for.
pub type Declarations = BTreeMap<SecretName, Declaration>;

/// Who may ask, and for what. All the conditions that are given must hold.
#[derive(Debug)]
pub struct CallerRule {
    /// The name in the audit log.
    pub name: String,
    /// Uids, by the kernel's word.
    pub uids: Option<BTreeSet<u32>>,
    /// A bearer token.
    pub token: Option<TokenSource>,
    /// What the caller may read.
    pub allow: Allow,
}

/// What a caller may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// `"*"`: every declared name. Said aloud in the log.
    Everything,
    /// These names.
    Names(BTreeSet<SecretName>),
}

impl Allow {
    /// Whether `name` is among what is allowed.
    pub fn permits(&self, name: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Names(names) => names.contains(name),
        }
    }
}

/// Whom to tell of which rotations. Never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifyRule {
    /// Which names it is about; `None` for all of them.
    pub names: Option<BTreeSet<SecretName>>,
    /// How long rotations are gathered before they are told together; default 500 ms.
    pub debounce: Duration,
    /// Who is told, and how.
    pub target: NotifyTarget,
}

/// Who is told of a rotation, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotifyTarget {
    /// By a `POST`.
    Http {
        /// Where to.
        url: LoopbackUrl,
        /// For the whole request; default 5 s.
        timeout: Duration,
    },
    /// By a signal.
    Signal {
        /// Which one.
        signal: NotifySignal,
        /// Whom to.
        process: ProcessSource,
    },
}

/// An `http://` URL on loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopbackUrl {
    /// Address and port.
    pub addr: SocketAddr,
    /// Path and query.
    pub target: Box<str>,
}

/// How a process is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessSource {
    /// By the number in a file, read each time.
    PidFile(PathBuf),
    /// The oldest one whose name, as in `/proc/PID/comm`, is this.
    Named(Box<str>),
}

/// Limits of the local listener.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Connections at once, over all listeners; default 512.
    pub max_connections: usize,
    /// Time for a request's head to arrive; default 5 s.
    pub header_timeout: Duration,
    /// Time without progress in writing an answer; default 10 s.
    pub write_timeout: Duration,
    /// Requests per second of one caller rule; `None` (default) for no limit.
    pub requests_per_second: Option<u32>,
    /// Requests per second over all callers; `None` (default) for no limit.
    pub total_requests_per_second: Option<u32>,
    /// Refused credentials per second before 429 replaces 401; default 10.
    pub refusals_per_second: u32,
    /// Memory for cached secrets, in bytes; default 64 MiB.
    pub cache_bytes: u64,
}

/// How the process protects itself. All of it is settled at the start.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches that have nothing to do with each other"
)]
pub struct Protection {
    /// Rather not start than keep plaintext in memory that root can read; default off.
    pub require_secret_memory: bool,
    /// Give up, at the start, every right that is not needed later; default on.
    pub sandbox: bool,
    /// Rather not start than with a part of the sandbox missing; default off.
    pub require_sandbox: bool,
    /// Rather not start than in a container with a flaw; default off.
    pub require_hardening: bool,
    /// Start even in a container with the host's network; default off.
    pub unsafe_host_network: bool,
}

/// Start, stop and audit settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Life {
    /// How long an unreachable Vault is waited for at start; default 120 s.
    pub startup_deadline: Duration,
    /// From the stop signal to the exit; default 8 s.
    pub shutdown_deadline: Duration,
    /// One line per read on stderr; default on.
    pub audit: bool,
}
