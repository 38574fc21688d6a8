//! A reload that leads to another Vault.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::case::SETTINGS;
use crate::support::canary::canary;
use crate::support::eventually;
use crate::support::sidecar::{Builder, Sidecar};
use crate::support::vault::{Dev, TestVault};

/// A Vault with a leased `db`, a KV secret `app`, and an AppRole that may read both.
struct Place {
    vault: Dev,
    role_id: String,
    secret_id: String,
    app: String,
}

impl Place {
    fn new(what: &str) -> Self {
        let vault = Dev::start();
        vault.set_up("POST", "sys/mounts/database", json!({ "type": "database" }));
        vault.set_up("POST", "database/roles/app", json!({ "default_ttl": "1h" }));
        let app = canary(what);
        vault.put("app", json!({ "password": app }));
        let rules = "path \"secret/*\" { capabilities = [\"read\"] }\n\
            path \"database/creds/*\" { capabilities = [\"read\"] }";
        vault.set_up("PUT", "sys/policies/acl/app", json!({ "policy": rules }));
        vault.set_up("POST", "sys/auth/approle", json!({ "type": "approle" }));
        vault.set_up("POST", "auth/approle/role/app", json!({ "token_policies": ["app"] }));
        let role_id = vault.set_up("GET", "auth/approle/role/app/role-id", Value::Null);
        let secret_id = vault.set_up("POST", "auth/approle/role/app/secret-id", json!({}));
        let text = |answer: &Value, key: &str| answer["data"][key].as_str().unwrap().to_owned();
        let (role_id, secret_id) = (text(&role_id, "role_id"), text(&secret_id, "secret_id"));
        Self { vault, role_id, secret_id, app }
    }

    fn toml(&self, secret_id_file: &str) -> String {
        // On one host two Vaults differ by their port, and the sandbox knows one.
        format!(
            "{SETTINGS}address = \"{}\"\n[sandbox]\nenabled = false\n\
             [auth]\nmethod = \"approle\"\nrole_id = \"{}\"\nsecret_id_file = \"{secret_id_file}\"\n\
             [secrets.db]\npath = \"database/creds/app\"\n\
             [secrets.app]\npath = \"secret/data/app\"\nrefresh = \"1h\"\n",
            self.vault.url(),
            self.role_id
        )
    }

    fn revoked(&self) -> usize {
        self.vault.server.count("POST", "auth/token/revoke-self")
    }

    fn leases(&self) -> usize {
        let (_, listed) =
            self.vault.admin("LIST", "sys/leases/lookup/database/creds/app", json!({}));
        listed["data"]["keys"].as_array().map_or(0, Vec::len)
    }
}

fn start(from: &Place) -> (Sidecar, String) {
    let token = canary("caller");
    let builder = Builder::serve().on_free_ports().env("SIDEKEY_TOKEN", &token);
    let file = builder.file("secret-id", &from.secret_id);
    (builder.config(&from.toml(&file)).start(), token)
}

fn move_to(sidecar: &Sidecar, to: &Place) {
    let file = sidecar.path("secret-id");
    std::fs::write(&file, &to.secret_id).unwrap();
    std::fs::write(sidecar.path("sidekey.toml"), to.toml(file.to_str().unwrap())).unwrap();
    sidecar.signal(1);
    sidecar.wait_for("configuration reloaded");
}

#[test]
fn everything_is_read_there_and_the_old_token_is_given_back() {
    let (from, to) = (Place::new("from"), Place::new("to"));
    let (sidecar, token) = start(&from);
    assert_eq!(sidecar.get("/secrets/app/password", &token).text(), from.app);
    let user = sidecar.get("/secrets/db/username", &token).text();
    move_to(&sidecar, &to);
    eventually("the other Vault's values", || {
        let app = sidecar.get("/secrets/app/password", &token);
        let db = sidecar.get("/secrets/db/username", &token);
        assert_eq!((app.status, db.status), (200, 200), "no gap");
        (app.text() == to.app && db.text() != user).then_some(())
    });
    // Not before the application had time to take over.
    assert_eq!((from.revoked(), from.leases()), (0, 1));
    eventually("the revocation", || (from.revoked() == 1 && from.leases() == 0).then_some(()));
    assert_eq!(sidecar.get("/secrets/db", &token).status, 200);
    sidecar.stop();
    assert_eq!((to.revoked(), to.leases()), (1, 0));
    assert_eq!(from.revoked(), 1);
}

#[test]
fn a_stop_right_after_gives_both_tokens_back() {
    let (from, to) = (Place::new("from"), Place::new("to"));
    let (sidecar, token) = start(&from);
    move_to(&sidecar, &to);
    eventually("the other login", || {
        (sidecar.get("/secrets/app/password", &token).text() == to.app).then_some(())
    });
    let since = Instant::now();
    let said = sidecar.stop();
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert_eq!((from.revoked(), to.revoked()), (1, 1), "{said}");
    assert_eq!((from.leases(), to.leases()), (0, 0));
}
