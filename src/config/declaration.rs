//! Every declared name, whatever it stands for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{CertificateSpec, Config, SecretName, SecretSpec};

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

    /// Whether the other one stands for the same thing, however that is to be kept.
    pub fn is_of_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Secret(one), Self::Secret(other)) => one.path == other.path,
            (Self::Certificate(one), Self::Certificate(other)) => one.kept_as(other) == **other,
            _ => false,
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
