//! A reload that leads to another Vault.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sidekey::dev::{Fault, Matcher};

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

fn logins(sidecar: &Sidecar) -> usize {
    sidecar.events().iter().filter(|event| event["message"] == "logged in to Vault").count()
}

/// The old token is found dead when there is another already.
#[test]
fn a_late_word_about_the_old_token_does_not_harm_the_new_one() {
    let (from, to) = (Place::new("from"), Place::new("to"));
    let token = canary("caller");
    let builder = Builder::serve().on_free_ports().env("SIDEKEY_TOKEN", &token);
    let file = builder.file("secret-id", &from.secret_id);
    let patient = |toml: String| toml.replace("timeout = \"1s\"", "timeout = \"10s\"");
    let sidecar = builder.config(&patient(from.toml(&file))).start();

    let lookups = Matcher::get("auth/token/lookup-self");
    let late = Fault::delay(Duration::from_secs(3));
    let script = from.vault.server.faults().on(lookups).respond(late).forever();
    let accessors = from.vault.set_up("LIST", "auth/token/accessors", Value::Null);
    for accessor in accessors["data"]["keys"].as_array().unwrap() {
        let named = json!({ "accessor": accessor });
        let (_, found) = from.vault.admin("POST", "auth/token/lookup-accessor", named.clone());
        if found["data"]["policies"] != json!(["root"]) {
            from.vault.set_up("POST", "auth/token/revoke-accessor", named);
        }
    }
    std::thread::scope(|scope| {
        let bearer = format!("Bearer {token}");
        let addr = sidecar.addr();
        let doubting = scope.spawn(move || {
            let headers = [("Authorization", bearer.as_str())];
            crate::support::client::request(addr, "POST", "/secrets/app/refresh", &headers)
        });
        eventually("the look at the old token", || (script.hits() > 0).then_some(()));
        std::fs::write(sidecar.path("secret-id"), &to.secret_id).unwrap();
        std::fs::write(sidecar.path("sidekey.toml"), patient(to.toml(&file))).unwrap();
        sidecar.signal(1);
        eventually("the other login", || (logins(&sidecar) == 2).then_some(()));
        doubting.join().unwrap();
    });
    assert_eq!(sidecar.get("/secrets/app/password", &token).text(), to.app);
    sidecar.stop();
    assert_eq!(to.vault.server.count("POST", "auth/approle/login"), 1);
    assert_eq!(to.revoked(), 1);
}

#[test]
fn a_login_under_way_during_a_reload_is_given_back_where_it_came_from() {
    let (from, to) = (Place::new("from"), Place::new("to"));
    let token = canary("caller");
    let builder = Builder::serve().on_free_ports().env("SIDEKEY_TOKEN", &token);
    let file = builder.file("secret-id", &from.secret_id);
    let patient = |toml: String| toml.replace("timeout = \"1s\"", "timeout = \"10s\"");
    let late = Fault::delay(Duration::from_secs(3));
    let login = Matcher::post("auth/approle/login");
    let script = from.vault.server.faults().on(login).respond(late).forever();
    let sidecar = builder.config(&patient(from.toml(&file))).spawn();
    eventually("the slow login", || (script.hits() > 0).then_some(()));
    std::fs::write(sidecar.path("secret-id"), &to.secret_id).unwrap();
    std::fs::write(sidecar.path("sidekey.toml"), patient(to.toml(&file))).unwrap();
    sidecar.signal(1);
    sidecar.wait_for("ready");
    assert_eq!(sidecar.get("/secrets/app/password", &token).text(), to.app);
    assert_eq!((from.revoked(), logins(&sidecar)), (1, 1));
    sidecar.stop();
    assert_eq!(to.revoked(), 1);
}
