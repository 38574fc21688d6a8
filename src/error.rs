//! What ends the process, and the exit status for it.

use std::process::ExitCode;
use std::time::Duration;

use crate::adapter::ambassador::AmbassadorError;
use crate::adapter::tls::TlsError;
use crate::config::ConfigError;
use crate::container::HostNetwork;
use crate::memory::ArenaStatus;
use crate::server::BindError;
use crate::vault::VaultError;

/// Why a command failed. `Display` prints one level; [`Error::report`] prints the chain.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration has problems, all of which are listed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// An ambassador cannot be set up.
    #[error("an ambassador cannot be set up")]
    Ambassador(#[from] AmbassadorError),
    /// A TLS adapter cannot be set up.
    #[error("a TLS adapter cannot be set up")]
    Tls(#[from] TlsError),
    /// There is no secret memory, or too little, and the configuration insists on it.
    #[error(
        "plaintext would not be kept in secret memory, which [memory] require_secret_memory asks \
         for: it takes memfd_secret(2) (Linux 5.14, not refused by a seccomp profile) and a \
         RLIMIT_MEMLOCK of 8 MiB or CAP_IPC_LOCK; found: {} memory, {} KiB", .0.tier.as_str(), .0.bytes >> 10
    )]
    NoSecretMemory(ArenaStatus),
    /// The sandbox is not in force as a whole, and the configuration insists on it.
    #[error(
        "the sandbox would not be in force, which [sandbox] require asks for: it takes Landlock 6 \
         (Linux 6.12) and seccomp; files and ports: {files_and_ports}; system calls: {system_calls}"
    )]
    NoSandbox {
        /// What came of Landlock.
        files_and_ports: String,
        /// What came of the filter of system calls.
        system_calls: String,
    },
    /// The network namespace is the host's.
    #[error(
        "the network is the host's ({how}): loopback is then open to every process of the host \
         and to every other container in its network, and caller rules alone protect the secrets. \
         Give this container a network of its own (remove `network_mode: host`, `--network host` \
         or `hostNetwork: true`), or accept it with --unsafe-host-network or [container] \
         unsafe_host_network = true; taken for a container because: {container}"
    )]
    HostNetwork {
        /// How the host's network was recognised.
        how: HostNetwork,
        /// How the container was recognised.
        container: String,
    },
    /// The container has flaws, and there shall be none.
    #[error("the container is not hardened: {}; `sidekey check --hardening` says what to add", .0.join(", "))]
    NotHardened(Vec<String>),
    /// The program of `exec` cannot be started.
    #[error("cannot run {program}")]
    NotRun {
        /// What was to be run.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Vault said no to the login.
    #[error("Vault refused the login: method {method}, mount auth/{mount}, {identity}")]
    LoginRefused {
        /// The login method.
        method: &'static str,
        /// Where it is mounted.
        mount: String,
        /// The role, as far as it is known by name, or where the token comes from.
        identity: String,
        /// Vault's answer.
        source: VaultError,
    },
    /// What the login method needs was never there.
    #[error("there is nothing to log in to Vault with: method {method}")]
    NoCredential {
        /// The login method.
        method: &'static str,
        /// What is missing.
        source: VaultError,
    },
    /// Vault was not reached within the start-up deadline.
    #[error("no login to Vault at {address} within {waited:?}")]
    VaultUnreachable {
        /// The address that was tried.
        address: String,
        /// How long it was tried.
        waited: Duration,
        /// The last attempt's failure.
        source: VaultError,
    },
    /// Vault's settings cannot work.
    #[error("cannot set up the connection to Vault")]
    VaultSettings(#[source] VaultError),
    /// A running sidecar gave no good answer to `get` or `health`.
    #[error("{0}")]
    Client(String),
    /// The arguments make no sense together.
    #[error("{0}")]
    Usage(String),
    /// The operating system refused something basic.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    /// The exit status, after BSD's sysexits.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Client(_) => 1,
            Self::Usage(_) => 64,
            Self::VaultUnreachable { .. } => 69,
            Self::System { .. } => 70,
            Self::Bind(_)
            | Self::Ambassador(AmbassadorError::Bind(_))
            | Self::Tls(TlsError::Bind(_))
            | Self::NoSecretMemory(_)
            | Self::NoSandbox { .. }
            | Self::HostNetwork { .. }
            | Self::NotHardened(_) => 71,
            Self::LoginRefused { .. } | Self::NoCredential { .. } => 77,
            Self::Ambassador(AmbassadorError::Trust { .. })
            | Self::Tls(TlsError::Clients { .. } | TlsError::Issuer { .. })
            | Self::Config(_)
            | Self::VaultSettings(_) => 78,
            // As shells have it.
            Self::NotRun { source, .. } if source.kind() == std::io::ErrorKind::NotFound => 127,
            Self::NotRun { .. } => 126,
        })
    }

    /// The error and everything below it, one line each.
    pub fn report(&self) -> String {
        let mut lines = vec![format!("error: {self}")];
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            lines.push(format!("  caused by: {error}"));
            source = error.source();
        }
        lines.join("\n")
    }
}
