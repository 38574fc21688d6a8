//! Kubernetes: <https://developer.hashicorp.com/vault/api-docs/auth/kubernetes>

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::claims::{Unverified, check_times, texts};
use super::clock::Moment;
use super::fields::Fields;
use super::grant::Grant;
use super::mount::Engine;
use super::reply::Failure;
use super::request::{Call, Engaged, Operation, Outcome, Request, data, done, listing};
use super::state::State;

pub(super) use super::review::{Plan, Review, review};

/// One mount's configuration and roles.
#[derive(Default)]
pub(super) struct KubernetesAuth {
    config: Option<Config>,
    roles: BTreeMap<String, Role>,
}

struct Config {
    host: String,
    ca_cert: String,
    reviewer: Option<String>,
    disable_local_ca_jwt: bool,
}

struct Role {
    grant: Grant,
    names: Vec<String>,
    namespaces: Vec<String>,
    audience: String,
}

/// Whom a service account token speaks for, by its own word.
struct Account {
    namespace: String,
    name: String,
    uid: String,
}

/// What a login must ask the Kubernetes API, if it is one that gets that far.
pub(super) fn plan(state: &mut State, request: &Request) -> Option<Plan> {
    if request.operation != Operation::Write || state.sealed {
        return None;
    }
    let (namespace, path) = state.resolve(&request.namespace, &request.path)?;
    let now = state.now();
    let (mount, rest) = state.namespaces.get_mut(&namespace)?.route(&path)?;
    let Engine::Kubernetes(auth) = &mount.engine else { return None };
    if rest != "login" {
        return None;
    }
    let (config, _, role, _) = auth.claimed(&request.fields, now).ok()?;
    let token = request.fields.text("jwt")?;
    Some(Plan {
        host: config.host.clone(),
        ca_cert: config.ca_cert.clone(),
        bearer: config.reviewer.clone().unwrap_or_else(|| token.clone()),
        token,
        audience: role.audience.clone(),
    })
}

impl KubernetesAuth {
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
        let (_, name, role, account) = self.claimed(call.fields(), call.now)?;
        // Vault asks the API after its own checks, and says no more than this when it fails.
        let reviewed = call.request.review.as_ref().and_then(|review| review.as_ref().ok());
        let reviewed = reviewed.ok_or_else(Failure::denied)?;
        let username = format!("system:serviceaccount:{}:{}", account.namespace, account.name);
        if reviewed.username != username || reviewed.uid != account.uid {
            return Err(Failure::denied());
        }
        let meta = BTreeMap::from([
            ("role".to_owned(), name),
            ("service_account_name".to_owned(), account.name.clone()),
            ("service_account_namespace".to_owned(), account.namespace.clone()),
            ("service_account_secret_name".to_owned(), String::new()),
            ("service_account_uid".to_owned(), account.uid),
        ]);
        let display = format!("kubernetes-{}-{}", account.namespace, account.name);
        Ok(Outcome::Login(Box::new(role.grant.login(&display, meta))))
    }

    /// All that can be checked without the Kubernetes API.
    fn claimed(
        &self,
        fields: &Fields,
        now: Moment,
    ) -> Result<(&Config, String, &Role, Account), Failure> {
        let name = fields.required("role")?;
        let token = fields.required("jwt")?;
        let role = self.roles.get(&name);
        let role = role.ok_or_else(|| Failure::bad(format!("invalid role name {name:?}")))?;
        let config = self.config.as_ref();
        let config =
            config.ok_or_else(|| Failure::new(500, "could not load backend configuration"))?;
        let token = Unverified::parse(&token).ok_or_else(Failure::denied)?;
        let account = role.claims(&token.trust_anyway(), now)?;
        Ok((config, name, role, account))
    }
}

impl Config {
    fn read(fields: &Fields) -> Result<Self, Failure> {
        let host = fields.text("kubernetes_host").filter(|host| !host.is_empty());
        Ok(Self {
            host: host.ok_or_else(|| Failure::bad("no host provided"))?,
            ca_cert: fields.text("kubernetes_ca_cert").unwrap_or_default(),
            reviewer: fields.text("token_reviewer_jwt").filter(|token| !token.is_empty()),
            disable_local_ca_jwt: fields.flag("disable_local_ca_jwt")?.unwrap_or(false),
        })
    }

    fn describe(&self) -> Value {
        json!({
            "disable_iss_validation": true,
            "disable_local_ca_jwt": self.disable_local_ca_jwt,
            "issuer": "", "kubernetes_ca_cert": self.ca_cert, "kubernetes_host": self.host,
            "pem_keys": [], "token_reviewer_jwt_set": self.reviewer.is_some(),
            "use_annotations_as_alias_metadata": false,
        })
    }
}

impl Role {
    fn read(fields: &Fields, before: Option<Grant>) -> Result<Self, Failure> {
        let names = |field: &str| -> Result<Vec<String>, Failure> {
            let names = fields.list(field)?.unwrap_or_default();
            if names.len() > 1 && names.iter().any(|name| name == "*") {
                return Err(Failure::bad("can not mix \"*\" with values"));
            }
            Ok(names)
        };
        let role = Self {
            grant: Grant::from_role(fields, before)?,
            names: names("bound_service_account_names")?,
            namespaces: names("bound_service_account_namespaces")?,
            audience: fields.text("audience").unwrap_or_default(),
        };
        if role.names.is_empty() {
            return Err(Failure::bad("\"bound_service_account_names\" can not be empty"));
        }
        if role.namespaces.is_empty() {
            return Err(Failure::bad(
                "\"bound_service_account_namespaces\" can not be empty if \
                 \"bound_service_account_namespace_selector\" is not set",
            ));
        }
        Ok(role)
    }

    fn describe(&self) -> Value {
        let mut shown = self.grant.describe();
        let own = json!({
            "alias_name_source": "serviceaccount_uid",
            "audience": self.audience,
            "bound_service_account_names": self.names,
            "bound_service_account_namespace_selector": "",
            "bound_service_account_namespaces": self.namespaces,
        });
        if let Value::Object(own) = own {
            shown.extend(own);
        }
        Value::Object(shown)
    }

    fn claims(&self, claims: &Map<String, Value>, now: Moment) -> Result<Account, Failure> {
        if !self.audience.is_empty() && !texts(claims.get("aud")).contains(&self.audience) {
            let error = "audience claim does not match any expected audience";
            return Err(Failure::new(403, format!("invalid audience (aud) claim: {error}")));
        }
        check_times(claims, now, false).map_err(|error| Failure::new(403, error))?;
        let account = Account::of(claims);
        if !listed(&self.names, &account.name) {
            return Err(Failure::new(403, "service account name not authorized"));
        }
        if !listed(&self.namespaces, &account.namespace) {
            return Err(Failure::new(403, "namespace not authorized"));
        }
        Ok(account)
    }
}

impl Account {
    /// From a bound token's nested claim, or the flat ones of a legacy secret's token.
    fn of(claims: &Map<String, Value>) -> Self {
        let text =
            |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let legacy = |name: &str| text(claims.get(&format!("kubernetes.io/serviceaccount/{name}")));
        match claims.get("kubernetes.io") {
            Some(bound) => Self {
                namespace: text(bound.get("namespace")),
                name: text(bound.pointer("/serviceaccount/name")),
                uid: text(bound.pointer("/serviceaccount/uid")),
            },
            None => Self {
                namespace: legacy("namespace"),
                name: legacy("service-account.name"),
                uid: legacy("service-account.uid"),
            },
        }
    }
}

/// Names may end or start in a `*`.
fn listed(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (_, Some(prefix)) => name.starts_with(prefix),
        (Some(suffix), None) => name.ends_with(suffix),
        (None, None) => pattern == name,
    })
}
