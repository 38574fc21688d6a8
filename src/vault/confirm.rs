//! Whether a KV version 2 secret is still the version that we hold, from its metadata, so that an
//! unchanged secret is not sent again.
//!
//! <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-metadata>

use std::borrow::Cow;
use std::collections::HashMap;

use reqwest::StatusCode;
use serde::Deserialize;

use super::error::{Retry, VaultError};
use super::token::Token;
use super::transport::{Answer, Transport};
use crate::config::VaultPath;
use crate::secret::KvVersion;

/// What the metadata said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// The version held is the latest.
    Same,
    /// There is another, or this one is not to be had any more.
    Other,
    /// The policy does not let us read metadata, or there is none at the path.
    Unknown,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: Metadata<'a>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    current_version: u64,
    #[serde(borrow)]
    versions: HashMap<Cow<'a, str>, Version<'a>>,
}

#[derive(Deserialize)]
struct Version<'a> {
    #[serde(borrow)]
    created_time: Cow<'a, str>,
    #[serde(borrow)]
    deletion_time: Cow<'a, str>,
    destroyed: bool,
}

/// Asks for the metadata of what is at `path`.
///
/// # Errors
/// A failure to ask; a 403 too, for it may be about the token.
pub(super) async fn confirm(
    transport: &Transport,
    token: &Token,
    path: &VaultPath,
    held: &KvVersion,
) -> Result<Confirmed, VaultError> {
    let Some(target) = metadata_path(path.as_str()) else { return Ok(Confirmed::Unknown) };
    match transport.get(&target.replace('%', "%25"), &token.value, &|| true).await {
        Ok(answer) => Ok(understand(&answer, held)),
        Err(error) if error.retry() == Retry::Never => Ok(Confirmed::Unknown),
        Err(error) => Err(VaultError { path: path.as_str().into(), ..error }),
    }
}

/// The mount ends before the first `data` segment. Where that is a guess too many, the answer is
/// no metadata of ours.
fn metadata_path(path: &str) -> Option<String> {
    let (mount, key) = path.split_once("/data/")?;
    Some(format!("{mount}/metadata/{key}"))
}

fn understand(answer: &Answer, held: &KvVersion) -> Confirmed {
    if answer.status == StatusCode::NOT_FOUND {
        return Confirmed::Unknown;
    }
    let Ok(Envelope { data }) = serde_json::from_slice::<Envelope<'_>>(answer.body.expose()) else {
        return Confirmed::Unknown;
    };
    let version = data.versions.get(held.number.to_string().as_str());
    // Its creation too: a store that was made anew counts from 1 again. A deletion that is only
    // scheduled is left to a whole read.
    let same = version.is_some_and(|version| {
        version.created_time == *held.created
            && version.deletion_time.is_empty()
            && !version.destroyed
    });
    if same && data.current_version == held.number { Confirmed::Same } else { Confirmed::Other }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::SecretBuf;

    fn said(current: u64, created: &str, deleted: &str, destroyed: bool) -> Confirmed {
        let body = format!(
            r#"{{"data":{{"current_version":{current},"custom_metadata":{{"a":"b"}},"versions":{{"2":{{"created_time":"{created}","deletion_time":"{deleted}","destroyed":{destroyed}}}}}}}}}"#
        );
        let answer = Answer { status: StatusCode::OK, body: SecretBuf::copy_from(body.as_bytes()) };
        understand(&answer, &KvVersion { number: 2, created: "then".into() })
    }

    #[test]
    fn only_the_very_same_version_is_confirmed() {
        assert_eq!(said(2, "then", "", false), Confirmed::Same);
        for other in [
            said(3, "then", "", false),
            said(2, "later", "", false),
            said(2, "then", "2999-01-01T00:00:00Z", false),
            said(2, "then", "", true),
        ] {
            assert_eq!(other, Confirmed::Other);
        }
    }

    #[test]
    fn what_is_no_metadata_says_nothing() {
        let held = KvVersion { number: 2, created: "then".into() };
        for (status, body) in [
            (StatusCode::OK, r#"{"data":{"password":"x"}}"#),
            (StatusCode::OK, "<html>"),
            (StatusCode::NOT_FOUND, r#"{"errors":[]}"#),
        ] {
            let answer = Answer { status, body: SecretBuf::copy_from(body.as_bytes()) };
            assert_eq!(understand(&answer, &held), Confirmed::Unknown, "{body}");
        }
    }

    #[test]
    fn the_mount_ends_before_data() {
        assert_eq!(metadata_path("secret/data/a/data/b").unwrap(), "secret/metadata/a/data/b");
        assert_eq!(metadata_path("team/kv/data/a").unwrap(), "team/kv/metadata/a");
        assert_eq!(metadata_path("database/creds/a"), None);
    }
}
