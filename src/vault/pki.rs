//! The PKI engine: a certificate signed or issued, and revoked.
//!
//! <https://developer.hashicorp.com/vault/api-docs/secret/pki>

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use serde_json::{Map, Value, json};

use super::error::{Failure, Refusal, VaultError};
use super::read::{self, Envelope};
use super::token::Token;
use super::transport::{Answer, Transport};
use crate::certificate::{Inspected, Issued, PrivateKey, assemble, inspect, public_key};
use crate::config::{CertificateSpec, KeyOrigin, KeyType, VaultPath};
use crate::lease::{Handle, LONGEST, Lease, TokenLife};
use crate::memory::SecretBuf;
use crate::observe::event;
use crate::secret::{EtagKey, Secret};

/// The wait after a certificate that is not what was asked for.
const UNFIT_PAUSE: Duration = Duration::from_mins(5);

/// Has a certificate issued, inspects it, and writes it into the form that is served.
pub(super) async fn issue(
    transport: &Transport,
    token: &Token,
    spec: &CertificateSpec,
    etags: &EtagKey,
    wanted: &dyn Fn() -> bool,
) -> Result<Secret, VaultError> {
    let engine = Engine { transport, token, spec, etags, wanted };
    match spec.key {
        KeyOrigin::Local(key_type) => engine.sign(key_type).await,
        KeyOrigin::Vault => engine.generate().await,
        KeyOrigin::Auto(key_type) => match engine.sign(key_type).await {
            Err(error) if is_about_signing(&error) => {
                event::key_made_by_vault(&spec.role, &error);
                match engine.generate().await {
                    // Neither is let: what was wrong with the way that we prefer says more.
                    Err(second) if second.failure == Failure::Denied => Err(error),
                    outcome => outcome,
                }
            }
            outcome => outcome,
        },
    }
}

/// The list of revoked certificates, PEM.
pub(super) async fn revocation_list(
    transport: &Transport,
    token: &Token,
    mount: &VaultPath,
    wanted: &dyn Fn() -> bool,
) -> Result<Vec<u8>, VaultError> {
    let path = format!("{mount}/crl/pem");
    let answer = transport.get(&path, &token.value, wanted).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Err(VaultError::new(answer.not_found(), &path));
    }
    // Anybody may have it.
    Ok(answer.body.expose().to_vec())
}

/// Ends a certificate before its time: it appears on the revocation list.
pub(super) async fn revoke(
    transport: &Transport,
    token: &SecretBuf,
    mount: &str,
    serial: &str,
) -> Result<(), VaultError> {
    let path = format!("{mount}/revoke");
    let answer =
        transport.post(&path, token, &json!({ "serial_number": serial }), &|| true).await?;
    if answer.status.is_success() {
        return Ok(());
    }
    Err(VaultError::new(answer.not_found(), &path))
}

/// The policy lets us issue but not sign, or the role wants another type of key.
fn is_about_signing(error: &VaultError) -> bool {
    matches!(error.failure, Failure::Denied | Failure::Refused(_, Refusal::KeyType))
}

struct Engine<'a> {
    transport: &'a Transport,
    token: &'a Token,
    spec: &'a CertificateSpec,
    etags: &'a EtagKey,
    wanted: &'a dyn Fn() -> bool,
}

impl Engine<'_> {
    /// The key is made here; Vault sees a signing request.
    async fn sign(&self, key_type: KeyType) -> Result<Secret, VaultError> {
        let path = self.path("sign");
        let unmade = |_| VaultError::new(Failure::Malformed("no signing request"), &path);
        let key = PrivateKey::generate(key_type, self.spec).map_err(unmade)?;
        let mut body = self.names();
        body.insert("csr".into(), key.request_pem().into());
        let answer = self.post(&path, body).await?;
        self.understand(&answer, Some(&key)).map_err(|failure| error(failure, &path))
    }

    /// Vault makes the key.
    async fn generate(&self) -> Result<Secret, VaultError> {
        let path = self.path("issue");
        let mut body = self.names();
        body.insert("private_key_format".into(), "pkcs8".into());
        let answer = self.post(&path, body).await?;
        self.understand(&answer, None).map_err(|failure| error(failure, &path))
    }

    async fn post(&self, path: &str, body: Map<String, Value>) -> Result<Answer, VaultError> {
        self.transport.post(path, &self.token.value, &body.into(), self.wanted).await
    }

    /// A name of a role is meant literally.
    fn path(&self, action: &str) -> String {
        format!("{}/{action}/{}", self.spec.mount, self.spec.role).replace('%', "%25")
    }

    fn names(&self) -> Map<String, Value> {
        let spec = self.spec;
        let mut names = Map::new();
        names.insert("common_name".into(), spec.common_name.as_str().into());
        if !spec.alt_names.is_empty() {
            names.insert("alt_names".into(), spec.alt_names.join(",").into());
        }
        if !spec.ip_sans.is_empty() {
            let ips = spec.ip_sans.iter().map(ToString::to_string);
            names.insert("ip_sans".into(), ips.collect::<Vec<_>>().into());
        }
        if !spec.uri_sans.is_empty() {
            names.insert("uri_sans".into(), spec.uri_sans.clone().into());
        }
        if let Some(ttl) = spec.ttl {
            names.insert("ttl".into(), format!("{}s", ttl.as_secs()).into());
        }
        names
    }

    fn understand(&self, answer: &Answer, key: Option<&PrivateKey>) -> Result<Secret, Failure> {
        understand(answer, key, self.spec, &self.token.life, self.etags)
    }
}

/// [`issue`]'s understanding of an answer with a key that Vault made, for the fuzz target.
pub(super) fn understand_text(
    status: u16,
    body: &[u8],
    spec: &CertificateSpec,
    etags: &EtagKey,
) -> Result<Secret, Failure> {
    let status = StatusCode::from_u16(status).map_err(|_| Failure::Malformed("the status"))?;
    let answer = Answer { status, body: SecretBuf::copy_from(body) };
    understand(&answer, None, spec, &Arc::new(TokenLife::new(None, true)), etags)
}

/// From the answer to what is served. `key` is ours; without it Vault sent one.
fn understand(
    answer: &Answer,
    key: Option<&PrivateKey>,
    spec: &CertificateSpec,
    token: &Arc<TokenLife>,
    etags: &EtagKey,
) -> Result<Secret, Failure> {
    if answer.status == StatusCode::NOT_FOUND {
        return Err(answer.not_found());
    }
    let envelope: Envelope<'_> = serde_json::from_slice(answer.body.expose())
        .map_err(|_| Failure::Malformed("the body is not the JSON expected"))?;
    let data = envelope.data.ok_or(Failure::Malformed("no data in it"))?;
    let issued: Issued<'_> = serde_json::from_str(data.get())
        .map_err(|_| Failure::Malformed("the data is not an issued certificate"))?;
    let vaults_key;
    let (pem, public) = if let Some(key) = key {
        (key.pem(), Some(key.public_key().to_vec()))
    } else {
        vaults_key = issued.private_key()?;
        (&vaults_key, public_key(&vaults_key)?)
    };
    let (leaf, chain) = (issued.leaf()?, issued.chain()?);
    let found = inspect(spec, &leaf, &chain, public.as_deref(), SystemTime::now())?;
    if !found.chain_checked {
        event::chain_not_checked(issued.serial_number()?);
    }
    let leased = read::lease(&envelope, token);
    let lease = life(spec, leased, issued.serial_number()?, found);
    Ok(assemble(&issued, pem, lease, etags)?)
}

/// A certificate lives by itself, unless the role gives it a lease, which ends with our token.
fn life(spec: &CertificateSpec, leased: Option<Lease>, serial: &str, found: Inspected) -> Lease {
    let own = Lease {
        handle: Handle::Certificate {
            mount: spec.mount.as_str().into(),
            serial: serial.into(),
            revoke: spec.revoke,
        },
        duration: found.left.min(LONGEST),
        ends_at: Some(found.ends_at),
        renewable: false,
        replace_at_percent: Some(spec.renew_at_percent),
        token: Arc::new(TokenLife::new(None, false)),
    };
    match leased.filter(|leased| !leased.duration.is_zero()) {
        Some(leased) => Lease {
            handle: leased.handle,
            duration: own.duration.min(leased.duration),
            token: leased.token,
            ..own
        },
        None => own,
    }
}

/// What is issued otherwise than asked will not be issued better at once.
fn error(failure: Failure, path: &str) -> VaultError {
    let retry_after = matches!(failure, Failure::Unfit(_)).then_some(UNFIT_PAUSE);
    VaultError { retry_after, ..VaultError::new(failure, path) }
}
