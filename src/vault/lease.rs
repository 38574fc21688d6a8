//! Renewing and revoking leases.
//!
//! <https://developer.hashicorp.com/vault/api-docs/system/leases>

use std::time::Duration;

use rustify::endpoint::Endpoint;
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use rustify::errors::ClientError;

use super::error::VaultError;
use super::transport::Transport;
use crate::lease::granted;
use crate::memory::SecretBuf;

/// What a renewal gave.
#[derive(Debug, Clone, Copy)]
pub struct Renewed {
    /// Life from now on.
    pub duration: Duration,
    /// Whether another renewal may be asked for.
    pub renewable: bool,
}

/// Asks for more life for a lease.
pub(super) async fn renew(
    transport: &Transport,
    token: &SecretBuf,
    lease_id: &str,
) -> Result<Renewed, VaultError> {
    let envelope = transport.call(&OnLease { action: "renew", lease_id }, Some(token)).await?;
    let duration = granted(envelope.lease_duration);
    Ok(Renewed { duration, renewable: envelope.renewable })
}

/// Ends a lease, and the credential with it.
pub(super) async fn revoke(
    transport: &Transport,
    token: &SecretBuf,
    lease_id: &str,
) -> Result<(), VaultError> {
    transport.call_empty(&OnLease { action: "revoke", lease_id }, Some(token)).await
}

struct OnLease<'a> {
    action: &'static str,
    lease_id: &'a str,
}

impl Endpoint for OnLease<'_> {
    type Response = ();
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        format!("sys/leases/{}", self.action)
    }

    fn method(&self) -> RequestMethod {
        RequestMethod::PUT
    }

    fn body(&self) -> Result<Option<Vec<u8>>, ClientError> {
        let body = serde_json::json!({ "lease_id": self.lease_id });
        Ok(Some(body.to_string().into_bytes()))
    }
}
