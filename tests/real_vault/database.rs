//! A dynamic credential of a real PostgreSQL, from a real Vault, in use all the time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::canary::canary;
use crate::support::eventually;
use crate::support::postgres::Postgres;
use crate::support::sidecar::Builder;
use crate::support::vault::{Real, TestVault};

/// Renewed after about 6 s; replaced before 24 s.
const TTL: Duration = Duration::from_secs(9);
const MAX_TTL: Duration = Duration::from_secs(24);

fn furnish(vault: &Real, postgres: &Postgres) {
    vault.database(postgres, "app,fixed");
    let create = "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' \
                  VALID UNTIL '{{expiration}}'";
    vault.set_up(
        "POST",
        "database/roles/app",
        json!({
            "db_name": "postgres",
            "creation_statements": create,
            "default_ttl": TTL.as_secs(),
            "max_ttl": MAX_TTL.as_secs(),
        }),
    );
}

/// Served, used, renewed past its first life, replaced at its maximum life without a login that
/// fails, and gone after the stop.
pub fn whole_life() {
    let (vault, postgres) = (Real::start().expect("a real Vault"), Postgres::start());
    furnish(&vault, &postgres);
    let token = canary("caller");
    let sidecar = Builder::serve()
        .on_free_ports()
        .config("[secrets.db]\npath = \"database/creds/app\"\n")
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("SIDEKEY_TOKEN", &token)
        .start();

    let since = Instant::now();
    // Each user, with the first and the last moment at which it logged in.
    let mut users: BTreeMap<String, (Duration, Duration)> = BTreeMap::new();
    while users.len() < 3 {
        assert!(since.elapsed() < MAX_TTL * 4, "no third credential: {users:?}");
        let answer = sidecar.get("/secrets/db", &token);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let served = answer.json();
        let field = |name: &str| served[name].as_str().unwrap().to_owned();
        let (user, password) = (field("username"), field("password"));
        let who = postgres.ask(&user, &password, "select current_user");
        let now = since.elapsed();
        assert_eq!(who.as_ref(), Ok(&user), "at {now:?}, of {users:?}\n{}", sidecar.stderr());
        users.entry(user).or_insert((now, now)).1 = now;
    }
    // The two that were replaced were in use past their first life, and not past their last.
    let mut lives: Vec<_> =
        users.values().map(|(first, last)| last.saturating_sub(*first)).collect();
    lives.sort();
    for life in &lives[1..] {
        assert!((TTL..MAX_TTL).contains(life), "{users:?}");
    }
    sidecar.stop();
    eventually("the end of every user", || {
        let left = postgres.admin("select count(*) from pg_roles where rolname like 'v-%'");
        (left == "0").then_some(())
    });
    let query = "LIST";
    let (_, leases) = vault.admin(query, "sys/leases/lookup/database/creds/app", json!(null));
    assert!(leases["data"]["keys"].as_array().is_none_or(Vec::is_empty), "{leases}");
}

/// One user whose password Vault rotates: no news while it does not, and the new password a
/// moment after it did.
pub fn static_role() {
    let (vault, postgres) = (Real::start().expect("a real Vault"), Postgres::start());
    furnish(&vault, &postgres);
    postgres.admin("create role fixed with login");
    let role = json!({ "db_name": "postgres", "username": "fixed", "rotation_period": 10 });
    vault.set_up("POST", "database/static-roles/fixed", role);
    let token = canary("caller");
    let sidecar = Builder::serve()
        .on_free_ports()
        .config("[secrets.db]\npath = \"database/static-creds/fixed\"\nrefresh = \"1s\"\n")
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("SIDEKEY_TOKEN", &token)
        .start();
    let mut passwords: BTreeMap<u64, String> = BTreeMap::new();
    eventually("two rotations", || {
        let answer = sidecar.get("/secrets/db", &token);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let version = answer.header("sidekey-version").unwrap().parse().unwrap();
        let password = answer.json()["password"].as_str().unwrap().to_owned();
        let known = passwords.entry(version).or_insert_with(|| password.clone());
        assert_eq!(*known, password, "one version is one password");
        (passwords.len() == 3).then_some(())
    });
    let different: std::collections::BTreeSet<_> = passwords.values().collect();
    assert_eq!(different.len(), 3, "each rotation is another password");
    let who = postgres.ask("fixed", &passwords[&3], "select current_user");
    assert_eq!(who.as_deref(), Ok("fixed"));
    sidecar.stop();
}
