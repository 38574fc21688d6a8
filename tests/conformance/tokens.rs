//! The life of our own token: renewed, replaced, lost, given back.

use serde_json::json;

use crate::approle::{AppRole, a_password};
use crate::case::{Case, case};
use crate::setup::{Running, Setup};
use crate::support::eventually;
use crate::support::vault::TestVault as _;
use crate::vault::Vault;

pub const CASES: &[Case] = &[
    case!(renewed_past_its_first_end),
    case!(brought_token_is_renewed),
    case!(replaced_when_it_cannot_be_renewed),
    case!(batch_token_is_replaced),
    case!(replaced_at_its_maximum),
    case!(replaced_when_revoked_behind_our_back),
    case!(replaced_after_a_suspension),
    case!(without_a_look_at_itself),
    case!(without_any_policy),
    case!(of_few_uses),
    case!(revoked_at_stop),
    case!(batch_token_at_stop),
    case!(brought_token_is_left_alone),
];

fn nothing_failed(sidecar: Running) {
    let said = sidecar.stop();
    assert!(!said.contains("\"WARN\",\"message\":\"cannot read"), "{said}");
    assert!(!said.contains("login failed") && !said.contains("token not renewed"), "{said}");
}

fn renewed_past_its_first_end(vault: &Vault) {
    let password = a_password(vault);
    let role = AppRole::new(vault, json!({ "token_ttl": "6s" }));
    let sidecar = role.setup(&role.secret_id(), false).start();
    let [accessor] = vault.accessors().try_into().unwrap();
    // After 3.6 s at the earliest, then again: the first end is over.
    sidecar.wait_for("token renewed", 2);
    assert!(vault.policies_of(&accessor).is_some(), "the first token is alive");
    assert_eq!(sidecar.refresh("db").status, 200);
    assert_eq!(sidecar.value("db/password"), password);
    assert_eq!(sidecar.logins(), 1);
    nothing_failed(sidecar);
}

fn brought_token_is_renewed(vault: &Vault) {
    a_password(vault);
    let token = vault.create_token(json!({ "policies": ["app"], "ttl": "6s" }));
    let setup = Setup::new(vault).env("VAULT_TOKEN", &token).secret("db", "secret/data/app");
    let sidecar = setup.start();
    sidecar.wait_for("token renewed", 2);
    assert_eq!(sidecar.refresh("db").status, 200);
    assert_eq!(sidecar.logins(), 1);
    nothing_failed(sidecar);
}

/// Logs in again before the end of a token, and never has none.
fn is_replaced_in_time(vault: &Vault, options: serde_json::Value) {
    let password = a_password(vault);
    let role = AppRole::new(vault, options);
    let setup = role.setup(&role.secret_id(), false);
    let sidecar = setup.refreshed("other", "secret/data/app").start();
    sidecar.wait_for("logged in to Vault", 2);
    assert_eq!(sidecar.value("db/password"), password);
    assert_eq!(sidecar.refresh("db").status, 200);
    nothing_failed(sidecar);
}

fn batch_token_is_replaced(vault: &Vault) {
    is_replaced_in_time(vault, json!({ "token_type": "batch", "token_ttl": "8s" }));
}

fn replaced_when_it_cannot_be_renewed(vault: &Vault) {
    is_replaced_in_time(vault, json!({ "token_ttl": "8s", "token_max_ttl": "8s" }));
}

fn replaced_at_its_maximum(vault: &Vault) {
    is_replaced_in_time(vault, json!({ "token_ttl": "6s", "token_explicit_max_ttl": "8s" }));
}

fn replaced_when_revoked_behind_our_back(vault: &Vault) {
    let password = a_password(vault);
    let role = AppRole::new(vault, json!({ "token_ttl": "1h" }));
    let setup = role.setup(&role.secret_id(), false);
    let names = (0..8).map(|n| format!("other{n}"));
    let sidecar =
        names.fold(setup, |setup, name| setup.refreshed(&name, "secret/data/app")).start();
    let [accessor] = vault.accessors().try_into().unwrap();
    vault.revoke_accessor(&accessor);
    // Eight refreshes find out, and there is one login for all of them.
    sidecar.wait_for("logged in to Vault", 2);
    for name in ["db", "other0", "other7"] {
        eventually("a read with the new token", || {
            (sidecar.refresh(name).status == 200).then_some(())
        });
    }
    assert_eq!(sidecar.value("db/password"), password);
    assert_eq!(sidecar.logins(), 2);
    let [renewed] = vault.accessors().try_into().unwrap();
    assert_ne!(renewed, accessor);
    sidecar.stop();
}

/// A process that slept through its token's end logs in, and who asks meanwhile waits for that.
fn replaced_after_a_suspension(vault: &Vault) {
    let password = a_password(vault);
    let role = AppRole::new(vault, json!({ "token_ttl": "2s" }));
    let setup = role.setup(&role.secret_id(), false);
    let sidecar = setup.lazy("late", "secret/data/app").start();
    sidecar.sidecar.signal(libc::SIGSTOP);
    let gone = || vault.accessors().is_empty().then_some(());
    eventually("the token's end", gone);
    sidecar.sidecar.signal(libc::SIGCONT);
    assert_eq!(sidecar.value("late/password"), password);
    assert_eq!(sidecar.logins(), 2);
    sidecar.stop();
}

/// A denied path is no reason to log in again where the policy does not even let a token look
/// at itself.
fn without_a_look_at_itself(vault: &Vault) {
    let password = a_password(vault);
    let role = AppRole::new(vault, json!({ "token_ttl": "1h", "token_no_default_policy": true }));
    let setup = role.setup(&role.secret_id(), false);
    let sidecar = setup.lazy("other", "kv/data/other").start();
    let accessors = vault.accessors();
    assert_eq!(sidecar.code("other"), "upstream_denied");
    let lacks = "the policy lacks read on auth/token/lookup-self, as a 403 of Vault without \
                 `invalid token` shows";
    sidecar.wait_for(lacks, 1);
    sidecar.refresh("other");
    assert_eq!(sidecar.refresh("db").status, 200);
    assert_eq!(sidecar.value("db/password"), password);
    assert_eq!((vault.accessors(), sidecar.logins()), (accessors, 1));
    assert_eq!(sidecar.said(lacks), 1);
    sidecar.stop();
}

/// Vault leaves an empty list of policies out of its answer.
fn without_any_policy(vault: &Vault) {
    let role = AppRole::new(vault, json!({ "token_no_default_policy": true }));
    vault.set_up("POST", "auth/approle/role/app", json!({ "token_policies": [] }));
    let setup = role.log_in(Setup::new(vault), &role.secret_id(), false);
    let sidecar = setup.lazy("db", "secret/data/app").start();
    sidecar.wait_for("logged in to Vault", 1);
    assert_eq!(sidecar.code("db"), "upstream_denied");
    sidecar.stop();
}

fn of_few_uses(vault: &Vault) {
    a_password(vault);
    let role = AppRole::new(vault, json!({ "token_num_uses": 20 }));
    let sidecar = role.setup(&role.secret_id(), false).start();
    sidecar.wait_for("the token ends after so many requests: the role has token_num_uses", 1);
    sidecar.stop();
}

fn revoked_at_stop(vault: &Vault) {
    a_password(vault);
    let role = AppRole::new(vault, json!({ "token_ttl": "1h" }));
    let sidecar = role.setup(&role.secret_id(), false).start();
    let [accessor] = vault.accessors().try_into().unwrap();
    assert_eq!(vault.policies_of(&accessor), Some(json!(["app", "default"])));
    let said = sidecar.stop();
    assert!(said.contains("\"token revoked\""), "{said}");
    assert_eq!(vault.policies_of(&accessor), None);
}

/// A batch token cannot be revoked, and is no matter for a warning.
fn batch_token_at_stop(vault: &Vault) {
    a_password(vault);
    let role = AppRole::new(vault, json!({ "token_type": "batch", "token_ttl": "1h" }));
    let said = role.setup(&role.secret_id(), false).start().stop();
    assert!(!said.contains("revoked"), "{said}");
}

fn brought_token_is_left_alone(vault: &Vault) {
    a_password(vault);
    let token = vault.create_token(json!({ "policies": ["app"] }));
    let [accessor] = vault.accessors().try_into().unwrap();
    let setup = Setup::new(vault).env("VAULT_TOKEN", &token).secret("db", "secret/data/app");
    let said = setup.start().stop();
    assert!(!said.contains("revoked"), "{said}");
    assert!(vault.policies_of(&accessor).is_some());
}
