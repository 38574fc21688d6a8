//! What a TLS adapter is configured to do.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::access::AccessSpec;
use crate::config::{AbstractName, LoopbackAddr, SecretName, VaultPath};

/// A port for the outside, with TLS, in front of an application that has none.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsSpec {
    /// The name, in logs and metrics.
    pub name: SecretName,
    /// Where the outside connects to; at least one.
    pub listen: Vec<SocketAddr>,
    /// The declared certificate that is shown.
    pub certificate: SecretName,
    /// Where the application listens.
    pub forward: Forward,
    /// What is spoken.
    pub mode: TlsMode,
    /// The oldest version of TLS that is spoken; default 1.2.
    pub min_version: TlsVersion,
    /// Load balancers that say with the PROXY protocol whom they speak for, and always do.
    pub accept_proxy_from: Vec<IpNet>,
    /// Whether clients show a certificate, and how it is judged.
    pub clients: ClientAuth,
    /// Who of those may do what.
    pub access: AccessSpec,
    /// How much and how long.
    pub limits: TlsLimits,
}

/// Where the application listens: this host alone reaches it.
#[derive(Debug, Clone, PartialEq)]
pub enum Forward {
    /// Loopback TCP.
    Tcp(LoopbackAddr),
    /// An abstract unix socket.
    Abstract(AbstractName),
    /// A unix socket with a file.
    Socket(PathBuf),
}

/// What is spoken inside of TLS.
#[derive(Debug, Clone, PartialEq)]
pub enum TlsMode {
    /// HTTP/1.1 and HTTP/2 from outside, HTTP/1.1 to the application.
    Http(TlsHttp),
    /// Bytes.
    Tcp {
        /// The application is told by PROXY protocol 2 who connected.
        proxy_protocol: bool,
        /// The protocols that are agreed on in the handshake (ALPN), the first one that a client
        /// has too; none by default. A client that offers others alone is refused.
        alpn: Vec<Box<str>>,
    },
}

/// Limits of HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsHttp {
    /// For a request's head to arrive, from its first byte; default 10 s.
    pub header_timeout: Duration,
    /// From the end of a request to the head of the application's answer; default 60 s.
    pub response_timeout: Duration,
    /// Without progress in writing to a client that does not read; default 30 s.
    pub write_timeout: Duration,
    /// The longest body of a request, in bytes; `None` (default) for no limit.
    pub max_request_body: Option<u64>,
    /// Requests at once on one connection of HTTP/2; default 100.
    pub max_concurrent_streams: u32,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientAuth {
    /// They are not asked for one.
    None,
    /// Who has one shows it, and then it has to be good.
    Optional(ClientTrust),
    /// Who has none is refused.
    Required(ClientTrust),
}

/// How the certificates of clients are judged.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientTrust {
    /// Who may have issued them.
    pub authority: ClientAuthority,
    /// How the revoked ones are known; `None` when that is turned off.
    pub revocation: Option<Revocation>,
}

/// Who may have issued the certificates of clients.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientAuthority {
    /// The authority that issued the adapter's own certificate.
    Issuer,
    /// Those in a PEM file.
    File(PathBuf),
}

/// Where the list of revoked certificates comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Revocation {
    /// The list.
    pub source: RevocationSource,
    /// It is read again this often; default 5 min.
    pub refresh: Duration,
    /// How long it is good for after it was last read; default 1 h. After that no certificate of
    /// a client is good.
    pub max_stale: Duration,
}

/// Where the list of revoked certificates is.
#[derive(Debug, Clone, PartialEq)]
pub enum RevocationSource {
    /// A PKI mount of Vault.
    Vault(VaultPath),
    /// A PEM file.
    File(PathBuf),
}

/// How much and how long.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsLimits {
    /// Connections at once; more wait in the kernel. Default 1024.
    pub max_connections: usize,
    /// For PROXY header and TLS handshake together; default 10 s.
    pub handshake_timeout: Duration,
    /// For the connection to the application; default 5 s.
    pub connect_timeout: Duration,
    /// Without any request, or in the middle of a body (HTTP), or byte (TCP); default 60 s and
    /// 1 h.
    pub idle_timeout: Duration,
    /// After as long without a word a client is asked whether it is there, three times; default
    /// 30 s.
    pub keepalive: Duration,
}

impl TlsSpec {
    /// How certificates of clients are judged, when they are asked for.
    pub fn trust(&self) -> Option<&ClientTrust> {
        match &self.clients {
            ClientAuth::None => None,
            ClientAuth::Optional(trust) | ClientAuth::Required(trust) => Some(trust),
        }
    }
}

impl TlsMode {
    /// As it stands in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Tcp { .. } => "tcp",
        }
    }
}

impl TlsVersion {
    /// As it stands in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}

impl ClientAuth {
    /// As it stands in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Optional(_) => "optional",
            Self::Required(_) => "required",
        }
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Abstract(name) => name.fmt(f),
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
