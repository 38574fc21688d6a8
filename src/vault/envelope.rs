//! The envelope around Vault's answers, as much of it as we use.
//!
//! <https://developer.hashicorp.com/vault/api-docs#the-response-envelope>; vaultrs' own insists
//! on fields that Vault leaves out when they are empty.

use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
pub(super) struct Envelope<T> {
    pub(super) data: Option<T>,
    pub(super) auth: Option<Auth>,
    #[serde(default)]
    pub(super) lease_duration: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

/// What a login or a renewal grants.
#[derive(Deserialize)]
pub(super) struct Auth {
    /// Empty while a second factor is missing.
    #[serde(default)]
    pub(super) client_token: String,
    /// Empty for a batch token.
    #[serde(default)]
    pub(super) accessor: String,
    #[serde(default)]
    pub(super) lease_duration: u64,
    #[serde(default)]
    pub(super) renewable: bool,
    /// Zero without a limit.
    #[serde(default)]
    pub(super) num_uses: u64,
    pub(super) mfa_requirement: Option<IgnoredAny>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(fields: &str) -> Auth {
        let body = format!(r#"{{"request_id":"x","data":null,"auth":{{{fields}}}}}"#);
        serde_json::from_str::<Envelope<()>>(&body).unwrap().auth.unwrap()
    }

    #[test]
    fn a_login_without_policies() {
        let auth = auth(
            r#""client_token":"t","accessor":"a","policies":[],"metadata":{"role_name":"nop"},
            "lease_duration":2764800,"renewable":true,"entity_id":"e","token_type":"service",
            "orphan":true,"mfa_requirement":null,"num_uses":0"#,
        );
        assert_eq!((&*auth.client_token, auth.lease_duration), ("t", 2_764_800));
        assert!(auth.mfa_requirement.is_none());
    }

    #[test]
    fn a_login_that_wants_a_second_factor() {
        let auth = auth(
            r#""client_token":"","accessor":"","policies":null,"lease_duration":0,
            "mfa_requirement":{"mfa_request_id":"m","mfa_constraints":{}}"#,
        );
        assert!(auth.mfa_requirement.is_some());
    }
}
