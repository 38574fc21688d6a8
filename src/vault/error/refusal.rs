//! What Vault says with a 4xx, as far as it is recognized. Its text is not kept.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;

/// What a 4xx means, as far as Vault's text was recognized. The text itself is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not recognized.
    Other,
    /// The wrapping token is used up, expired or made up.
    WrappingToken,
    /// The wrapping token was not made by the AppRole mount it should come from.
    ForeignWrappingToken,
    /// The AppRole role-id or secret-id is wrong, used up or expired.
    RoleOrSecretId,
    /// The token's audience is not the role's.
    Audience,
    /// The token is expired.
    TokenExpired,
    /// The service account or namespace is not bound to the role.
    ServiceAccount,
    /// There is no such role.
    Role,
    /// No acceptable client certificate.
    ClientCertificate,
    /// Nothing is mounted at the path.
    Mount,
    /// Vault does not know the lease: it ended, or somebody revoked it.
    Lease,
    /// The PKI role signs no key of such a type.
    KeyType,
    /// The PKI role does not permit a name that was asked for.
    Names,
    /// The certificate would outlive the one that signs it.
    BeyondAuthority,
    /// Vault does not know the certificate.
    Serial,
    /// The login is good, and Vault wants a second factor besides.
    MultiFactor,
    /// The mount is KV v2 and the path has no `data/` in it.
    KvPathWithoutData,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Other => "Vault refused the request",
            Self::WrappingToken => {
                "the wrapping token was used already, or it expired, or it never was one \
                 (a plain secret-id needs secret_id_wrapped = false): \
                 have a new wrapped secret-id delivered"
            }
            Self::ForeignWrappingToken => {
                "the wrapping token was not made by this AppRole mount's secret-id path: \
                 it may have been intercepted"
            }
            Self::RoleOrSecretId => {
                "the role-id is unknown, or the secret-id is wrong, used up or expired"
            }
            Self::Audience => "the token's audience is not the one that the role is bound to",
            Self::TokenExpired => "the token is expired",
            Self::ServiceAccount => "the service account or its namespace is not bound to the role",
            Self::Role => "there is no such role",
            Self::ClientCertificate => "no client certificate that the method accepts",
            Self::Mount => "nothing is mounted there",
            Self::Lease => "Vault does not know the lease any more",
            Self::KeyType => "the role signs no key of such a type: see key and key_type",
            Self::Names => "the role does not permit a name that was asked for",
            Self::BeyondAuthority => {
                "it would outlive the certificate that signs it: ask for a shorter ttl"
            }
            Self::Serial => "Vault does not know the certificate",
            Self::MultiFactor => {
                "the login needs a second factor (MFA), which a sidecar has none of"
            }
            Self::KvPathWithoutData => {
                "this mount is KV version 2: its read paths have data/ after the mount, \
                 as in secret/data/app"
            }
        })
    }
}

/// Every error of Vault: `{"errors": [...]}`.
#[derive(Deserialize)]
struct Errors<'a> {
    #[serde(borrow)]
    errors: Vec<Cow<'a, str>>,
}

/// Whether this is an error as Vault gives it, and not a proxy's.
pub(in crate::vault) fn is_vaults(body: &[u8]) -> bool {
    serde_json::from_slice::<Errors<'_>>(body).is_ok()
}

/// Whether Vault says beside `permission denied` that it is the token: `invalid token`, or
/// `bad token` when it ended in that moment.
pub(in crate::vault) fn is_about_token(body: &[u8]) -> bool {
    let about =
        |error: &Cow<'_, str>| error.contains("invalid token") || error.contains("bad token");
    serde_json::from_slice::<Errors<'_>>(body).is_ok_and(|said| said.errors.iter().any(about))
}

/// Recognizes Vault's error texts (`{"errors": [...]}`) and forgets them.
pub(in crate::vault) fn recognize(body: &[u8]) -> Refusal {
    const KNOWN: [(&str, Refusal); 26] = [
        ("role requires keys of type", Refusal::KeyType),
        ("role requires a minimum of", Refusal::KeyType),
        ("not allowed by this role", Refusal::Names),
        ("not allowed in this role", Refusal::Names),
        ("expiration of the ca", Refusal::BeyondAuthority),
        ("certificate with serial", Refusal::Serial),
        ("unknown role", Refusal::Role),
        ("lease not found", Refusal::Lease),
        ("lease expired", Refusal::Lease),
        ("wrapping token is not valid or does not exist", Refusal::WrappingToken),
        ("wrapping token does not exist", Refusal::WrappingToken),
        ("invalid role or secret id", Refusal::RoleOrSecretId),
        ("invalid secret id", Refusal::RoleOrSecretId),
        ("invalid role id", Refusal::RoleOrSecretId),
        ("invalid audience", Refusal::Audience),
        ("audience claim", Refusal::Audience),
        ("token is expired", Refusal::TokenExpired),
        ("expired", Refusal::TokenExpired),
        ("service account name not authorized", Refusal::ServiceAccount),
        ("namespace not authorized", Refusal::ServiceAccount),
        ("invalid role name", Refusal::Role),
        ("could not be found", Refusal::Role),
        ("client certificate", Refusal::ClientCertificate),
        ("login certificate", Refusal::ClientCertificate),
        ("no handler for route", Refusal::Mount),
        ("invalid path for a versioned k/v", Refusal::KvPathWithoutData),
    ];
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    let known = KNOWN.iter().find(|(phrase, _)| text.contains(phrase));
    known.map_or(Refusal::Other, |(_, refusal)| *refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_vaults_words() {
        let body = br#"{"errors":["invalid role or secret ID"]}"#;
        assert_eq!(recognize(body), Refusal::RoleOrSecretId);
        let body = br#"{"errors":["wrapping token is not valid or does not exist"]}"#;
        assert_eq!(recognize(body), Refusal::WrappingToken);
        assert_eq!(recognize(b"canary"), Refusal::Other);
    }

    #[test]
    fn knows_a_dead_token_and_who_speaks() {
        let dead =
            br#"{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}"#;
        let denied = br#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#;
        assert!(is_about_token(dead) && !is_about_token(denied));
        assert!(is_vaults(dead) && is_vaults(denied) && is_vaults(br#"{"errors":[]}"#));
        for foreign in ["", "<html>invalid token</html>", r#"{"message":"invalid token"}"#, "[]"] {
            assert!(!is_vaults(foreign.as_bytes()), "{foreign}");
            assert!(!is_about_token(foreign.as_bytes()), "{foreign}");
        }
    }
}
