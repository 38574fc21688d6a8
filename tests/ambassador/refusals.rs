//! What a server of PostgreSQL says no to, and what that leads to: a new lease only where the
//! password was wrong, and not with each attempt.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Instant;

use serde_json::json;

use crate::postgres::{destination, shared};
use crate::scene::Scene;
use crate::support::canary::assert_clean;
use crate::support::client;
use crate::support::eventually;
use crate::support::postgres::{Postgres, said};
use crate::support::trials::{Case, POSTGRES};
use crate::support::vault::{Dev, TestVault as _};
use crate::tcp::counted;

pub(crate) const CASES: [Case; 2] = [
    ("postgres_a_refused_database_makes_no_lease", &[POSTGRES], refused_database),
    ("postgres_wrong_passwords_make_few_leases", &[POSTGRES], wrong_password),
];

/// An ambassador with the first lease of a dynamic engine, and its user at the server.
fn leased(postgres: &Postgres) -> (Scene, String) {
    let vault = Dev::start();
    vault.put("api", json!({}));
    vault.set_up("POST", "sys/mounts/database", json!({ "type": "database" }));
    let role = json!({ "default_ttl": "1h", "max_ttl": "1h" });
    vault.set_up("POST", "database/roles/app", role);
    let lines = format!(
        "listen = '127.0.0.1:0'\nallow = ['app']\nsecret = 'db'\n{}",
        destination(postgres, true)
    );
    let more = "[secrets.db]\npath = 'database/creds/app'\n[[callers]]\nname = 'reader'\n\
                token_env = 'READER'\nallow = ['db']\n";
    let reader = crate::support::canary::canary("reader");
    let scene = Scene::with_env(vault, "postgres", (&lines, more), ("READER", &reader));
    let field = |name: &str| {
        client::get(scene.sidecar.addr(), &format!("/secrets/db/{name}"), &reader).text()
    };
    let user = field("username");
    postgres.role(&format!("\"{user}\""), &field("password"), false);
    (scene, user)
}

fn leases(scene: &Scene) -> usize {
    scene.vault.server.count("GET", "database/creds/app")
}

fn refused_database() {
    let postgres = shared();
    let (scene, user) = leased(postgres);
    let port = scene.addr().port();
    let mut open = postgres.psql(port, "me", "scram", "select 1");
    open.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut open = open.spawn().unwrap();
    let here = format!("select count(*) from pg_stat_activity where usename = '{user}'");
    eventually("the session", || (postgres.admin(&here) == "1").then_some(()));
    for _ in 0..5 {
        for (database, text) in
            [("absent", "no pg_hba.conf entry"), ("refused", "pg_hba.conf rejects connection")]
        {
            let refused = said(postgres.psql(port, "me", database, "select 1")).unwrap_err();
            assert!(refused.contains(text), "{refused}");
            assert_clean("a refusal", &refused);
        }
    }
    counted(&scene, "destination_refused", 10);
    assert_eq!(leases(&scene), 1);
    open.stdin.take().unwrap().write_all(b"select 'still ' || current_user;\n").unwrap();
    let output = open.wait_with_output().unwrap();
    let answer = String::from_utf8(output.stdout).unwrap();
    assert!(answer.contains(&format!("still {user}")), "{answer}");
    assert!(!scene.metrics().contains("retired"));
    // The server's SQLSTATE, and that it was the end.
    let mut raw = crate::tcp::connect(&scene);
    raw.write_all(&crate::postgres::startup(b"user\0me\0database\0refused\0\0")).unwrap();
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut raw, &mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("C28000\0") && answer.contains("SFATAL\0"), "{answer}");
    scene.stop();
    postgres.admin(&format!("drop role \"{user}\""));
}

/// A password that is not, or no longer, that of the user.
fn wrong_password() {
    let postgres = shared();
    let (scene, user) = leased(postgres);
    let port = scene.addr().port();
    assert_eq!(said(postgres.psql(port, "me", "scram", "select current_user")), Ok(user.clone()));
    postgres.admin(&format!("alter role \"{user}\" password 'another'"));
    let start = Instant::now();
    for _ in 0..8 {
        let refused = said(postgres.psql(port, "me", "scram", "select 1")).unwrap_err();
        assert!(refused.contains("credential_refused"), "{refused}");
    }
    let most = 2 + usize::try_from(start.elapsed().as_secs() / 5).unwrap();
    assert!((2..=most).contains(&leases(&scene)), "{}", leases(&scene));
    scene.stop();
    postgres.admin(&format!("drop role \"{user}\""));
}
