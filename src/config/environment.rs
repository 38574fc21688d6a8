//! The one place where the process's environment is read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::{Located, Spot};
use crate::memory::SecretBuf;

pub(super) const VAULT_TOKEN: &str = "VAULT_TOKEN";
pub(super) const SIDEKEY_TOKEN: &str = "SIDEKEY_TOKEN";

/// What the environment says, secrets apart.
#[derive(Clone, Default)]
pub struct Environment {
    /// Variables that hold no secret. An empty value counts as unset.
    pub values: BTreeMap<String, String>,
    /// Variables that hold one, already taken out of the environment: those that
    /// [`secret_variables`](super::secret_variables) names, as far as they were set.
    pub secrets: BTreeMap<String, Arc<SecretBuf>>,
    /// The folder with `.vault-token`.
    pub home: Option<PathBuf>,
}

impl Environment {
    /// Reads the process's environment, except the variables in `secrets`. Variables that are
    /// not UTF-8 are left out.
    pub fn capture(secrets: BTreeMap<String, Arc<SecretBuf>>) -> Self {
        #[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        let variables = std::env::vars_os();
        let values: BTreeMap<String, String> = variables
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name != VAULT_TOKEN && name != SIDEKEY_TOKEN)
            .filter(|(name, _)| !secrets.contains_key(name))
            .filter_map(|(name, value)| Some((name, value.into_string().ok()?)))
            .collect();
        let home = values.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        Self { values, secrets, home }
    }

    /// Whether Kubernetes started this container: it tells each where its API is.
    pub fn is_kubernetes(&self) -> bool {
        self.values.contains_key("KUBERNETES_SERVICE_HOST")
    }

    /// A variable that holds no secret, when it is set and not empty.
    pub(super) fn value(&self, name: &str) -> Option<Located<String>> {
        let value = self.values.get(name).filter(|value| !value.is_empty())?.clone();
        Some(Located { value, at: Spot::outside(name) })
    }

    /// A variable that holds a secret, when it is set and not empty.
    pub(super) fn secret(&self, name: &str) -> Option<&Arc<SecretBuf>> {
        self.secrets.get(name).filter(|secret| !secret.is_empty())
    }
}

/// Shows names alone: values of variables that nobody asked for may be anything.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("values", &self.values.keys())
            .field("secrets", &self.secrets.keys())
            .field("home", &self.home)
            .finish()
    }
}

/// A name as shells take it: letters, digits and `_`, the first not a digit.
pub(crate) fn is_variable_name(name: &str) -> bool {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts_well && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}
