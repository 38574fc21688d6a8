//! Vault refuses the login, or something on the way to it does.

use serde_json::{Value, json};
use sidekey::dev::{Fault, Matcher};

use crate::case::{Case, MAX_STALE, SETTINGS, secrets, store};
use crate::support::canary::canary;
use crate::support::eventually;
use crate::support::sidecar::{Builder, Sidecar};
use crate::support::vault::{Dev, TestVault, call};

const LOGIN: &str = "auth/approle/login";
const LOOKUP: &str = "sys/wrapping/lookup";
const WAITS: &str = "login refused, waiting for another credential";
const ROLE: &str = "auth/approle/role/app";

/// An AppRole whose tokens are replaced after a second or two, and whose secret-ids are good for
/// one login.
fn short_lived(vault: &Dev) -> String {
    let rules = "path \"secret/data/*\" { capabilities = [\"read\"] }";
    vault.set_up("PUT", "sys/policies/acl/app", json!({ "policy": rules }));
    vault.set_up("POST", "sys/auth/approle", json!({ "type": "approle" }));
    let role = json!({
        "token_policies": ["app"], "token_ttl": "2s", "token_max_ttl": "2s", "secret_id_num_uses": 1
    });
    vault.set_up("POST", ROLE, role);
    let role_id = vault.set_up("GET", &format!("{ROLE}/role-id"), Value::Null);
    role_id["data"]["role_id"].as_str().unwrap().to_owned()
}

/// From now on one login is enough.
fn long_lived(vault: &Dev) {
    let role = json!({ "token_ttl": "1h", "token_max_ttl": "1h", "secret_id_num_uses": 0 });
    vault.set_up("POST", ROLE, role);
}

fn secret_id(vault: &Dev) -> String {
    let made = vault.set_up("POST", &format!("{ROLE}/secret-id"), json!({}));
    made["data"]["secret_id"].as_str().unwrap().to_owned()
}

fn wrapped_secret_id(vault: &Dev) -> String {
    let (root, ttl) = (vault.root_token(), [("X-Vault-Wrap-TTL", "120")]);
    let path = format!("{ROLE}/secret-id");
    let (_, made) = call(&vault.url(), "POST", &path, Some(&root), &ttl, json!({}));
    made["wrap_info"]["token"].as_str().unwrap().to_owned()
}

fn start(vault: Dev, credential: &str, auth: &str) -> Case {
    let token = canary("caller");
    let builder = Builder::serve()
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("SIDEKEY_TOKEN", &token);
    let file = builder.file("credential", credential);
    let auth = auth.replace("FILE", &file);
    let toml = format!("{SETTINGS}[auth]\n{auth}\n{}", secrets(&["db"], MAX_STALE));
    Case { sidecar: builder.config(&toml).start(), vault, token }
}

fn approle(role_id: &str, wrapped: bool) -> String {
    format!(
        "method = \"approle\"\nrole_id = \"{role_id}\"\nsecret_id_file = \"FILE\"\n\
         secret_id_wrapped = {wrapped}"
    )
}

fn said(sidecar: &Sidecar, message: &str) -> usize {
    sidecar.events().iter().filter(|event| event["message"] == message).count()
}

fn until_said(sidecar: &Sidecar, message: &str, times: usize) {
    eventually(message, || (said(sidecar, message) >= times).then_some(()));
}

/// Each time the file is looked at.
fn reload(case: &Case) {
    let before = said(&case.sidecar, "configuration reloaded");
    case.sidecar.signal(1);
    until_said(&case.sidecar, "configuration reloaded", before + 1);
}

fn deliver(case: &Case, credential: &str) {
    std::fs::write(case.sidecar.path("credential"), credential).unwrap();
}

#[test]
fn a_used_up_secret_id_is_not_sent_again() {
    let vault = Dev::start();
    let value = store(&vault, "db");
    let role_id = short_lived(&vault);
    let secret = secret_id(&vault);
    let case = start(vault, &secret, &approle(&role_id, false));
    let waits = case.sidecar.wait_for(WAITS);
    let file = case.sidecar.path("credential");
    assert_eq!(waits["file"], file.to_str().unwrap());
    let refusal = case.until_refused("db");
    assert_eq!((refusal.status, refusal.code().as_str()), (503, "upstream_unavailable"));
    for _ in 0..5 {
        reload(&case);
        assert_eq!(case.get("db").status, 503);
    }
    let logins = || case.vault.server.count("POST", LOGIN);
    assert_eq!(logins(), 2);
    assert_eq!(said(&case.sidecar, WAITS), 1);

    long_lived(&case.vault);
    deliver(&case, &secret_id(&case.vault));
    reload(&case);
    case.until("db", "fresh", &value);
    assert_eq!(logins(), 3);
    case.sidecar.stop();
}

#[test]
fn a_refused_wrapping_token_is_not_sent_again() {
    let vault = Dev::start();
    let value = store(&vault, "db");
    let role_id = short_lived(&vault);
    let wrapped = wrapped_secret_id(&vault);
    let case = start(vault, &wrapped, &approle(&role_id, true));
    case.sidecar.wait_for(WAITS);
    deliver(&case, &canary("wrapping"));
    // Nobody told: it is looked at the file now and then.
    until_said(&case.sidecar, WAITS, 2);
    for _ in 0..5 {
        reload(&case);
    }
    let lookups = || case.vault.server.count("POST", LOOKUP);
    assert_eq!(lookups(), 2);

    long_lived(&case.vault);
    deliver(&case, &wrapped_secret_id(&case.vault));
    reload(&case);
    case.until("db", "fresh", &value);
    assert_eq!(lookups(), 3);
    assert_eq!(case.vault.server.count("POST", LOGIN), 3);
    case.sidecar.stop();
}

#[test]
fn a_token_file_is_looked_at_when_told_and_a_dead_token_is_not_sent_again() {
    let vault = Dev::start();
    let value = store(&vault, "db");
    let rules = "path \"secret/data/*\" { capabilities = [\"read\"] }";
    vault.set_up("PUT", "sys/policies/acl/app", json!({ "policy": rules }));
    let make = |vault: &Dev| {
        let made = vault.set_up("POST", "auth/token/create", json!({ "policies": ["app"] }));
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    };
    let (first, second) = (make(&vault), make(&vault));
    let case = start(vault, &first, "method = \"token\"\ntoken_file = \"FILE\"");
    deliver(&case, &second);
    reload(&case);
    until_said(&case.sidecar, "logged in to Vault", 2);
    case.vault.set_up("POST", "auth/token/revoke", json!({ "token": first }));
    case.until("db", "fresh", &value);

    case.vault.set_up("POST", "auth/token/revoke", json!({ "token": second }));
    case.sidecar.wait_for(WAITS);
    let lookups = || case.vault.server.count("GET", "auth/token/lookup-self");
    let before = lookups();
    for _ in 0..5 {
        reload(&case);
    }
    assert_eq!(lookups(), before);
    deliver(&case, &make(&case.vault));
    reload(&case);
    case.until("db", "fresh", &value);
    case.sidecar.stop();
}

#[test]
fn a_bad_token_in_the_file_does_not_end_the_good_one() {
    let vault = Dev::start();
    let value = store(&vault, "db");
    let rules = "path \"secret/data/*\" { capabilities = [\"read\"] }";
    vault.set_up("PUT", "sys/policies/acl/app", json!({ "policy": rules }));
    let make = |vault: &Dev| {
        let token = json!({ "policies": ["app"], "ttl": "6s" });
        let made = vault.set_up("POST", "auth/token/create", token);
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    };
    let first = make(&vault);
    let case = start(vault, &first, "method = \"token\"\ntoken_file = \"FILE\"");
    deliver(&case, &canary("unknown"));
    reload(&case);
    case.sidecar.wait_for(WAITS);
    let renewals = said(&case.sidecar, "token renewed");
    until_said(&case.sidecar, "token renewed", renewals + 2);
    case.until("db", "fresh", &value);
    assert_eq!(said(&case.sidecar, "logged in to Vault"), 1);
    deliver(&case, &make(&case.vault));
    until_said(&case.sidecar, "logged in to Vault", 2);
    case.until("db", "fresh", &value);
    case.sidecar.stop();
}

/// Its policy may come to let it look at itself.
#[test]
fn a_token_that_vault_may_come_to_take_is_tried_again() {
    let vault = Dev::start();
    let value = store(&vault, "db");
    let first = vault.root_token();
    let case = start(vault, &first, "method = \"token\"\ntoken_file = \"FILE\"");
    let rules = "path \"secret/data/*\" { capabilities = [\"read\"] }";
    case.vault.set_up("PUT", "sys/policies/acl/app", json!({ "policy": rules }));
    let made =
        case.vault.set_up("POST", "auth/token/create", json!({ "policies": ["app"], "ttl": "1h" }));
    let denied = r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#;
    let denied = Fault::body(403, "application/json", denied);
    let faults = case.vault.server.faults();
    let refusals = faults.on(Matcher::get("auth/token/lookup-self")).respond(denied).times(2);
    deliver(&case, made["auth"]["client_token"].as_str().unwrap());
    reload(&case);
    until_said(&case.sidecar, "logged in to Vault", 2);
    assert_eq!(refusals.hits(), 2);
    case.until("db", "fresh", &value);
    case.sidecar.stop();
}

/// What cannot be replaced is kept alive, though Vault grants less than at first.
#[test]
fn a_token_lives_on_while_its_login_is_refused() {
    let vault = Dev::start();
    let value = store(&vault, "db");
    let made = vault.set_up("POST", "auth/token/create", json!({ "ttl": "1h" }));
    let granted = |seconds: u64| {
        let mut auth = made["auth"].clone();
        auth["lease_duration"] = seconds.into();
        Fault::body(200, "application/json", json!({ "auth": auth }).to_string())
    };
    let refusal = r#"{"errors":["invalid role or secret ID"]}"#;
    let faults = vault.server.faults();
    let login = faults.on(Matcher::post(LOGIN)).respond(granted(8));
    login.then(Fault::body(400, "application/json", refusal));
    let renewals = faults.on(Matcher::post("auth/token/renew-self")).respond(granted(4)).forever();
    let case = start(vault, "used-up", &approle("role", false));
    case.sidecar.wait_for(WAITS);
    let before = renewals.hits();
    eventually("more renewals", || (renewals.hits() >= before + 3).then_some(()));
    case.until("db", "fresh", &value);
    assert_eq!(case.vault.server.count("POST", LOGIN), 2);
    assert_eq!(said(&case.sidecar, WAITS), 1);
    case.sidecar.stop();
}

#[test]
fn a_firewalls_403_is_an_outage_and_no_word_of_vaults() {
    let (case, values) = Case::start(&["db"]);
    let page = Fault::body(403, "text/html", "<html>Request blocked: invalid token</html>");
    case.vault.server.faults().on(Matcher::any()).respond(page).forever();
    case.until("db", "stale", &values[0]);
    let refusal = case.until_refused("db");
    assert_eq!((refusal.status, refusal.code().as_str()), (502, "upstream_malformed"));
    assert_eq!(case.vault.server.count("GET", "auth/token/lookup-self"), 1, "of the login");
    case.vault.server.faults().clear();
    case.until("db", "fresh", &values[0]);
    assert_eq!(said(&case.sidecar, "logged in to Vault"), 1);
    case.sidecar.stop();
}

#[test]
fn an_ingress_without_a_vault_behind_it_is_waited_for() {
    let vault = Dev::start();
    let value = store(&vault, "db");
    let page = |status| Fault::body(status, "text/html", "<html>default backend</html>");
    let script = vault.server.faults().on(Matcher::any()).respond(page(404)).times(1);
    script.then(page(408));
    script.then(page(403));
    let (builder, token) = crate::case::builder(&vault.url(), &vault.root_token());
    let toml = format!("{SETTINGS}{}", secrets(&["db"], MAX_STALE));
    let sidecar = builder.config(&toml).start();
    let case = Case { vault, sidecar, token };
    case.until("db", "fresh", &value);
    assert_eq!(said(&case.sidecar, "login failed"), 3);
    case.sidecar.stop();
}

#[test]
fn a_login_that_needs_a_second_factor_says_so() {
    let vault = Dev::start();
    let role_id = short_lived(&vault);
    let answer = json!({ "auth": {
        "client_token": "", "accessor": "", "policies": null, "lease_duration": 0,
        "mfa_requirement": { "mfa_request_id": "m", "mfa_constraints": {} }
    } });
    let fault = Fault::body(200, "application/json", answer.to_string());
    vault.server.faults().on(Matcher::post(LOGIN)).respond(fault).forever();
    let builder = Builder::serve()
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("SIDEKEY_TOKEN", &canary("caller"));
    let file = builder.file("credential", &secret_id(&vault));
    let auth = approle(&role_id, false).replace("FILE", &file);
    let toml = format!("{SETTINGS}[auth]\n{auth}\n{}", secrets(&["db"], MAX_STALE));
    let mut sidecar = builder.config(&toml).spawn();
    assert_eq!(sidecar.wait().code(), Some(77));
    assert!(sidecar.stderr().contains("second factor (MFA)"), "{}", sidecar.stderr());
}
