//! JWT: <https://developer.hashicorp.com/vault/api-docs/auth/jwt>

use std::collections::{BTreeMap, BTreeSet};

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};

use super::claims::{Unverified, check_times, texts};
use super::clock::Moment;
use super::der;
use super::fields::Fields;
use super::grant::Grant;
use super::reply::Failure;
use super::request::{Call, Engaged, Operation, Outcome, data, done, listing};

const NO_AUDIENCE: &str = "audience claim found in JWT but no audiences bound to the role";

/// One mount's configuration and roles.
#[derive(Default)]
pub(super) struct JwtAuth {
    config: Option<Config>,
    roles: BTreeMap<String, Role>,
}

struct Config {
    pems: Vec<String>,
    keys: Vec<Vec<u8>>,
    bound_issuer: String,
    default_role: String,
}

struct Role {
    grant: Grant,
    user_claim: String,
    bound_audiences: Vec<String>,
    bound_subject: String,
    bound_claims: Map<String, Value>,
}

impl JwtAuth {
    pub(super) fn call(&mut self, call: &Call<'_>) -> Engaged {
        match (call.path.split_once('/').unwrap_or((call.path, "")), call.operation) {
            (("login", ""), Operation::Write) => self.login(call),
            (("config", ""), Operation::Write) => {
                self.config = Some(Config::read(call.fields())?);
                done()
            }
            (("config", ""), Operation::Read) => {
                data(&self.config.as_ref().ok_or_else(Failure::not_found)?.describe())
            }
            (("role", ""), Operation::List) => listing(self.roles.keys(), ""),
            (("role", name), Operation::Read) if !name.is_empty() => {
                data(&self.roles.get(name).ok_or_else(Failure::not_found)?.describe())
            }
            (("role", name), Operation::Write) if !name.is_empty() => {
                let before = self.roles.get(name).map(|role| role.grant.clone());
                self.roles.insert(name.to_owned(), Role::read(call.fields(), before)?);
                done()
            }
            (("role", name), Operation::Delete) if !name.is_empty() => {
                self.roles.remove(name);
                done()
            }
            (("login" | "config", "") | ("role", _), _) => Err(Failure::unsupported_operation()),
            _ => Err(Failure::unsupported_path()),
        }
    }

    fn login(&self, call: &Call<'_>) -> Engaged {
        let config = self.config.as_ref();
        let config = config.ok_or_else(|| Failure::bad("could not load configuration"))?;
        let name = call.fields().text("role").filter(|role| !role.is_empty());
        let name = name.unwrap_or_else(|| config.default_role.clone());
        if name.is_empty() {
            return Err(Failure::bad("missing role"));
        }
        let role = self.roles.get(&name);
        let role = role.ok_or_else(|| Failure::bad(format!("role {name:?} could not be found")))?;
        let token = call.fields().text("jwt").filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| Failure::bad("missing token"))?;
        let claims = config
            .validate(&token, role, call.now)
            .map_err(|error| Failure::bad(format!("error validating token: {error}")))?;
        let user = role.admit(&claims)?;
        let meta = BTreeMap::from([("role".to_owned(), name)]);
        Ok(Outcome::Login(Box::new(role.grant.login(&format!("jwt-{user}"), meta))))
    }
}

impl Config {
    fn read(fields: &Fields) -> Result<Self, Failure> {
        let pems = fields.list("jwt_validation_pubkeys")?.unwrap_or_default();
        if pems.is_empty() {
            return Err(Failure::bad(
                "exactly one of 'jwt_validation_pubkeys', 'jwks_url', 'jwks_pairs' or \
                 'oidc_discovery_url' must be set",
            ));
        }
        let keys = pems.iter().map(|pem| {
            let spki = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok();
            let key = spki.and_then(|spki| der::public_key(&spki).map(<[u8]>::to_vec));
            key.ok_or_else(|| Failure::bad("error parsing public key: no PEM public key"))
        });
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
            pems,
            bound_issuer: fields.text("bound_issuer").unwrap_or_default(),
            default_role: fields.text("default_role").unwrap_or_default(),
        })
    }

    fn describe(&self) -> Value {
        json!({
            "bound_issuer": self.bound_issuer, "default_role": self.default_role,
            "jwks_ca_pem": "", "jwks_pairs": [], "jwks_url": "", "jwt_supported_algs": [],
            "jwt_validation_pubkeys": self.pems, "namespace_in_state": true,
            "oidc_client_id": "", "oidc_discovery_ca_pem": "", "oidc_discovery_url": "",
            "oidc_response_mode": "", "oidc_response_types": [], "provider_config": {},
            "unsupported_critical_cert_extensions": [],
        })
    }

    fn validate(
        &self,
        token: &str,
        role: &Role,
        now: Moment,
    ) -> Result<Map<String, Value>, String> {
        let unsigned = "error verifying token signature: no known key successfully validated \
            the token signature";
        let claims = Unverified::parse(token).and_then(|token| token.verify(&self.keys));
        let claims = claims.ok_or(unsigned)?;
        let is = |claim: &str, wanted: &str| {
            wanted.is_empty() || claims.get(claim).and_then(Value::as_str) == Some(wanted)
        };
        if !is("iss", &self.bound_issuer) {
            return Err("invalid issuer (iss) claim".to_owned());
        }
        if !is("sub", &role.bound_subject) {
            return Err("invalid subject (sub) claim".to_owned());
        }
        let audiences = texts(claims.get("aud"));
        if !role.bound_audiences.is_empty()
            && !role.bound_audiences.iter().any(|bound| audiences.contains(bound))
        {
            let error = "audience claim does not match any expected audience";
            return Err(format!("invalid audience (aud) claim: {error}"));
        }
        check_times(&claims, now, true)?;
        Ok(claims)
    }
}

impl Role {
    fn read(fields: &Fields, before: Option<Grant>) -> Result<Self, Failure> {
        let kind = fields.text("role_type").unwrap_or_default();
        if !matches!(kind.as_str(), "" | "jwt" | "oidc") {
            return Err(Failure::bad(format!("invalid 'role_type': {kind}")));
        }
        let bound_claims = match fields.value("bound_claims") {
            Some(Value::Object(claims)) => claims,
            _ => Map::new(),
        };
        let role = Self {
            grant: Grant::from_role(fields, before)?,
            user_claim: fields.text("user_claim").unwrap_or_default(),
            bound_audiences: fields.list("bound_audiences")?.unwrap_or_default(),
            bound_subject: fields.text("bound_subject").unwrap_or_default(),
            bound_claims,
        };
        if role.user_claim.is_empty() {
            return Err(Failure::bad("a user claim must be defined on the role"));
        }
        if role.bound_audiences.is_empty()
            && role.bound_subject.is_empty()
            && role.bound_claims.is_empty()
        {
            let error = "must have at least one bound constraint when creating/updating a role";
            return Err(Failure::bad(error));
        }
        Ok(role)
    }

    fn describe(&self) -> Value {
        let mut shown = self.grant.describe();
        let own = json!({
            "allowed_redirect_uris": null, "bound_audiences": self.bound_audiences,
            "bound_claims": self.bound_claims, "bound_claims_type": "string",
            "bound_subject": self.bound_subject, "claim_mappings": null,
            "clock_skew_leeway": 0, "expiration_leeway": 0, "groups_claim": "",
            "not_before_leeway": 0, "oidc_scopes": null, "role_type": "jwt",
            "user_claim": self.user_claim, "user_claim_json_pointer": false,
            "verbose_oidc_logging": false,
        });
        if let Value::Object(own) = own {
            shown.extend(own);
        }
        Value::Object(shown)
    }

    /// Who the claims say it is, if the role takes such claims.
    fn admit(&self, claims: &Map<String, Value>) -> Result<String, Failure> {
        if self.bound_audiences.is_empty() && !texts(claims.get("aud")).is_empty() {
            return Err(Failure::bad(NO_AUDIENCE));
        }
        let claim = &self.user_claim;
        let user = claims.get(claim);
        let user =
            user.ok_or_else(|| Failure::bad(format!("claim {claim:?} not found in token")))?;
        let user = user.as_str().ok_or_else(|| {
            Failure::bad(format!("claim {claim:?} could not be converted to string"))
        })?;
        for (name, bound) in &self.bound_claims {
            let Some(actual) = claims.get(name) else {
                let error = format!("error validating claims: claim {name:?} is missing");
                return Err(Failure::bad(error));
            };
            if plain(bound).is_disjoint(&plain(actual)) {
                return Err(Failure::bad(format!(
                    "error validating claims: claim {name:?} does not match any associated \
                     bound claim values"
                )));
            }
        }
        Ok(user.to_owned())
    }
}

/// A bound claim's values: one or a list of texts, numbers or booleans.
fn plain(value: &Value) -> BTreeSet<String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        other => BTreeSet::from([text(other)]),
    }
}
