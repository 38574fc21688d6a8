//! Logging in: token, AppRole, Kubernetes, JWT, TLS certificate.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use rustify::endpoint::Endpoint;
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use rustify::errors::ClientError;
use secrecy::{ExposeSecret, SecretString};
use vaultrs::api::auth::approle::requests::LoginWithApproleRequest;
use vaultrs::api::auth::kubernetes::requests::LoginWithKubernetesRequest;
use vaultrs::api::auth::oidc::requests::JWTLoginRequest;

use super::approle::{SecretId, read_secret_id};
use super::error::{Failure, Refusal, VaultError};
use super::refused::{Fingerprint, LastRefusal, fingerprint};
use super::stamp::Stamp;
use super::token::Token;
use super::transport::Transport;
use crate::config::{AuthMethod, TokenSource, VaultPath};
use crate::lease::now;
use crate::memory::SecretBuf;

/// No credential file is longer.
pub(super) const MAX_CREDENTIAL: usize = 64 << 10;

/// A login method and what it has to remember between two logins.
pub(super) struct Authenticator {
    pub(super) method: Arc<AuthMethod>,
    secret_id: RefCell<Option<SecretId>>,
    pub(super) refused: LastRefusal,
}

impl Authenticator {
    pub(super) fn new(method: Arc<AuthMethod>) -> Self {
        let refused = LastRefusal::new(method.credential_file().is_some());
        Self { method, secret_id: RefCell::new(None), refused }
    }

    /// One attempt. Credential files are read anew.
    pub(super) async fn login(&self, transport: &Transport) -> Result<Token, VaultError> {
        match &*self.method {
            AuthMethod::Token(source) => Token::adopt(transport, bring_token(source)?).await,
            AuthMethod::AppRole { mount, role_id, secret_id } => {
                let secret_id = match secret_id {
                    Some(source) => {
                        let known = self.secret_id.take();
                        let secret_id = read_secret_id(transport, mount, source, known).await?;
                        let plain = text(&secret_id.value, &source.file);
                        self.secret_id.replace(Some(secret_id));
                        plain?
                    }
                    None => String::new(),
                };
                let request = LoginWithApproleRequest {
                    mount: mount.to_string(),
                    role_id: expose(role_id).to_owned(),
                    secret_id,
                };
                self.submit(transport, &request).await
            }
            AuthMethod::Kubernetes { mount, role, jwt_file } => {
                let jwt = read_credential(jwt_file, "auth")?;
                let request = LoginWithKubernetesRequest {
                    mount: mount.to_string(),
                    role: role.clone(),
                    jwt: text(&jwt, jwt_file)?,
                };
                self.submit(transport, &request).await
            }
            AuthMethod::Jwt { mount, role, jwt_file } => {
                let jwt = read_credential(jwt_file, "auth")?;
                let request = JWTLoginRequest {
                    mount: mount.to_string(),
                    jwt: text(&jwt, jwt_file)?,
                    role: role.clone(),
                };
                self.submit(transport, &request).await
            }
            AuthMethod::Cert { mount, role } => {
                let request = CertLogin { mount, role: role.as_deref() };
                self.submit(transport, &request).await
            }
        }
    }

    async fn submit<E: Endpoint>(
        &self,
        transport: &Transport,
        request: &E,
    ) -> Result<Token, VaultError> {
        let asked = now();
        let envelope = transport.call(request, None).await?;
        match envelope.auth {
            Some(auth) if auth.mfa_requirement.is_some() => {
                let failure = Failure::Refused(200, Refusal::MultiFactor);
                Err(VaultError::new(failure, &request.path()))
            }
            Some(auth) => Ok(Token::from_login(auth, asked)),
            None => Err(VaultError::new(Failure::Malformed("no auth"), &request.path())),
        }
    }

    /// Which credential a login would bring; `None` when there is none to be read.
    pub(super) fn fingerprint(&self, connection: &Stamp) -> Option<Fingerprint> {
        if matches!(*self.method, AuthMethod::Cert { .. }) {
            return Some(connection.fingerprint());
        }
        match self.method.credential_file() {
            Some(file) => {
                read_credential(file, "auth").ok().map(|found| fingerprint(found.expose()))
            }
            None => Some(fingerprint(b"")),
        }
    }

    /// The operator put another token into the file that `token` came from.
    pub(super) fn brings_another(&self, token: &Token) -> bool {
        let AuthMethod::Token(TokenSource::File(file)) = &*self.method else { return false };
        let found = read_credential(file, "auth/token");
        found.is_ok_and(|found| !found.constant_time_eq(token.value.expose()))
    }

    /// After a refusal: there is another credential, or the time of the same one has come.
    pub(super) fn may_try_again(&self, connection: &Stamp) -> bool {
        let brought = || self.fingerprint(connection);
        self.refused.is_noted() && brought().is_some_and(|it| !self.refused.waits(it))
    }

    /// Forgets a secret-id that Vault did not take, so that the next login reads the file anew.
    pub(super) fn forget(&self) {
        if let Some(secret_id) = self.secret_id.borrow_mut().as_mut() {
            secret_id.refused = true;
        }
    }
}

impl AuthMethod {
    /// The method's name in configuration, logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::AppRole { .. } => "approle",
            Self::Kubernetes { .. } => "kubernetes",
            Self::Jwt { .. } => "jwt",
            Self::Cert { .. } => "cert",
        }
    }

    /// Whether a token that `self` got is what `other` would get.
    pub(crate) fn is_same_login(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Token(TokenSource::Environment(one)),
                Self::Token(TokenSource::Environment(other)),
            ) => one.constant_time_eq(other.expose()),
            (Self::Token(TokenSource::File(one)), Self::Token(TokenSource::File(other))) => {
                one == other
            }
            (
                Self::AppRole { mount, role_id, secret_id },
                Self::AppRole { mount: m, role_id: r, secret_id: s },
            ) => mount == m && secret_id == s && expose(role_id) == expose(r),
            (
                Self::Kubernetes { mount, role, jwt_file },
                Self::Kubernetes { mount: m, role: r, jwt_file: f },
            ) => mount == m && role == r && jwt_file == f,
            (Self::Jwt { mount, role, jwt_file }, Self::Jwt { mount: m, role: r, jwt_file: f }) => {
                mount == m && role == r && jwt_file == f
            }
            (Self::Cert { mount, role }, Self::Cert { mount: m, role: r }) => {
                mount == m && role == r
            }
            _ => false,
        }
    }

    /// Where the method is mounted, below `auth/`.
    pub fn mount(&self) -> &str {
        match self {
            Self::Token(_) => "token",
            Self::AppRole { mount, .. }
            | Self::Kubernetes { mount, .. }
            | Self::Jwt { mount, .. }
            | Self::Cert { mount, .. } => mount.as_str(),
        }
    }

    /// As whom it logs in, for people: the role, or where the token comes from. A role-id is
    /// shortened: it is no secret, but half of a credential.
    pub fn identity(&self) -> String {
        match self {
            Self::Token(TokenSource::Environment(_)) => "token from VAULT_TOKEN".into(),
            Self::Token(TokenSource::File(file)) => format!("token from {}", file.display()),
            Self::AppRole { role_id, .. } => {
                let start: String = expose(role_id).chars().take(8).collect();
                format!("role_id {start}…")
            }
            Self::Kubernetes { role, .. }
            | Self::Jwt { role: Some(role), .. }
            | Self::Cert { role: Some(role), .. } => format!("role {role}"),
            Self::Jwt { role: None, .. } => "the default role".into(),
            Self::Cert { role: None, .. } => "any role".into(),
        }
    }

    /// The file that its credential is read from at each login.
    pub fn credential_file(&self) -> Option<&Path> {
        match self {
            Self::Token(TokenSource::File(file)) => Some(file),
            Self::AppRole { secret_id: Some(source), .. } => Some(&source.file),
            Self::Kubernetes { jwt_file, .. } | Self::Jwt { jwt_file, .. } => Some(jwt_file),
            Self::Token(_) | Self::AppRole { .. } | Self::Cert { .. } => None,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "to log in, to compare, and to show its start")]
fn expose(role_id: &SecretString) -> &str {
    role_id.expose_secret()
}

fn bring_token(source: &TokenSource) -> Result<SecretBuf, VaultError> {
    match source {
        TokenSource::Environment(token) => Ok(SecretBuf::copy_from(token.expose())),
        TokenSource::File(file) => read_credential(file, "auth/token"),
    }
}

/// Reads a credential file; an empty one is an error, so that it cannot be mistaken for one.
pub(super) fn read_credential(file: &Path, path: &str) -> Result<SecretBuf, VaultError> {
    let unusable = |what: String| VaultError::new(Failure::Credential(what.into()), path);
    let read = SecretBuf::read_file(file, MAX_CREDENTIAL)
        .map_err(|e| unusable(format!("cannot read {}: {e}", file.display())))?;
    if read.is_empty() {
        return Err(unusable(format!("{} is empty", file.display())));
    }
    Ok(read)
}

/// The credential as the text that a login request needs.
fn text(credential: &SecretBuf, file: &Path) -> Result<String, VaultError> {
    std::str::from_utf8(credential.expose()).map(str::to_owned).map_err(|_| {
        let what = format!("{} is not text", file.display());
        VaultError::new(Failure::Credential(what.into()), "auth")
    })
}

/// `POST auth/MOUNT/login` with the role as `name`:
/// <https://developer.hashicorp.com/vault/api-docs/auth/cert#login-with-tls-certificate-method>.
/// vaultrs sends it as `cert_name`, which Vault does not read.
struct CertLogin<'a> {
    mount: &'a VaultPath,
    role: Option<&'a str>,
}

impl Endpoint for CertLogin<'_> {
    type Response = ();
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        format!("auth/{}/login", self.mount)
    }

    fn method(&self) -> RequestMethod {
        RequestMethod::POST
    }

    fn body(&self) -> Result<Option<Vec<u8>>, ClientError> {
        let body = match self.role {
            Some(role) => serde_json::json!({ "name": role }),
            None => serde_json::json!({}),
        };
        Ok(Some(body.to_string().into_bytes()))
    }
}
