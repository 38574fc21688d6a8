//! Mounted engines, and where a path leads.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::approle::AppRole;
use super::cert::CertAuth;
use super::clock::Moment;
use super::database::Database;
use super::fields::Fields;
use super::jwt::JwtAuth;
use super::kubernetes::KubernetesAuth;
use super::kv1::{Cubbyhole, Kv1};
use super::kv2::Kv2;
use super::pki::Pki;
use super::random;
use super::reply::Failure;
use super::request::{Call, Engaged, Operation};
use super::token::SYSTEM_TTL;

/// What answers below a mount.
pub(super) enum Engine {
    System,
    Token,
    Identity,
    Cubbyhole(Cubbyhole),
    Kv1(Kv1),
    Kv2(Kv2),
    Database(Database),
    Pki(Box<Pki>),
    AppRole(AppRole),
    Jwt(JwtAuth),
    Kubernetes(KubernetesAuth),
    Cert(CertAuth),
}

/// An engine with what `sys/mounts` says about it.
pub(super) struct Mount {
    pub(super) kind: String,
    pub(super) engine: Engine,
    description: String,
    options: Option<BTreeMap<String, String>>,
    accessor: String,
    uuid: String,
}

impl Mount {
    pub(super) fn new(kind: &str, description: &str, engine: Engine) -> Result<Self, Failure> {
        Ok(Self {
            kind: kind.to_owned(),
            engine,
            description: description.to_owned(),
            options: None,
            accessor: format!("{kind}_{}", random::hex(8)?),
            uuid: random::uuid()?,
        })
    }

    pub(super) fn kv2() -> Result<Self, Failure> {
        let mut mount = Self::new("kv", "key/value secret storage", Engine::Kv2(Kv2::default()))?;
        mount.options = Some(BTreeMap::from([("version".into(), "2".into())]));
        Ok(mount)
    }

    /// A PKI engine that is ready to issue.
    pub(super) fn pki(role: &str, now: Moment) -> Result<Self, Failure> {
        Self::new("pki", "certificates", Engine::Pki(Box::new(Pki::ready(role, now)?)))
    }

    /// From the body of `POST sys/mounts/…`.
    pub(super) fn secrets(fields: &Fields) -> Result<Self, Failure> {
        let kind = fields.text("type").unwrap_or_default();
        let mut options = fields.pairs("options")?;
        let version = options.as_ref().and_then(|options| options.get("version").cloned());
        let engine = match (kind.as_str(), version.as_deref()) {
            ("kv-v2", _) | ("kv", Some("2")) => Engine::Kv2(Kv2::default()),
            ("kv" | "kv-v1" | "generic", _) => Engine::Kv1(Kv1::default()),
            ("database", _) => Engine::Database(Database::default()),
            ("pki", _) => Engine::Pki(Box::default()),
            _ => return Err(unknown(&kind)),
        };
        if kind == "kv-v2" {
            options.get_or_insert_default().insert("version".into(), "2".into());
        }
        let kind = if kind.starts_with("kv-") { "kv" } else { &kind };
        let description = fields.text("description").unwrap_or_default();
        let mut mount = Self::new(kind, &description, engine)?;
        mount.options = options;
        Ok(mount)
    }

    /// From the body of `POST sys/auth/…`.
    pub(super) fn auth(fields: &Fields) -> Result<Self, Failure> {
        let kind = fields.text("type").unwrap_or_default();
        let engine = match kind.as_str() {
            "approle" => Engine::AppRole(AppRole::default()),
            "jwt" | "oidc" => Engine::Jwt(JwtAuth::default()),
            "kubernetes" => Engine::Kubernetes(KubernetesAuth::default()),
            "cert" => Engine::Cert(CertAuth::default()),
            _ => return Err(unknown(&kind)),
        };
        Self::new(&kind, &fields.text("description").unwrap_or_default(), engine)
    }

    /// Whether `path` below this mount needs no token: where one logs in, and what relying
    /// parties read of an authority.
    pub(super) fn needs_no_token(&self, path: &str, operation: Operation) -> bool {
        if matches!(self.engine, Engine::Pki(_)) {
            return operation == Operation::Read && Pki::is_public(path);
        }
        let logs_in = matches!(
            self.engine,
            Engine::AppRole(_) | Engine::Jwt(_) | Engine::Kubernetes(_) | Engine::Cert(_)
        );
        logs_in && path == "login"
    }

    /// Whether `path` holds something: tells `update` from `create` in a policy.
    pub(super) fn exists(&self, path: &str, token: &str) -> Option<bool> {
        match &self.engine {
            Engine::Kv1(kv) => Some(kv.exists(path)),
            Engine::Kv2(kv) => kv.exists(path),
            Engine::Cubbyhole(cubbyhole) => Some(cubbyhole.exists(token, path)),
            _ => None,
        }
    }

    pub(super) fn call(&mut self, call: &Call<'_>) -> Engaged {
        match &mut self.engine {
            Engine::Kv1(kv) => kv.call(call),
            Engine::Kv2(kv) => kv.call(call),
            Engine::Cubbyhole(cubbyhole) => cubbyhole.call(call),
            Engine::Database(database) => database.call(call),
            Engine::Pki(pki) => pki.call(call),
            Engine::AppRole(approle) => approle.call(call),
            Engine::Jwt(jwt) => jwt.call(call),
            Engine::Kubernetes(kubernetes) => kubernetes.call(call),
            Engine::Cert(cert) => cert.call(call),
            Engine::System | Engine::Token | Engine::Identity => Err(Failure::unsupported_path()),
        }
    }

    /// As `sys/mounts` lists it. Format:
    /// <https://developer.hashicorp.com/vault/api-docs/system/mounts>
    pub(super) fn describe(&self, auth: bool, effective: bool) -> Value {
        let ttl = if effective { SYSTEM_TTL.as_secs() } else { 0 };
        let mut config = json!({
            "default_lease_ttl": ttl,
            "force_no_cache": false,
            "max_lease_ttl": ttl,
        });
        if let (true, Some(config)) = (auth, config.as_object_mut()) {
            config.insert("token_type".into(), "default-service".into());
        }
        json!({
            "accessor": self.accessor,
            "config": config,
            "deprecation_status": "supported",
            "description": self.description,
            "external_entropy_access": false,
            "local": self.kind == "cubbyhole",
            "options": self.options,
            "plugin_version": "",
            "running_plugin_version": "v1.19.5+builtin.vault",
            "running_sha256": "",
            "seal_wrap": false,
            "type": self.kind,
            "uuid": self.uuid,
        })
    }
}

fn unknown(kind: &str) -> Failure {
    Failure::bad(format!("plugin not found in the catalog: {kind}"))
}
