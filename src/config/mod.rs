//! What the operator asked for: validated, immutable, one struct per component.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
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
mod credential;
mod declaration;
mod environment;
mod file;
mod identity;
mod limits;
mod listen;
mod notify;
mod scope;
mod secrets;
mod tls;
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
    HeaderSpec, PostgresUser,
};
pub use certificates::{CertificateSpec, KeyOrigin, KeyType};
pub(crate) use credential::fits_header;
pub use declaration::{Declaration, Declarations, NameKind};
pub use environment::Environment;
pub(crate) use environment::is_variable_name;
pub use error::{ConfigError, Problem};
pub use file::secret_variables;
pub use load::{Flags, Loaded, Sources, load, load_text};
pub use notify::{LoopbackUrl, NotifyRule, NotifyTarget, ProcessSource};
pub(crate) use quantity::parse_duration;
pub use tls::access::{
    AccessSpec, ClaimTest, ClaimValue, JwtSpec, KeyAddress, KeySource, RuleSpec, SanPattern,
    SpiffeId, SpiffePattern,
};
pub use tls::{
    ClientAuth, ClientAuthority, ClientTrust, Forward, Revocation, RevocationSource, TlsHttp,
    TlsLimits, TlsMode, TlsSpec, TlsVersion,
};
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
    /// Where the outside gets to the application with TLS.
    pub tls: Vec<TlsSpec>,
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
    /// The first login waits a random part of this; default none.
    pub start_jitter: Duration,
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

/// Limits of the local listener.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Connections at once, over all listeners of the local door; each ambassador has as many of its
    /// own. Default 512.
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
    /// Threads that serve; by default half as many as there are processors, and four at most.
    pub threads: Option<usize>,
}
