//! `AppRole`: <https://developer.hashicorp.com/vault/api-docs/auth/approle>

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::clock::{Moment, rfc3339};
use super::fields::Fields;
use super::grant::Grant;
use super::random;
use super::reply::Failure;
use super::request::{Call, Engaged, Operation, Outcome, data, done, listing};

const INVALID: &str = "invalid role or secret ID";

/// One mount's roles.
#[derive(Default)]
pub(super) struct AppRole {
    roles: BTreeMap<String, Role>,
}

#[expect(clippy::struct_field_names, reason = "Vault calls it the role id")]
struct Role {
    role_id: String,
    grant: Grant,
    bind_secret_id: bool,
    num_uses: u64,
    ttl: Duration,
    secret_ids: BTreeMap<String, SecretId>,
}

struct SecretId {
    accessor: String,
    created: Moment,
    expires: Option<Moment>,
    ttl: Duration,
    /// `None` is without limit.
    uses_left: Option<u64>,
    metadata: BTreeMap<String, String>,
}

impl AppRole {
    pub(super) fn call(&mut self, call: &Call<'_>) -> Engaged {
        match call.path.split('/').collect::<Vec<_>>().as_slice() {
            ["login"] if call.operation == Operation::Write => self.login(call),
            ["login"] => Err(Failure::unsupported_operation()),
            ["role"] | ["role", ""] if call.operation == Operation::List => {
                listing(self.roles.keys(), "")
            }
            ["role", name] => self.role(call, name),
            ["role", name, rest @ ..] => {
                let Some(role) = self.roles.get_mut(*name) else {
                    let error = format!("role {name:?} does not exist");
                    return Err(Failure::new(404, error));
                };
                role.call(call, rest)
            }
            _ => Err(Failure::unsupported_path()),
        }
    }

    fn role(&mut self, call: &Call<'_>, name: &str) -> Engaged {
        match call.operation {
            Operation::Read => {
                data(&self.roles.get(name).ok_or_else(Failure::not_found)?.describe())
            }
            Operation::Write => {
                let before = self.roles.get(name).map(|role| role.grant.clone());
                let grant = Grant::from_role(call.fields(), before)?;
                let role = match self.roles.get_mut(name) {
                    Some(role) => role,
                    None => self.roles.entry(name.to_owned()).or_insert(Role::new()?),
                };
                role.grant = grant;
                role.read(call.fields())?;
                done()
            }
            Operation::Delete => {
                self.roles.remove(name);
                done()
            }
            _ => Err(Failure::unsupported_operation()),
        }
    }

    fn login(&mut self, call: &Call<'_>) -> Engaged {
        let role_id = call.fields().text("role_id").unwrap_or_default();
        let role_id = role_id.trim();
        if role_id.is_empty() {
            return Err(Failure::bad("invalid credentials"));
        }
        let role = self.roles.iter_mut().find(|(_, role)| role.role_id == role_id);
        let (name, role) = role.ok_or_else(|| Failure::bad(INVALID))?;
        let mut meta = BTreeMap::new();
        if role.bind_secret_id {
            let secret_id = call.fields().text("secret_id").unwrap_or_default();
            let secret_id = secret_id.trim();
            if secret_id.is_empty() {
                return Err(Failure::bad("missing secret_id"));
            }
            meta = role.spend(secret_id, call.now)?;
        }
        meta.insert("role_name".to_owned(), name.clone());
        Ok(Outcome::Login(Box::new(role.grant.login("approle", meta))))
    }
}

impl Role {
    fn new() -> Result<Self, Failure> {
        Ok(Self {
            role_id: random::uuid()?,
            grant: Grant::default(),
            bind_secret_id: true,
            num_uses: 0,
            ttl: Duration::ZERO,
            secret_ids: BTreeMap::new(),
        })
    }

    fn read(&mut self, fields: &Fields) -> Result<(), Failure> {
        if let Some(role_id) = fields.text("role_id").filter(|role_id| !role_id.is_empty()) {
            self.role_id = role_id;
        }
        if let Some(bind) = fields.flag("bind_secret_id")? {
            self.bind_secret_id = bind;
        }
        if let Some(uses) = fields.count("secret_id_num_uses")? {
            self.num_uses = uses;
        }
        if let Some(ttl) = fields.duration("secret_id_ttl")? {
            self.ttl = ttl;
        }
        Ok(())
    }

    fn describe(&self) -> Value {
        let mut shown = self.grant.describe();
        shown.insert("bind_secret_id".into(), self.bind_secret_id.into());
        shown.insert("local_secret_ids".into(), false.into());
        shown.insert("secret_id_bound_cidrs".into(), Value::Null);
        shown.insert("secret_id_num_uses".into(), self.num_uses.into());
        shown.insert("secret_id_ttl".into(), self.ttl.as_secs().into());
        Value::Object(shown)
    }

    fn call(&mut self, call: &Call<'_>, path: &[&str]) -> Engaged {
        self.drop_expired(call.now);
        match (path, call.operation) {
            (["role-id"], Operation::Read) => data(&json!({ "role_id": self.role_id })),
            (["role-id"], Operation::Write) => {
                self.role_id = call.fields().required("role_id")?;
                done()
            }
            (["secret-id" | "secret-id/"] | ["secret-id", ""], Operation::List) => {
                let accessors: Vec<_> =
                    self.secret_ids.values().map(|secret_id| secret_id.accessor.clone()).collect();
                listing(accessors.iter(), "")
            }
            (["secret-id"], Operation::Write) => self.generate(call, random::uuid()?),
            (["custom-secret-id"], Operation::Write) => {
                self.generate(call, call.fields().required("secret_id")?)
            }
            (["secret-id", "lookup"], Operation::Write) => {
                let id = call.fields().required("secret_id")?;
                match self.secret_ids.get(&id) {
                    Some(secret_id) => data(&secret_id.describe()),
                    None => done(),
                }
            }
            (["secret-id", "destroy"], Operation::Write | Operation::Delete) => {
                let id = call.fields().required("secret_id")?;
                let known = self.secret_ids.remove(&id);
                known.map_or_else(|| Err(Failure::bad("invalid secret id")), |_| done())
            }
            (["secret-id-accessor", "destroy"], Operation::Write | Operation::Delete) => {
                let accessor = call.fields().required("secret_id_accessor")?;
                let before = self.secret_ids.len();
                self.secret_ids.retain(|_, secret_id| secret_id.accessor != accessor);
                if self.secret_ids.len() < before {
                    return done();
                }
                Err(Failure::new(403, "invalid secret id accessor"))
            }
            (["role-id" | "secret-id" | "custom-secret-id"], _) => {
                Err(Failure::unsupported_operation())
            }
            _ => Err(Failure::unsupported_path()),
        }
    }

    fn generate(&mut self, call: &Call<'_>, id: String) -> Engaged {
        if !self.bind_secret_id {
            return Err(Failure::bad("bind_secret_id is not set on the role"));
        }
        let uses = call.fields().count("num_uses")?;
        if self.num_uses > 0 && uses.is_some_and(|uses| uses == 0 || uses > self.num_uses) {
            let error = "num_uses cannot be higher than the role's secret_id_num_uses";
            return Err(Failure::bad(error));
        }
        let ttl = call.fields().duration("ttl")?;
        if !self.ttl.is_zero() && ttl.is_some_and(|ttl| ttl.is_zero() || ttl > self.ttl) {
            return Err(Failure::bad("ttl cannot be longer than the role's secret_id_ttl"));
        }
        let (uses, ttl) = (uses.unwrap_or(self.num_uses), ttl.unwrap_or(self.ttl));
        let secret_id = SecretId {
            accessor: random::uuid()?,
            created: call.now,
            expires: (!ttl.is_zero()).then(|| call.now + ttl),
            ttl,
            uses_left: (uses > 0).then_some(uses),
            metadata: call.fields().pairs("metadata")?.unwrap_or_default(),
        };
        let answer = data(&json!({
            "secret_id": id,
            "secret_id_accessor": secret_id.accessor,
            "secret_id_num_uses": uses,
            "secret_id_ttl": ttl.as_secs(),
        }));
        self.secret_ids.insert(id, secret_id);
        answer
    }

    /// One use of a secret id; the last one takes it away.
    fn spend(&mut self, id: &str, now: Moment) -> Result<BTreeMap<String, String>, Failure> {
        self.drop_expired(now);
        let secret_id = self.secret_ids.get_mut(id).ok_or_else(|| Failure::bad(INVALID))?;
        let metadata = secret_id.metadata.clone();
        match &mut secret_id.uses_left {
            Some(1) => {
                self.secret_ids.remove(id);
            }
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(metadata)
    }

    fn drop_expired(&mut self, now: Moment) {
        self.secret_ids.retain(|_, secret_id| secret_id.expires.is_none_or(|end| end > now));
    }
}

impl SecretId {
    fn describe(&self) -> Value {
        let never = || "0001-01-01T00:00:00Z".to_owned();
        json!({
            "cidr_list": [],
            "creation_time": rfc3339(self.created),
            "expiration_time": self.expires.map_or_else(never, rfc3339),
            "last_updated_time": rfc3339(self.created),
            "metadata": self.metadata,
            "secret_id_accessor": self.accessor,
            "secret_id_num_uses": self.uses_left.unwrap_or(0),
            "secret_id_ttl": self.ttl.as_secs(),
            "token_bound_cidrs": [],
        })
    }
}
