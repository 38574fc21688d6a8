//! The cache on paused time, in front of a Vault that is played.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::*;
use crate::config::{CertificateSpec, Declaration, SecretSpec, VaultPath};
use crate::lease::{Lease, TokenLife, now};
use crate::secret::{EtagKey, Secret, render};
use crate::vault::played::{Play, upstream};
use crate::vault::{Failure, Refusal, Renewed, VaultError};

mod leases;
mod news;
mod reload;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// Leases below `creds/`, a role that is rotated at `static`, KV version 2 at `data`, and
/// certificates.
struct Vault {
    key: EtagKey,
    token: Arc<TokenLife>,
    default: Duration,
    max: Duration,
    renewable: bool,
    leases: HashMap<String, Instant>,
    renewals: usize,
    revoked: Vec<Handle>,
    reads: usize,
    /// Number and time of creation of the version at `data`.
    kv: (u64, &'static str),
    /// The last rotation, and how long it is good for.
    rotated: (Instant, Duration),
    away: Option<VaultError>,
}

impl Vault {
    fn new(default: Duration, max: Duration, token: Option<Duration>) -> Self {
        Self {
            key: EtagKey::random().unwrap(),
            token: Arc::new(TokenLife::new(token.map(|token| now() + token), false)),
            default,
            max,
            renewable: true,
            leases: HashMap::new(),
            renewals: 0,
            revoked: Vec::new(),
            reads: 0,
            kv: (1, "2026-01-01T00:00:00Z"),
            rotated: (now(), HOUR),
            away: None,
        }
    }

    fn lease(&mut self, path: &str) -> Lease {
        let id = format!("{path}/{}", self.leases.len());
        self.leases.insert(id.clone(), now());
        Lease {
            handle: Handle::Lease(id.into()),
            duration: self.default.min(self.max),
            ends_at: None,
            renewable: self.renewable,
            replace_at_percent: None,
            token: Arc::clone(&self.token),
        }
    }

    fn made(&self) -> usize {
        self.leases.len()
    }

    /// Another token took the place of the one in use.
    fn log_in_again(&mut self, life: Option<Duration>) {
        let token = Arc::new(TokenLife::new(life.map(|life| now() + life), false));
        std::mem::replace(&mut self.token, token).supersede();
    }
}

impl Play for Vault {
    fn read(&mut self, path: &str, version: Option<u64>) -> Result<Secret, VaultError> {
        self.reads += 1;
        if let Some(error) = &self.away {
            return Err(VaultError {
                retry_after: error.retry_after,
                ..VaultError::new(error.failure.clone(), path)
            });
        }
        let (data, number, lease) = if path.contains("creds/") {
            let lease = self.lease(path);
            (format!(r#"{{"username":"{path} {}"}}"#, self.made()), None, Some(lease))
        } else if path.ends_with("static") {
            let (last, period) = self.rotated;
            let (since, begin) = (now() - last, last.elapsed().as_secs() / period.as_secs());
            let ttl = period.as_secs() - since.as_secs() % period.as_secs();
            let fields =
                format!(r#"{{"last_vault_rotation":"{begin}","password":"{begin}","ttl":{ttl}}}"#);
            (fields, None, None)
        } else {
            let number = version.unwrap_or(self.kv.0);
            (format!(r#"{{"password":"{number} {}"}}"#, self.kv.1), Some(number), None)
        };
        let secret = render(&data, &self.key, number, lease).unwrap();
        Ok(if number.is_some() { secret.created(self.kv.1) } else { secret })
    }

    fn issue(&mut self, spec: &CertificateSpec) -> Result<Secret, VaultError> {
        let mut lease = self.lease(spec.mount.as_str());
        let serial = self.made().to_string().into();
        let (mount, revoke) = (spec.mount.as_str().into(), spec.revoke);
        lease.handle = Handle::Certificate { mount, serial, revoke };
        lease.ends_at = Some(SystemTime::now() + HOUR * 1000);
        lease.renewable = false;
        lease.replace_at_percent = Some(spec.renew_at_percent);
        let data = format!(r#"{{"certificate":"{}"}}"#, self.made());
        Ok(render(&data, &self.key, None, Some(lease)).unwrap())
    }

    fn renew(&mut self, lease_id: &str) -> Result<Renewed, VaultError> {
        self.renewals += 1;
        let Some(since) = self.leases.get(lease_id).filter(|_| self.away.is_none()) else {
            let refusal = Failure::Refused(400, Refusal::Lease);
            return Err(VaultError::new(refusal, lease_id));
        };
        // Vault counts in whole seconds.
        let left = (*since + self.max).saturating_duration_since(now());
        let duration = Duration::from_secs(self.default.min(left).as_secs());
        Ok(Renewed { duration, renewable: true })
    }

    fn revoke(&mut self, handle: Handle) {
        self.revoked.push(handle);
    }
}

struct Stage {
    vault: Arc<Mutex<Vault>>,
    login: watch::Sender<Login>,
    cache: SecretCache,
}

impl Stage {
    /// With one name, `db`, which is fetched already.
    async fn with(vault: Vault, what: Declaration) -> Self {
        let vault = Arc::new(Mutex::new(vault));
        let (upstream, login) = upstream(Arc::clone(&vault));
        let cache = SecretCache::new(&declarations(what), 1 << 20, upstream);
        let stage = Self { vault, login, cache };
        stage.cache.get(&db(), None).await.unwrap();
        stage
    }

    fn vault(&self) -> MutexGuard<'_, Vault> {
        self.vault.lock().unwrap()
    }

    fn log_in_again(&self, life: Option<Duration>) {
        self.vault().log_in_again(life);
        self.login.send_replace(Login::In);
    }

    async fn served(&self) -> Served {
        self.cache.get(&db(), None).await.unwrap()
    }

    async fn text(&self) -> String {
        String::from_utf8(self.served().await.secret.json().to_vec()).unwrap()
    }

    fn rotations(&self) -> u64 {
        *self.cache.rotations().newest().borrow()
    }
}

fn db() -> SecretName {
    SecretName::parse("db").unwrap()
}

fn secret(path: &str, refresh: Duration) -> Declaration {
    let (path, max_stale) = (VaultPath::parse(path).unwrap(), HOUR);
    Declaration::Secret(SecretSpec { path, required: true, refresh, max_stale })
}

fn declarations(what: Declaration) -> Declarations {
    [(db(), what)].into()
}
