//! AppRole's secret-id: plain, or response-wrapped and unwrapped once.
//!
//! <https://developer.hashicorp.com/vault/docs/concepts/response-wrapping>: a wrapping token
//! that was used before us was intercepted, or is the one that an earlier run of this sidecar
//! used. Both are reported as what they are.

use rustify::endpoint::Endpoint;
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use rustify::errors::ClientError;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use vaultrs::api::sys::requests::{UnwrapRequest, WrappingLookupRequest};

use super::auth::read_credential;
use super::error::{Failure, Refusal, VaultError};
use super::refused::{Fingerprint, fingerprint};
use super::transport::Transport;
use crate::config::{SecretIdSource, VaultPath};
use crate::memory::SecretBuf;

/// A secret-id in hand, and which content of the file it came from.
pub(super) struct SecretId {
    pub(super) value: SecretBuf,
    /// Vault did not take it the last time.
    pub(super) refused: bool,
    origin: Fingerprint,
}

/// The secret-id to log in with: what is `known`, as long as the file still holds what it came
/// from, else what the file holds now.
pub(super) async fn read_secret_id(
    transport: &Transport,
    mount: &VaultPath,
    source: &SecretIdSource,
    known: Option<SecretId>,
) -> Result<SecretId, VaultError> {
    let path = format!("auth/{mount}/login");
    let content = match (read_credential(&source.file, &path), known) {
        (Ok(content), Some(known)) if fingerprint(content.expose()) == known.origin => {
            // Unwrapping twice cannot work, and a plain secret-id did not change.
            return Ok(known);
        }
        (Ok(content), _) => content,
        // The delivered file may be gone by now; what came from it is still good.
        (Err(_), Some(known)) if !known.refused => return Ok(known),
        (Err(error), _) => return Err(error),
    };
    let origin = fingerprint(content.expose());
    let value = if source.wrapped { unwrap(transport, mount, &content).await? } else { content };
    Ok(SecretId { value, refused: false, origin })
}

/// Looks the wrapping token up first: one that another path made is refused unused.
async fn unwrap(
    transport: &Transport,
    mount: &VaultPath,
    wrapping: &SecretBuf,
) -> Result<SecretBuf, VaultError> {
    let path = "sys/wrapping/lookup";
    let not_text = || VaultError::new(Failure::Refused(400, Refusal::WrappingToken), path);
    let token = std::str::from_utf8(wrapping.expose()).map_err(|_| not_text())?.to_owned();
    let found = transport.call(&WrappingLookupRequest { token }, None).await.map_err(used_up)?;
    let made_by = found.data.map(|data| data.creation_path).unwrap_or_default();
    let ours = made_by.starts_with(&format!("auth/{mount}/role/"))
        && (made_by.ends_with("/secret-id") || made_by.ends_with("/custom-secret-id"));
    if !ours {
        return Err(VaultError::new(Failure::Refused(400, Refusal::ForeignWrappingToken), path));
    }
    let answer = transport.call(&Unwrap(UnwrapRequest { token: None }), Some(wrapping)).await;
    let unwrapped = answer.map_err(used_up)?.data;
    match unwrapped {
        Some(SecretIdAnswer { secret_id }) => {
            #[expect(clippy::disallowed_methods, reason = "moved into the buffer that is kept")]
            let plain = secret_id.expose_secret().as_bytes();
            Ok(SecretBuf::copy_from(plain))
        }
        None => {
            Err(VaultError::new(Failure::Malformed("no secret-id in it"), "sys/wrapping/unwrap"))
        }
    }
}

/// Vault answers a dead wrapping token with 400 or, as a token of the request, with 403.
fn used_up(error: VaultError) -> VaultError {
    match error.failure {
        Failure::Refused(status, Refusal::Other) => {
            VaultError { failure: Failure::Refused(status, Refusal::WrappingToken), ..error }
        }
        Failure::Denied | Failure::InvalidToken => {
            VaultError { failure: Failure::Refused(403, Refusal::WrappingToken), ..error }
        }
        _ => error,
    }
}

#[derive(Deserialize)]
struct SecretIdAnswer {
    secret_id: SecretString,
}

/// vaultrs' unwrap with a response type that is wiped.
struct Unwrap(UnwrapRequest);

impl Endpoint for Unwrap {
    type Response = SecretIdAnswer;
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        self.0.path()
    }

    fn method(&self) -> RequestMethod {
        self.0.method()
    }

    fn body(&self) -> Result<Option<Vec<u8>>, ClientError> {
        self.0.body()
    }
}
