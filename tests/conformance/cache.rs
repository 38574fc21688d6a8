//! How often Vault is asked, and what a refresh changes.

use std::sync::Barrier;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::approle::a_password;
use crate::case::{Case, case};
use crate::setup::{Running, Setup};
use crate::support::canary::canary;
use crate::support::eventually;
use crate::support::vault::TestVault as _;
use crate::vault::Vault;

pub const CASES: &[Case] = &[
    case!(simultaneous_first_requests_are_one_read),
    case!(every_request_of_one_value_is_one_read),
    case!(version_and_etag_of_kv_version_2),
    case!(version_and_etag_of_kv_version_1),
    case!(an_unchanged_secret_is_not_sent_again),
    case!(without_metadata_the_secret_itself_is_read),
    case!(a_store_made_anew_is_another_one),
];

fn simultaneous_first_requests_are_one_read(vault: &Vault) {
    const CALLERS: usize = 1000;
    let password = a_password(vault);
    vault.record_requests();
    allow_open_files(2 * CALLERS as u64);
    let setup = Setup::as_root(vault).lazy("db", "secret/data/app");
    let sidecar = setup.limits(&format!("max_connections = {CALLERS}")).start();
    sidecar.sidecar.addr();
    let together = Barrier::new(CALLERS);
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                together.wait();
                assert_eq!(sidecar.value("db/password"), password);
            });
        }
    });
    assert_eq!(vault.reads("secret/data/app"), 1);
    sidecar.stop();
}

/// For this process and those it starts.
fn allow_open_files(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    assert!(enough(limit.maximum), "this test needs {wanted} open files: ulimit -Hn");
    if !enough(limit.current) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).unwrap();
    }
}

fn every_request_of_one_value_is_one_read(vault: &Vault) {
    let password = a_password(vault);
    vault.record_requests();
    let sidecar = Setup::as_root(vault).secret("db", "secret/data/app").start();
    for what in ["db", "db/user", "db/password", "db?format=yaml", "db?format=env"] {
        assert_eq!(sidecar.get(&format!("/secrets/{what}")).status, 200, "{what}");
    }
    assert_eq!(sidecar.value("db/password"), password);
    assert_eq!(vault.reads("secret/data/app"), 1);
    sidecar.stop();
}

/// Version and `ETag` as served now.
fn identity(sidecar: &Running) -> (String, String) {
    let answer = sidecar.get("/secrets/db/password");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let header = |name: &str| answer.header(name).unwrap().to_owned();
    (header("sidekey-version"), header("etag"))
}

/// Stays the same while Vault says the same, and changes with the value.
fn version_and_etag(vault: &Vault, path: &str, body: impl Fn(&str) -> serde_json::Value) {
    let (first, second) = (canary("first"), canary("second"));
    vault.set_up("POST", path, body(&first));
    vault.record_requests();
    let sidecar = Setup::as_root(vault).refreshed("db", path).start();
    let before = identity(&sidecar);
    let looks = || vault.reads(path) + vault.reads(&path.replace("/data/", "/metadata/"));
    eventually("three refreshes", || (looks() > 3).then_some(()));
    assert_eq!(identity(&sidecar), before);
    assert_eq!(sidecar.value("db/password"), first);
    vault.set_up("POST", path, body(&second));
    let after = eventually("the new value", || {
        let now = identity(&sidecar);
        (now != before).then_some(now)
    });
    assert_eq!(sidecar.value("db/password"), second);
    assert_eq!((before.0.as_str(), after.0.as_str()), ("1", "2"));
    assert_ne!(before.1, after.1);
    let said = sidecar.stop();
    let rotations = said.matches("\"secret read\"").count();
    assert_eq!(rotations, 2, "what did not change is no event:\n{said}");
}

fn version_and_etag_of_kv_version_2(vault: &Vault) {
    let body = |password: &str| json!({ "data": { "user": "alice", "password": password } });
    version_and_etag(vault, "secret/data/app", body);
}

fn version_and_etag_of_kv_version_1(vault: &Vault) {
    vault.set_up("POST", "sys/mounts/old", json!({ "type": "kv", "options": { "version": "1" } }));
    version_and_etag(vault, "old/app", |password| json!({ "user": "a", "password": password }));
}

const DATA: &str = "secret/data/app";
const METADATA: &str = "secret/metadata/app";

fn an_unchanged_secret_is_not_sent_again(vault: &Vault) {
    let first = a_password(vault);
    vault.record_requests();
    let sidecar = Setup::as_root(vault).refreshed("db", DATA).start();
    eventually("three looks", || (vault.reads(METADATA) >= 3).then_some(()));
    assert_eq!(vault.reads(DATA), 1);
    assert_eq!(sidecar.value("db/password"), first);
    let fresh = sidecar.get("/secrets/db/password");
    assert_eq!(fresh.header("sidekey-freshness"), Some("fresh"));

    let second = canary("second");
    vault.put("app", json!({ "password": second }));
    eventually("the new value", || (sidecar.value("db/password") == second).then_some(()));
    // It is not known who was faster: the look that saw it, or the whole read of every tenth.
    assert!(vault.reads(DATA) <= 3, "{}", vault.reads(DATA));
    vault.set_up("POST", "secret/destroy/app", json!({ "versions": [2] }));
    eventually("the end of it", || {
        let answer = sidecar.get("/secrets/db/password");
        (answer.status == 404).then(|| assert_eq!(answer.code(), "version_destroyed"))
    });
    sidecar.stop();
}

fn without_metadata_the_secret_itself_is_read(vault: &Vault) {
    a_password(vault);
    vault.policy("narrow", "path \"secret/data/*\" { capabilities = [\"read\"] }");
    let token = vault.create_token(json!({ "policies": ["narrow"] }));
    vault.record_requests();
    let setup = Setup::new(vault).env("VAULT_TOKEN", &token);
    let sidecar = setup.refreshed("db", DATA).start();
    eventually("four reads", || (vault.reads(DATA) >= 4).then_some(()));
    assert_eq!(vault.reads(METADATA), 1, "it is not asked for again");
    assert_eq!(sidecar.logins(), 1);
    // The policy is widened, and a reload learns of it.
    vault.policy("narrow", "path \"secret/*\" { capabilities = [\"read\"] }");
    sidecar.sidecar.signal(1);
    sidecar.wait_for("configuration reloaded", 1);
    eventually("looks at the metadata", || (vault.reads(METADATA) >= 3).then_some(()));
    let warned = sidecar.sidecar.events();
    assert!(!warned.iter().any(|event| event["message"] == "cannot read the secret"));
    sidecar.stop();
}

/// Same path, same number, another secret.
fn a_store_made_anew_is_another_one(vault: &Vault) {
    let first = a_password(vault);
    let sidecar = Setup::as_root(vault).refreshed("db", DATA).start();
    assert_eq!(sidecar.value("db/password"), first);
    vault.set_up("DELETE", METADATA, serde_json::Value::Null);
    let second = canary("second");
    vault.put("app", json!({ "password": second }));
    eventually("the other secret", || {
        let answer = sidecar.get("/secrets/db/password");
        assert!(matches!(answer.status, 200 | 404), "{}", answer.text());
        (answer.text() == second).then_some(())
    });
    sidecar.stop();
}
