//! What an ambassador is configured to do.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use rustls_pki_types::ServerName;

use crate::config::{AbstractName, LoopbackAddr, SecretName};
use crate::scope::Scope;

/// A local port behind which the one destination is reached with a credential that the
/// application never has.
#[derive(Debug, Clone, PartialEq)]
pub struct AmbassadorSpec {
    /// The name, in logs and metrics.
    pub name: SecretName,
    /// Where the application connects to.
    pub listen: AmbassadorListen,
    /// Where its traffic goes.
    pub destination: Destination,
    /// What is spoken, and how the credential is put in.
    pub protocol: AmbassadorProtocol,
    /// HTTP: what of the destination may be asked for.
    pub scope: Scope,
    /// Names of the caller rules that may use it.
    pub allow: BTreeSet<String>,
    /// For name resolution, connection and TLS handshake together; default 5 s.
    pub connect_timeout: Duration,
    /// HTTP: from the request's last byte to the answer's head; PostgreSQL: for the
    /// destination's side of the login. Default 60 s.
    pub response_timeout: Duration,
    /// HTTP: how long an unused connection to the destination is kept; default 30 s. TCP: how long
    /// nothing may move in either direction; default 1 h.
    pub idle_timeout: Duration,
    /// A destination that is silent for as long is asked whether it is there; one that leaves
    /// three such questions unanswered is not. Default 15 s, at least 1 s.
    pub keepalive: Duration,
    /// Connections of applications at once; `None` for the limit of the local door.
    pub max_connections: Option<usize>,
}

impl AmbassadorSpec {
    /// The declared secret that the credential is made of.
    pub fn secret(&self) -> Option<&SecretName> {
        match &self.protocol {
            AmbassadorProtocol::Http(header) => header.as_ref().map(|header| &header.secret),
            AmbassadorProtocol::Postgres {
                user: PostgresUser::OfSecret { secret, .. }, ..
            } => Some(secret),
            AmbassadorProtocol::Postgres { .. } | AmbassadorProtocol::Tcp => None,
        }
    }

    /// The fields of that secret that the credential is made of.
    pub fn fields(&self) -> Vec<&str> {
        let user_and_password = match &self.protocol {
            AmbassadorProtocol::Http(Some(header)) => match &header.value {
                HeaderForm::Basic { user_field, password_field } => [user_field, password_field],
                HeaderForm::Field { field, .. } => return vec![field],
            },
            AmbassadorProtocol::Postgres {
                user: PostgresUser::OfSecret { user_field, password_field, .. },
                ..
            } => [user_field, password_field],
            _ => return Vec::new(),
        };
        user_and_password.map(|field| &**field).into()
    }

    /// The declared certificate that is shown to the destination.
    pub fn client_certificate(&self) -> Option<&SecretName> {
        self.destination.tls.as_ref()?.client_certificate.as_ref()
    }
}

/// A local address that only this host reaches.
#[derive(Debug, Clone, PartialEq)]
pub enum AmbassadorListen {
    /// Loopback TCP.
    Tcp(LoopbackAddr),
    /// An abstract unix socket.
    Unix(AbstractName),
}

/// The one place that an ambassador connects to.
#[derive(Debug, Clone, PartialEq)]
pub struct Destination {
    /// A host name or an IP address, without brackets.
    pub host: Box<str>,
    /// TCP port.
    pub port: u16,
    /// `None` for a connection without TLS.
    pub tls: Option<DestinationTls>,
}

/// How the destination's certificate is judged. Always as a whole: chain, name and dates.
#[derive(Debug, Clone, PartialEq)]
pub struct DestinationTls {
    /// The name that it must have: `server_name`, else the destination's host.
    pub name: ServerName<'static>,
    /// A PEM file with the certificate authorities to trust; `None` for those of the system.
    pub ca_cert: Option<PathBuf>,
    /// The declared certificate that is shown in return, with each handshake the one of then.
    pub client_certificate: Option<SecretName>,
}

/// What is spoken, and what of the secret is used.
#[derive(Debug, Clone, PartialEq)]
pub enum AmbassadorProtocol {
    /// HTTP/1.1, with one header set; without one where a client certificate is all there is.
    Http(Option<HeaderSpec>),
    /// PostgreSQL, with the user set in the start of a session.
    Postgres {
        /// Whom the server sees.
        user: PostgresUser,
        /// The database where the application names none.
        database: Option<Box<str>>,
    },
    /// Bytes, as they are.
    Tcp,
}

/// Who logs in to PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostgresUser {
    /// User and password of a secret.
    OfSecret {
        /// The declared secret.
        secret: SecretName,
        /// Field with the user.
        user_field: Box<str>,
        /// Field with the password.
        password_field: Box<str>,
    },
    /// This one, by its client certificate alone.
    Certified(Box<str>),
}

/// A header made of a secret.
#[derive(Debug, Clone, PartialEq)]
pub struct HeaderSpec {
    /// The declared secret that it is made of.
    pub secret: SecretName,
    /// Its name; what the application sends under it is dropped.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderForm,
}

/// How a header's value is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderForm {
    /// RFC 7617.
    Basic {
        /// Field with the user.
        user_field: Box<str>,
        /// Field with the password.
        password_field: Box<str>,
    },
    /// A field with text before it: `Bearer `, or what the operator chose.
    Field {
        /// Comes before the field's value.
        prefix: Box<str>,
        /// The field.
        field: Box<str>,
    },
}

impl AmbassadorProtocol {
    /// As it stands in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Postgres { .. } => "postgres",
            Self::Tcp => "tcp",
        }
    }
}

impl Destination {
    /// Host and port as they stand in a URL.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority())
    }
}

impl fmt::Display for AmbassadorListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(name) => name.fmt(f),
        }
    }
}
