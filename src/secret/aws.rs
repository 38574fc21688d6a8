//! Credentials for AWS, in the form that its SDKs read from a container's credential endpoint.
//!
//! Fields as Vault's AWS engine names them (<https://developer.hashicorp.com/vault/api-docs/secret/aws>)
//! or as AWS' own files and answers do; the form is that of
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>.

use std::time::SystemTime;

use super::format::{Unrepresentable, write_quoted};
use super::{Kind, Secret};
use crate::memory::{SecretBuf, SecretWriter};
use crate::observe::timestamp;

/// What the SDKs ask for, and the fields that it may be in, by preference.
const MEMBERS: [(&str, &[&str]); 3] = [
    ("AccessKeyId", &["access_key", "aws_access_key_id", "AccessKeyId"]),
    ("SecretAccessKey", &["secret_key", "aws_secret_access_key", "SecretAccessKey"]),
    (TOKEN, &["security_token", "session_token", "aws_session_token", "Token", "SessionToken"]),
];

const WANTED: &str = "missing, or no text: credentials for AWS are read from access_key, \
     aws_access_key_id or AccessKeyId, and from secret_key, aws_secret_access_key or \
     SecretAccessKey";

/// Keys of an IAM user have none: `null`, since the SDK for Python wants the member.
const TOKEN: &str = "Token";

pub(super) fn write(secret: &Secret, expires: SystemTime) -> Result<SecretBuf, Unrepresentable> {
    let mut out = SecretWriter::with_capacity(secret.len() * 2 + 128);
    for (at, (member, fields)) in MEMBERS.into_iter().enumerate() {
        out.push(if at == 0 { b"{\"" } else { b",\"" });
        out.push(member.as_bytes());
        out.push(b"\":");
        match fields.iter().find_map(|field| text(secret, field)) {
            Some(value) => write_quoted(value, &mut out),
            None if member == TOKEN => out.push(b"null"),
            None => {
                let field = fields.first().copied().unwrap_or_default().into();
                return Err(Unrepresentable { field, reason: WANTED });
            }
        }
    }
    out.push(b",\"Expiration\":\"");
    out.push(timestamp(expires).as_bytes());
    out.push(b"\"}");
    Ok(out.finish())
}

/// A field that holds text, if it is not empty.
fn text<'s>(secret: &'s Secret, field: &str) -> Option<&'s str> {
    let value = secret.value(field).filter(|value| value.kind == Kind::Text)?;
    std::str::from_utf8(value.plaintext).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::test_secret;
    use super::*;

    fn written(fields: &[(&str, &str)]) -> Result<serde_json::Value, Unrepresentable> {
        let expires = SystemTime::UNIX_EPOCH + Duration::from_hours(490_017);
        let out = write(&test_secret(fields), expires)?;
        Ok(serde_json::from_slice(out.expose()).unwrap())
    }

    #[test]
    fn each_way_to_name_them_is_known() {
        let expected = |token: Option<&str>| {
            serde_json::json!({ "AccessKeyId": "AKIA", "SecretAccessKey": "a\"b/+",
                "Token": token, "Expiration": "2025-11-25T09:00:00.000Z" })
        };
        let vault = [("access_key", "AKIA"), ("secret_key", "a\"b/+"), ("security_token", "t")];
        assert_eq!(written(&vault).unwrap(), expected(Some("t")));
        // An IAM user's: Vault answers with an empty token.
        let user = [("access_key", "AKIA"), ("secret_key", "a\"b/+"), ("security_token", "")];
        assert_eq!(written(&user).unwrap(), expected(None));
        let file = [("aws_access_key_id", "AKIA"), ("aws_secret_access_key", "a\"b/+")];
        assert_eq!(written(&file).unwrap(), expected(None));
    }

    #[test]
    fn what_is_missing_is_named() {
        let refused = written(&[("access_key", "AKIA")]).unwrap_err();
        assert_eq!(&*refused.field, "secret_key");
    }
}
