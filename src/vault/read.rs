//! Reading a secret: KV version 1, KV version 2, and any other engine's read path.
//!
//! Formats: <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version>
//! and <https://developer.hashicorp.com/vault/api-docs#the-response-envelope>.

use std::borrow::Cow;
use std::sync::Arc;

use reqwest::StatusCode;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error::{Failure, Refusal, VaultError, recognize};
use super::token::Token;
use super::transport::{Answer, Transport};
use crate::config::VaultPath;
use crate::lease::{Handle, Lease, TokenLife, granted};
use crate::memory::SecretBuf;
use crate::secret::{EtagKey, RenderError, Secret, render};

/// The envelope of every answer; the content stays where it is in the body.
#[derive(Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, default)]
    lease_id: Cow<'a, str>,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
    /// As it stands there, which may be `null`.
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) data: Option<&'a RawValue>,
    /// The answer is kept back, as by a control group of Vault Enterprise.
    wrap_info: Option<IgnoredAny>,
    /// Stands in every error of Vault.
    errors: Option<IgnoredAny>,
}

fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// What KV version 2 puts into `data`. Nothing else may stand beside the two, so that a KV
/// version 1 secret with a field named `data` is not mistaken for it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KvTwo<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: KvMetadata<'a>,
}

#[derive(Deserialize)]
struct KvMetadata<'a> {
    version: u64,
    #[serde(borrow)]
    created_time: Cow<'a, str>,
    #[serde(borrow)]
    deletion_time: Cow<'a, str>,
    destroyed: bool,
}

/// Reads `path`, at `version` where that is given.
pub(super) async fn read(
    transport: &Transport,
    token: &Token,
    path: &VaultPath,
    version: Option<u64>,
    key: &EtagKey,
    wanted: &dyn Fn() -> bool,
) -> Result<Secret, VaultError> {
    // A path is meant literally, as the vault CLI takes it; the URL escapes all else by itself.
    let mut target = path.as_str().replace('%', "%25");
    if let Some(version) = version {
        target = format!("{target}?version={version}");
    }
    let answer = transport.get(&target, &token.value, wanted).await?;
    understand(&answer, version, key, &token.life)
        .map_err(|failure| VaultError::new(failure, path.as_str()))
}

/// [`read`]'s understanding of an answer, for the fuzz target.
pub(super) fn understand_text(status: u16, body: &[u8], key: &EtagKey) -> Result<Secret, Failure> {
    let status = StatusCode::from_u16(status).map_err(|_| Failure::Malformed("the status"))?;
    let answer = Answer { status, body: SecretBuf::copy_from(body) };
    understand(&answer, None, key, &Arc::new(TokenLife::new(None, true)))
}

fn understand(
    answer: &Answer,
    version: Option<u64>,
    key: &EtagKey,
    token: &Arc<TokenLife>,
) -> Result<Secret, Failure> {
    let text = std::str::from_utf8(answer.body.expose())
        .map_err(|_| Failure::Malformed("the body is not UTF-8"))?;
    let missing = || missing(version, text);
    let envelope = serde_json::from_str::<Envelope<'_>>(text)
        .map_err(|_| Failure::Malformed("the body is not the JSON expected"))?;
    // A proxy on the way has statuses too: that nothing is stored is Vault's to say.
    if envelope.data.is_none() && envelope.errors.is_none() {
        return Err(Failure::Malformed("neither data nor errors in it"));
    }
    if envelope.wrap_info.is_some() {
        return Err(Failure::Malformed("wrapped: somebody has to approve it first"));
    }
    let Some(data) = envelope.data.filter(|data| data.get() != "null") else {
        return Err(missing());
    };
    let kv_two = serde_json::from_str::<KvTwo<'_>>(data.get()).ok();
    let kv_two = kv_two.filter(|kv| !kv.metadata.created_time.is_empty());
    match kv_two {
        Some(kv) if kv.metadata.destroyed => Err(Failure::Destroyed),
        Some(kv) if kv.data.is_none() && !kv.metadata.deletion_time.is_empty() => {
            Err(Failure::Deleted)
        }
        Some(KvTwo { data: Some(data), metadata }) => {
            let secret = render(data.get(), key, Some(metadata.version), None);
            secret.map(|secret| secret.created(&metadata.created_time)).map_err(cannot_serve)
        }
        None if answer.status != StatusCode::NOT_FOUND => {
            render(data.get(), key, None, lease(&envelope, token)).map_err(cannot_serve)
        }
        _ => Err(missing()),
    }
}

fn missing(version: Option<u64>, text: &str) -> Failure {
    match recognize(text.as_bytes()) {
        refusal @ (Refusal::Mount | Refusal::KvPathWithoutData) => Failure::Refused(404, refusal),
        _ if version.is_some() => Failure::NoSuchVersion,
        _ => Failure::NotFound,
    }
}

pub(super) fn lease(envelope: &Envelope<'_>, token: &Arc<TokenLife>) -> Option<Lease> {
    // KV version 1 sends a duration without a lease: a hint, not a life.
    (!envelope.lease_id.is_empty()).then(|| Lease {
        handle: Handle::Lease(envelope.lease_id.as_ref().into()),
        duration: granted(envelope.lease_duration),
        ends_at: None,
        renewable: envelope.renewable,
        replace_at_percent: None,
        token: Arc::clone(token),
    })
}

fn cannot_serve(error: RenderError) -> Failure {
    Failure::Malformed(match error {
        RenderError::Malformed => "the data is not a JSON object with unique names",
        RenderError::TooDeep => "the data is nested too deeply",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str, version: Option<u64>) -> Result<Secret, Failure> {
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Answer { status, body: SecretBuf::copy_from(body.as_bytes()) };
        let token = Arc::new(TokenLife::new(None, true));
        understand(&answer, version, &EtagKey::random().unwrap(), &token)
    }

    fn kv_two(data: &str, deletion_time: &str, destroyed: bool) -> String {
        format!(
            r#"{{"request_id":"r","lease_id":"","renewable":false,"lease_duration":0,"data":{{"data":{data},"metadata":{{"created_time":"2026-01-01T00:00:00Z","custom_metadata":null,"deletion_time":"{deletion_time}","destroyed":{destroyed},"version":7}}}},"wrap_info":null,"warnings":null,"auth":null}}"#
        )
    }

    #[test]
    fn kv_two_gives_fields_and_version() {
        let secret = read(200, &kv_two(r#"{"a":"b"}"#, "", false), None).unwrap();
        assert_eq!(secret.kv_version(), Some(7));
        assert_eq!(&secret.field("a").unwrap().0[..], b"b");
        assert!(secret.lease().is_none());
    }

    #[test]
    fn a_scheduled_deletion_is_not_a_deletion() {
        let body = kv_two(r#"{"a":"b"}"#, "2999-01-01T00:00:00Z", false);
        assert!(read(200, &body, None).is_ok());
    }

    #[test]
    fn deleted_destroyed_and_missing_are_told_apart() {
        let when = "2026-02-01T00:00:00Z";
        assert_eq!(read(404, &kv_two("null", when, false), None).unwrap_err(), Failure::Deleted);
        assert_eq!(read(404, &kv_two("null", when, true), None).unwrap_err(), Failure::Destroyed);
        assert_eq!(read(404, r#"{"errors":[]}"#, None).unwrap_err(), Failure::NotFound);
        assert_eq!(read(404, r#"{"errors":[]}"#, Some(9)).unwrap_err(), Failure::NoSuchVersion);
        let unmounted = r#"{"errors":["no handler for route \"x\". route entry not found."]}"#;
        assert_eq!(read(404, unmounted, None).unwrap_err(), Failure::Refused(404, Refusal::Mount));
    }

    #[test]
    fn kv_one_and_leased_reads() {
        let body = r#"{"lease_id":"","lease_duration":2764800,"renewable":false,"data":{"data":"x","metadata":"y"}}"#;
        let secret = read(200, body, None).unwrap();
        assert!(secret.lease().is_none());
        assert_eq!(&secret.field("metadata").unwrap().0[..], b"y");
        let body = r#"{"lease_id":"database/creds/a/1","lease_duration":60,"renewable":true,"data":{"username":"u"}}"#;
        let lease = read(200, body, None).unwrap().lease().cloned().unwrap();
        assert_eq!(lease.duration, std::time::Duration::from_mins(1));
        assert!(lease.renewable);
    }

    #[test]
    fn broken_answers_are_malformed() {
        for body in ["", "{", "[]", r#"{"data":"text"}"#, r#"{"data":[1]}"#, "canary"] {
            let failure = read(200, body, None).unwrap_err();
            assert!(matches!(failure, Failure::Malformed(_)), "{body}: {failure}");
        }
        assert_eq!(read(200, r#"{"data":null}"#, None).unwrap_err(), Failure::NotFound);
        let kept_back = r#"{"data":null,"wrap_info":{"token":"t","ttl":86400}}"#;
        assert!(matches!(read(200, kept_back, None).unwrap_err(), Failure::Malformed(_)));
        assert_eq!(
            read(200, r#"{"data":null,"wrap_info":null}"#, None).unwrap_err(),
            Failure::NotFound
        );
    }

    #[test]
    fn only_vault_says_that_nothing_is_stored() {
        for (status, body) in [
            (404, ""),
            (404, "<html>not found</html>"),
            (404, r#"{"message":"no route"}"#),
            (200, r#"{"status":"ok"}"#),
            (204, ""),
        ] {
            let failure = read(status, body, None).unwrap_err();
            assert!(matches!(failure, Failure::Malformed(_)), "{status} {body}: {failure}");
        }
    }
}
