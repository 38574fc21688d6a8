//! AppRole: secret-ids that are plain, wrapped, used up and intercepted.

use serde_json::{Value, json};

use crate::case::{Case, case};
use crate::setup::Setup;
use crate::support::canary::canary;
use crate::support::vault::TestVault as _;
use crate::vault::Vault;

pub const CASES: &[Case] = &[
    case!(plain_secret_id),
    case!(no_secret_id),
    case!(another_mount),
    case!(wrapped_secret_id),
    case!(used_wrapping_token),
    case!(expired_or_made_up_wrapping_token),
    case!(foreign_wrapping_token_stays_unused),
    case!(wrapping_token_of_another_mount),
    case!(used_up_secret_id),
    case!(unknown_role_id),
    case!(missing_mount),
    case!(missing_file),
];

/// An AppRole role `app` with the policy `app`.
pub struct AppRole<'v> {
    vault: &'v Vault,
    mount: String,
    pub role_id: String,
}

impl<'v> AppRole<'v> {
    pub fn new(vault: &'v Vault, options: Value) -> Self {
        Self::at(vault, "approle", options)
    }

    pub fn at(vault: &'v Vault, mount: &str, mut options: Value) -> Self {
        vault.enable_auth(mount, "approle");
        options["token_policies"] = json!("app");
        let role = format!("auth/{mount}/role/app");
        vault.set_up("POST", &role, options);
        let answer = vault.set_up("GET", &format!("{role}/role-id"), Value::Null);
        let role_id = answer["data"]["role_id"].as_str().unwrap().to_owned();
        Self { vault, mount: mount.to_owned(), role_id }
    }

    fn path(&self) -> String {
        format!("auth/{}/role/app/secret-id", self.mount)
    }

    pub fn secret_id(&self) -> String {
        let answer = self.vault.set_up("POST", &self.path(), json!({}));
        answer["data"]["secret_id"].as_str().unwrap().to_owned()
    }

    pub fn wrapped_secret_id(&self) -> String {
        self.vault.wrapped(&self.path(), json!({}))
    }

    /// A sidecar that logs in to it with what this credential file holds.
    pub fn setup(&self, credential: &str, wrapped: bool) -> Setup {
        let setup = Setup::new(self.vault).secret("db", "secret/data/app");
        self.log_in(setup, credential, wrapped)
    }

    /// The same for a sidecar with other secrets.
    pub fn log_in(&self, mut setup: Setup, credential: &str, wrapped: bool) -> Setup {
        let file = setup.credential("secret-id", credential);
        let (mount, role_id) = (&self.mount, &self.role_id);
        setup.auth(&format!(
            "method = \"approle\"\nmount = \"{mount}\"\nrole_id = \"{role_id}\"\n\
             secret_id_file = \"{file}\"\nsecret_id_wrapped = {wrapped}"
        ))
    }
}

/// A secret at `secret/data/app`; returns the value of its field `password`.
pub fn a_password(vault: &Vault) -> String {
    let password = canary("password");
    vault.put("app", json!({ "user": "alice", "password": password }));
    password
}

fn plain_secret_id(vault: &Vault) {
    let password = a_password(vault);
    let role = AppRole::new(vault, json!({}));
    let sidecar = role.setup(&format!("{}\n", role.secret_id()), false).start();
    assert_eq!(sidecar.value("db/password"), password);
    assert_eq!(sidecar.logins(), 1);
    sidecar.stop();
}

fn no_secret_id(vault: &Vault) {
    let password = a_password(vault);
    let cidr = json!(["127.0.0.1/32"]);
    let role = AppRole::new(vault, json!({ "bind_secret_id": false, "token_bound_cidrs": cidr }));
    let auth = format!("method = \"approle\"\nrole_id = \"{}\"", role.role_id);
    let sidecar = Setup::new(vault).secret("db", "secret/data/app").auth(&auth).start();
    assert_eq!(sidecar.value("db/password"), password);
    sidecar.stop();
}

fn another_mount(vault: &Vault) {
    let password = a_password(vault);
    let role = AppRole::at(vault, "team/apps", json!({}));
    let sidecar = role.setup(&role.secret_id(), false).start();
    assert_eq!(sidecar.value("db/password"), password);
    sidecar.stop();
}

fn wrapped_secret_id(vault: &Vault) {
    let password = a_password(vault);
    let role = AppRole::new(vault, json!({}));
    let sidecar = role.setup(&role.wrapped_secret_id(), true).start();
    assert_eq!(sidecar.value("db/password"), password);
    sidecar.stop();
}

fn used_wrapping_token(vault: &Vault) {
    a_password(vault);
    let role = AppRole::new(vault, json!({}));
    let wrapping = role.wrapped_secret_id();
    role.setup(&wrapping, true).start().stop();
    let said = role.setup(&wrapping, true).refused();
    assert!(said.contains("the wrapping token was used already"), "{said}");
    assert!(said.contains("method approle, mount auth/approle, role_id "), "{said}");
}

fn expired_or_made_up_wrapping_token(vault: &Vault) {
    let role = AppRole::new(vault, json!({}));
    let said = role.setup(&canary("wrapping"), true).refused();
    assert!(said.contains("the wrapping token was used already, or it expired"), "{said}");
}

fn foreign_wrapping_token_stays_unused(vault: &Vault) {
    let role = AppRole::new(vault, json!({}));
    let wrapping = vault.wrapped("sys/wrapping/wrap", json!({ "secret_id": role.secret_id() }));
    let said = role.setup(&wrapping, true).refused();
    assert!(said.contains("not made by this AppRole mount"), "{said}");
    let lookup = json!({ "token": wrapping });
    let (status, answer) = vault.admin("POST", "sys/wrapping/lookup", lookup);
    assert_eq!(status, 200, "the evidence is still there: {answer}");
    assert_eq!(answer["data"]["creation_path"], "sys/wrapping/wrap");
}

fn wrapping_token_of_another_mount(vault: &Vault) {
    let role = AppRole::new(vault, json!({}));
    let other = AppRole::at(vault, "other", json!({}));
    let said = role.setup(&other.wrapped_secret_id(), true).refused();
    assert!(said.contains("not made by this AppRole mount"), "{said}");
}

fn used_up_secret_id(vault: &Vault) {
    a_password(vault);
    let role = AppRole::new(vault, json!({ "secret_id_num_uses": 1 }));
    let secret_id = role.secret_id();
    role.setup(&secret_id, false).start().stop();
    let said = role.setup(&secret_id, false).refused();
    assert!(said.contains("the secret-id is wrong, used up or expired"), "{said}");
}

fn unknown_role_id(vault: &Vault) {
    let mut role = AppRole::new(vault, json!({}));
    let secret_id = role.secret_id();
    role.role_id = "11112222-nobody".into();
    let said = role.setup(&secret_id, false).refused();
    assert!(said.contains("the role-id is unknown"), "{said}");
    assert!(said.contains("role_id 11112222…"), "{said}");
}

fn missing_mount(vault: &Vault) {
    let mut role = AppRole::new(vault, json!({}));
    let secret_id = role.secret_id();
    role.mount = "nowhere".into();
    let said = role.setup(&secret_id, false).refused();
    assert!(said.contains("method approle, mount auth/nowhere, role_id "), "{said}");
    assert!(said.contains("auth/nowhere/login: permission denied (403)"), "{said}");
}

/// Waited for, since it may be delivered a moment later, and then named.
fn missing_file(vault: &Vault) {
    let role = AppRole::new(vault, json!({}));
    let auth = format!(
        "method = \"approle\"\nrole_id = \"{}\"\nsecret_id_file = \"/nonexistent/secret-id\"",
        role.role_id
    );
    let said = Setup::new(vault).secret("db", "secret/data/app").auth(&auth).refused();
    assert!(said.contains("cannot read /nonexistent/secret-id"), "{said}");
}
