//! What an application is told of a destination that was not reached, in each protocol's way.

use super::ConnectError;

/// The names are stable: clients, metrics and the audit log use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::adapter::ambassador) enum Unreached {
    Unreachable,
    Untrusted,
    Timeout,
    NoCertificate,
    CertificateRefused,
}

impl Unreached {
    pub(in crate::adapter::ambassador) const fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "destination_unreachable",
            Self::Untrusted => "destination_untrusted",
            Self::Timeout => "destination_timeout",
            Self::NoCertificate => "certificate_unavailable",
            Self::CertificateRefused => "certificate_refused",
        }
    }
}

impl From<&ConnectError> for Unreached {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::Resolve(_) | ConnectError::Connect(_) => Self::Unreachable,
            ConnectError::Tls(_) | ConnectError::NoTls => Self::Untrusted,
            ConnectError::Timeout(_) => Self::Timeout,
            ConnectError::NoCertificate(_) => Self::NoCertificate,
            ConnectError::CertificateUnusable | ConnectError::CertificateRefused(_) => {
                Self::CertificateRefused
            }
        }
    }
}
