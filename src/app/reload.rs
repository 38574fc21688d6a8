//! Another configuration for a sidecar that runs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::policy;
use crate::cache::{Another, SecretCache};
use crate::config::{
    AmbassadorSpec, AuthMethod, Config, Life, Listen, Loaded, Protection, TlsSpec, VaultConfig,
};
use crate::notify::Notifier;
use crate::observe::event;
use crate::server::SharedPolicy;
use crate::vault::Upstream;

/// Puts another configuration in force.
pub struct Reloader {
    pub(super) upstream: Upstream,
    pub(super) cache: SecretCache,
    pub(super) notifier: Arc<Notifier<SecretCache>>,
    pub(super) policy: SharedPolicy,
    pub(super) running: Arc<Running>,
}

impl Reloader {
    /// Callers, names and limits change at once; Vault's settings and trust anchors are taken
    /// anew, with another login only where the old token is of no use. Listeners stay as they
    /// are. What cannot work is reported, and then everything stays as it was.
    pub async fn reload(&self, loaded: Loaded) {
        loaded.warnings.iter().for_each(|warning| event::configuration_warning(warning));
        let declarations = loaded.config.declarations();
        let at_start = AtStart::of(&loaded.config);
        let Config { vault, auth, callers, notify, limits, .. } = loaded.config;
        let auth = Arc::new(auth);
        let (old_vault, old_auth) = self.running.upstream();
        let another =
            if old_vault.address != vault.address || old_vault.namespace != vault.namespace {
                Another::Vault
            } else if old_auth.is_same_login(&auth) {
                Another::Neither
            } else {
                Another::Login
            };
        let login_again = another != Another::Neither;
        let taken = self.upstream.reconfigure(vault.clone(), Arc::clone(&auth), login_again);
        if let Err(error) = taken.await {
            event::reload_refused(&error);
            return;
        }
        self.running.set_upstream(vault, auth);
        let others = self.running.at_start.differences(&at_start);
        if !others.is_empty() {
            let what = others.join(", ");
            event::configuration_warning(&format!("changed, and in force after a restart: {what}"));
        }
        self.policy.store(Arc::new(policy(callers, &declarations, limits)));
        self.cache.redeclare(&declarations, another).await;
        self.notifier.take_over(notify);
        event::reloaded();
    }
}

/// What is in force, and a reload compares with.
pub(super) struct Running {
    upstream: Mutex<(VaultConfig, Arc<AuthMethod>)>,
    at_start: AtStart,
}

impl Running {
    pub(super) fn new(vault: VaultConfig, auth: Arc<AuthMethod>, at_start: AtStart) -> Self {
        Self { upstream: Mutex::new((vault, auth)), at_start }
    }

    pub(super) fn upstream(&self) -> (VaultConfig, Arc<AuthMethod>) {
        self.upstream.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_upstream(&self, vault: VaultConfig, auth: Arc<AuthMethod>) {
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner) = (vault, auth);
    }
}

/// What a reload does not change.
pub(super) struct AtStart {
    listen: Listen,
    health: Option<SocketAddr>,
    ambassadors: Vec<AmbassadorSpec>,
    tls: Vec<TlsSpec>,
    max_connections: usize,
    life: Life,
    protection: Protection,
}

impl AtStart {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            listen: config.listen.clone(),
            health: config.health,
            ambassadors: config.ambassadors.clone(),
            tls: config.tls.clone(),
            max_connections: config.limits.max_connections,
            life: config.life.clone(),
            protection: config.protection.clone(),
        }
    }

    /// What `other` has otherwise, as the configuration names it.
    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let Protection { require_secret_memory, require_hardening, .. } = self.protection;
        let sandbox = |it: &Self| (it.protection.sandbox, it.protection.require_sandbox);
        let parts = [
            ("[listen]", self.listen == other.listen),
            ("[health]", self.health == other.health),
            ("[adapters.ambassador]", self.ambassadors == other.ambassadors),
            ("[adapters.tls]", self.tls == other.tls),
            ("limits.max_connections", self.max_connections == other.max_connections),
            ("[life]", self.life == other.life),
            ("[memory]", require_secret_memory == other.protection.require_secret_memory),
            ("[sandbox]", sandbox(self) == sandbox(other)),
            ("[container]", require_hardening == other.protection.require_hardening),
        ];
        parts.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }
}
