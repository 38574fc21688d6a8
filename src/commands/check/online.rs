//! `--online`: a real login, and everything read once.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::app::first_login;
use crate::config::{AmbassadorSpec, Config, Declaration, VaultConfig};
use crate::error::Error;
use crate::observe::Metrics;
use crate::secret::Secret;
use crate::vault::Upstream;

/// A check is somebody's question, not a start: it waits for Vault only this long.
const PATIENCE: Duration = Duration::from_secs(15);

/// Logs in, reads every secret and has every certificate issued, and hands all of it back.
pub(super) async fn online(config: Config) -> Result<(), Error> {
    let declarations = config.declarations();
    let auth = Arc::new(config.auth);
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    // One of these is no herd.
    let vault = VaultConfig { start_jitter: Duration::ZERO, ..config.vault.clone() };
    let (upstream, thread) =
        Upstream::start(vault, Arc::clone(&auth), metrics).map_err(Error::VaultSettings)?;
    let mut leases = Vec::new();
    let outcome = async {
        first_login(&upstream, &config.vault, &auth, PATIENCE).await?;
        crate::commands::print(format!("login: ok: method {}\n", auth.name()).as_bytes())?;
        let (mut unread, mut unusable) = (0, 0);
        for (name, what) in &declarations {
            let got = match what {
                Declaration::Secret(spec) => upstream.read(&spec.path, None).await,
                Declaration::Certificate(spec) => upstream.issue(spec).await,
            };
            // Writing to a String cannot fail.
            let mut lines = String::new();
            match got {
                Ok(secret) => {
                    leases.extend(secret.lease().map(|lease| lease.handle.clone()));
                    let _ = writeln!(lines, "{name}: ok: {}", summary(&secret, what));
                    let users = config.ambassadors.iter();
                    for spec in users.filter(|spec| spec.secret() == Some(name)) {
                        if let Some(why) = unfit(&secret, spec) {
                            unusable += 1;

                            let at = format!("adapters.ambassador.{}", spec.name);
                            let _ = writeln!(lines, "{at}: failed: {why}");
                        }
                    }
                }
                Err(error) => {
                    unread += 1;
                    let _ = writeln!(lines, "{name}: failed: {error}");
                }
            }
            crate::commands::print(lines.as_bytes())?;
        }
        match (unread, unusable) {
            (0, 0) => Ok(()),
            (0, _) => Err(Error::Client("a secret lacks what an ambassador needs of it".into())),
            _ => Err(Error::Client(format!("{unread} of the secrets cannot be read"))),
        }
    }
    .await;
    upstream.stop(Duration::from_secs(5), leases, CancellationToken::new()).await;
    let _ = tokio::task::spawn_blocking(|| thread.join()).await;
    outcome
}

/// Why `spec` can make no credential of the secret; no value is named.
fn unfit(secret: &Secret, spec: &AmbassadorSpec) -> Option<String> {
    spec.fields().into_iter().find_map(|field| match secret.field(field) {
        None => Some(format!("the secret has no field {field:?}")),
        Some((value, _)) if value.trim_ascii().is_empty() => Some(format!("{field:?} is empty")),
        Some(_) => None,
    })
}

/// What may be said of what Vault gave.
fn summary(secret: &Secret, what: &Declaration) -> String {
    let life = secret.lease().map(|lease| lease.duration);
    match what {
        Declaration::Secret(_) => {
            let version = secret.kv_version().map(|version| format!(", version {version}"));
            let lease = life.map(|life| format!(", lease {life:?}"));
            let (version, lease) = (version.unwrap_or_default(), lease.unwrap_or_default());
            let count = secret.field_count();
            let plural = if count == 1 { "" } else { "s" };
            format!("{count} field{plural}{version}{lease}")
        }
        Declaration::Certificate(_) => {
            format!("certificate, lives {}s", life.unwrap_or_default().as_secs())
        }
    }
}
