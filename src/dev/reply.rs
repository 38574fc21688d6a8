//! What a request is answered with, in the envelope every Vault response shares.
//!
//! Format: <https://developer.hashicorp.com/vault/api-docs#http-status-codes> and the
//! sample responses of each API page.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

/// An answer, or the refusal to give one.
pub(super) type Answer = Result<Reply, Failure>;

/// A successful answer.
pub(super) enum Reply {
    /// 204 without a body.
    Empty,
    /// The common envelope.
    Secret(Box<Secret>),
    /// A body with a shape of its own (health, seal status, an unwrapped response).
    Bare(u16, Bytes),
}

/// The common envelope, in the order Vault writes it.
#[derive(Default, Serialize)]
pub(super) struct Secret {
    #[serde(skip)]
    pub(super) status: u16,
    /// Some `sys/` paths repeat their data beside the envelope.
    #[serde(skip)]
    pub(super) inject: bool,
    pub(super) request_id: String,
    pub(super) lease_id: String,
    pub(super) renewable: bool,
    pub(super) lease_duration: u64,
    pub(super) data: Option<Box<RawValue>>,
    pub(super) wrap_info: Option<WrapInfo>,
    pub(super) warnings: Option<Vec<String>>,
    pub(super) auth: Option<Auth>,
    pub(super) mount_type: String,
}

/// A token as a login or renewal hands it over.
#[derive(Serialize)]
pub(super) struct Auth {
    pub(super) client_token: String,
    pub(super) accessor: String,
    pub(super) policies: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) token_policies: Vec<String>,
    pub(super) metadata: Option<BTreeMap<String, String>>,
    pub(super) lease_duration: u64,
    pub(super) renewable: bool,
    pub(super) entity_id: String,
    pub(super) token_type: &'static str,
    pub(super) orphan: bool,
    pub(super) mfa_requirement: Option<()>,
    pub(super) num_uses: u64,
}

/// Where a wrapped response can be collected.
#[derive(Serialize)]
pub(super) struct WrapInfo {
    pub(super) token: String,
    pub(super) accessor: String,
    pub(super) ttl: u64,
    pub(super) creation_time: String,
    pub(super) creation_path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) wrapped_accessor: String,
}

/// A refusal: a status and Vault's list of error strings.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: u16,
    pub(super) errors: Vec<String>,
}

impl Reply {
    /// 200 with `data`.
    pub(super) fn data(data: &impl Serialize) -> Answer {
        Ok(Self::Secret(Box::new(Secret::of(data)?)))
    }

    /// 200 with a list of keys, or 404 when there is none, as Vault lists.
    pub(super) fn keys(keys: Vec<String>) -> Answer {
        if keys.is_empty() {
            return Err(Failure::not_found());
        }
        Self::data(&serde_json::json!({ "keys": keys }))
    }

    #[expect(clippy::unnecessary_wraps, reason = "an answer like its siblings'")]
    pub(super) fn secret(secret: Secret) -> Answer {
        Ok(Self::Secret(Box::new(secret)))
    }
}

impl Secret {
    pub(super) fn of(data: &impl Serialize) -> Result<Self, Failure> {
        Ok(Self { status: 200, data: Some(raw(data)?), ..Self::default() })
    }

    pub(super) fn auth(auth: Auth) -> Self {
        Self { status: 200, auth: Some(auth), ..Self::default() }
    }

    /// The body's bytes, with the data repeated beside the envelope where Vault does so.
    pub(super) fn render(&self) -> Result<Bytes, Failure> {
        let text = serde_json::to_string(self).map_err(|_| Failure::internal("encoding"))?;
        let Some(data) = self.data.as_ref().filter(|_| self.inject) else {
            return Ok(Bytes::from(text));
        };
        let mut fields: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(data.get()).map_err(|_| Failure::internal("encoding"))?;
        let envelope: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(&text).map_err(|_| Failure::internal("encoding"))?;
        fields.extend(envelope);
        Ok(Bytes::from(raw(&fields)?.get().to_owned()))
    }
}

/// `value` as the JSON text that goes out, numbers as they are.
pub(super) fn raw(value: &impl Serialize) -> Result<Box<RawValue>, Failure> {
    serde_json::value::to_raw_value(value).map_err(|_| Failure::internal("encoding"))
}

impl Failure {
    pub(super) fn new(status: u16, error: impl Into<String>) -> Self {
        Self { status, errors: vec![error.into()] }
    }

    /// 400, the request is wrong.
    pub(super) fn bad(error: impl Into<String>) -> Self {
        Self::new(400, error)
    }

    /// 403 as for a request without a token.
    pub(super) fn denied() -> Self {
        Self::new(403, "permission denied")
    }

    /// 403 as for a token that lacks the capability.
    pub(super) fn forbidden() -> Self {
        Self::new(403, listed(&["permission denied"]))
    }

    /// 403 as for a token that does not exist (any more).
    pub(super) fn invalid_token() -> Self {
        Self::new(403, listed(&["permission denied", "invalid token"]))
    }

    /// 404 without a message: nothing is stored there.
    pub(super) fn not_found() -> Self {
        Self { status: 404, errors: Vec::new() }
    }

    /// 404: the engine knows no such path.
    pub(super) fn unsupported_path() -> Self {
        Self::new(404, listed(&["unsupported path"]))
    }

    /// 405: the engine knows the path, but not this operation on it.
    pub(super) fn unsupported_operation() -> Self {
        Self::new(405, listed(&["unsupported operation"]))
    }

    pub(super) fn no_route(path: &str) -> Self {
        Self::new(404, format!("no handler for route {path:?}. route entry not found."))
    }

    pub(super) fn internal(error: &str) -> Self {
        Self::new(500, listed(&[error]))
    }

    pub(super) fn render(&self) -> Bytes {
        let body = serde_json::json!({ "errors": self.errors });
        Bytes::from(body.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::internal(&error.to_string())
    }
}

/// Several errors the way Go's multierror prints them, which Vault passes on.
fn listed(errors: &[&str]) -> String {
    use std::fmt::Write as _;
    let noun = if errors.len() == 1 { "error" } else { "errors" };
    let mut text = format!("{} {noun} occurred:\n", errors.len());
    for error in errors {
        let _ = writeln!(text, "\t* {error}");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_like_vault() {
        assert_eq!(
            Failure::invalid_token().errors,
            ["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]
        );
        assert_eq!(Failure::forbidden().errors, ["1 error occurred:\n\t* permission denied\n\n"]);
        assert_eq!(Failure::not_found().render(), r#"{"errors":[]}"#);
    }

    #[test]
    fn injected_data_stands_twice() {
        let mut secret = Secret::of(&serde_json::json!({"keys": ["a"]})).unwrap();
        secret.inject = true;
        let body: serde_json::Value = serde_json::from_slice(&secret.render().unwrap()).unwrap();
        assert_eq!(body["keys"], body["data"]["keys"]);
        assert!(body["auth"].is_null());
    }
}
