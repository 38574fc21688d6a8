//! Other declarations for a cache that is in use, and its orderly end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::SecretCache;
use super::declared::{Declared, is_to_be_handed_back};
use super::held::Held;
use crate::config::{Declarations, SecretName};
use crate::lease::Handle;
use crate::observe::event;
use crate::vault::{Failure, VaultError};

/// What became another one with a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Another {
    /// Neither Vault nor the login.
    Neither,
    /// The login, to the same Vault.
    Login,
    /// Vault, or the namespace.
    Vault,
}

impl SecretCache {
    /// Takes over other declarations. What is gone is dropped at once and its leases are revoked;
    /// what stands for something else now is read anew, and its leases are left to the
    /// application like those of any value that was replaced; what is to be kept in another way
    /// alone stays. When Vault or the login is another one, what stays is read again now; so is
    /// what failed, for the reload may have been about that.
    pub async fn redeclare(&self, declarations: &Declarations, another: Another) {
        let old = self.shared.declared.load_full();
        if another == Another::Vault {
            self.leave_behind(&old);
        }
        let new = Arc::new(declare(declarations, &old));
        new.values().for_each(|declared| declared.forget_policy());
        self.shared.declared.store(Arc::clone(&new));
        for (key, entry) in &self.shared.entries {
            match new.get(&key.name) {
                Some(declared) if entry.is_of(declared) => {
                    entry.retune();
                    if another != Another::Neither || entry.waits() {
                        entry.hurry();
                    }
                    continue;
                }
                Some(declared) => declared.remember(entry.retire()),
                None => {
                    let lease = entry.retire().filter(is_to_be_handed_back);
                    self.revoke(lease.map(|lease| lease.handle));
                }
            }
            self.shared.entries.invalidate(&*key).await;
        }
        for (_, gone) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
            self.revoke(gone.take_replaced().into_iter().map(|lease| lease.handle));
        }
        self.shared.entries.run_pending_tasks().await;
        self.fetch_required();
    }

    /// What the Vault of before made and would still have to be asked to end. It is not asked any
    /// more, and no other knows what it is.
    fn leave_behind(&self, declared: &BTreeMap<SecretName, Arc<Declared>>) {
        let replaced = declared.values().flat_map(|declared| declared.take_replaced());
        let replaced = replaced.filter(Held::outlives_us).map(|lease| lease.handle);
        let current = self.shared.entries.iter().filter_map(|(_, entry)| entry.leave_behind());
        for handle in replaced.chain(current) {
            let error = VaultError::new(Failure::NotLoggedIn, "the Vault of before the reload");
            event::handed_back(&handle, &Err(error));
        }
    }

    /// Stops refreshing and renewing, for good. Returns the leases and certificates that do not
    /// end with our own token, to be revoked.
    pub async fn stop_refreshing(&self) -> Vec<Handle> {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        // What is on its way to Vault may hang there; the stop goes on without it.
        let _ = tokio::time::timeout(Duration::from_millis(500), self.shared.tasks.wait()).await;
        let declared = self.shared.declared.load();
        let current = self.shared.entries.iter().filter_map(|(_, entry)| entry.lease());
        let replaced = declared.values().flat_map(|declared| declared.replaced_leases());
        current.chain(replaced).collect()
    }
}

/// Declarations by name; one of the same thing as before stays the same object, with its history.
pub(super) fn declare(
    declarations: &Declarations,
    old: &BTreeMap<SecretName, Arc<Declared>>,
) -> BTreeMap<SecretName, Arc<Declared>> {
    let declared = |(name, what): (&SecretName, &_)| {
        let declared = match old.get(name) {
            Some(old) if old.what().is_of_the_same(what) => {
                old.retune(what);
                Arc::clone(old)
            }
            Some(old) => Arc::new(Declared::in_place_of(old, what)),
            None => Arc::new(Declared::new(what)),
        };
        (name.clone(), declared)
    };
    declarations.iter().map(declared).collect()
}
