//! Dynamic users of a real PostgreSQL, from a real Vault, replaced every few seconds while
//! Python's driver uses them.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::postgres::{destination, shared};
use crate::scene::uid;
use crate::support::eventually;
use crate::support::programs::python_with;
use crate::support::sidecar::{Builder, Sidecar};
use crate::support::trials::{Case, POSTGRES, PSYCOPG2, VAULT};
use crate::support::vault::{Real, TestVault};

pub(crate) const CASES: [Case; 1] =
    [("postgres_rotation_under_load", &[POSTGRES, VAULT, PSYCOPG2], rotation)];

/// A pool's behaviour in few lines: a session that ends before a transaction begins is replaced by
/// another one. Anything else is a failure, above all an end in the middle.
const CLIENT: &str = r#"
import sys, time, psycopg2
port, seconds = int(sys.argv[1]), float(sys.argv[2])
queries = sessions = failures = 0
users = set()
def connect():
    global sessions
    sessions += 1
    connection = psycopg2.connect(host="127.0.0.1", port=port, dbname="scram", user="application")
    connection.autocommit = False
    return connection
end = time.monotonic() + seconds
connection = connect()
while time.monotonic() < end:
    cursor = connection.cursor()
    try:
        cursor.execute("select current_user")
    except psycopg2.OperationalError as error:
        # Told before the transaction began, so nothing was lost: what a pool looks for. libpq
        # shows the reason, or only the end that follows it.
        reasons = ("terminating connection due to administrator", "server closed the connection")
        if connection.closed and any(reason in str(error) for reason in reasons):
            connection = connect()
            continue
        failures += 1
        print(time.monotonic(), error.pgcode, repr(error), file=sys.stderr)
        connection = connect()
        continue
    try:
        users.add(cursor.fetchone()[0])
        cursor.execute("select pg_sleep(0.002)")
        connection.commit()
        queries += 1
    except psycopg2.Error as error:
        failures += 1
        print("in a transaction:", repr(error), file=sys.stderr)
        connection = connect()
print(queries, sessions, failures, len(users))
"#;

struct Load(Child);

impl Load {
    fn start(port: u16, seconds: u32) -> Self {
        let child = Command::new(python_with("psycopg2").unwrap())
            .args(["-c", CLIENT, &port.to_string(), &seconds.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Queries, sessions, failures and users.
    fn end(self) -> [usize; 4] {
        let output = self.0.wait_with_output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaints}");
        let text = String::from_utf8(output.stdout).unwrap();
        let numbers: Vec<usize> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
        assert_eq!(numbers[2], 0, "{text}{complaints}");
        numbers.try_into().unwrap()
    }
}

/// A role that lives for this many seconds, and no longer.
const LIFE: u32 = 6;

fn rotation() {
    let postgres = shared();
    let vault = Real::start().expect("a real Vault");
    vault.database(postgres, "app");
    let create =
        "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'";
    vault.set_up(
        "POST",
        "database/roles/app",
        json!({ "db_name": "postgres", "creation_statements": create,
                "default_ttl": LIFE, "max_ttl": LIFE }),
    );
    let config = format!(
        "[vault]\naddress = '{}'\n[secrets.db]\npath = 'database/creds/app'\n\
         [adapters.ambassador.db]\nlisten = '127.0.0.1:0'\nprotocol = 'postgres'\nsecret = 'db'\n\
         allow = ['app']\n{}\n[[callers]]\nname = 'app'\nuid = {}\nallow = []\n",
        vault.url(),
        destination(postgres, true),
        uid(),
    );
    let builder = Builder::serve().on_free_ports().config(&config);
    let sidecar = builder.env("VAULT_TOKEN", &vault.root_token()).start();
    let port = port_of(&sidecar);

    // A session in the middle of a transaction is ended last, and with the same word.
    let mut open = postgres.psql(port, "me", "scram", "begin");
    open.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut open = open.spawn().unwrap();
    let loads: Vec<_> = (0..3).map(|_| Load::start(port, LIFE * 4)).collect();
    for load in loads {
        let [queries, sessions, _, users] = load.end();
        assert!(users >= 4, "{users} users in {sessions} sessions");
        assert!(sessions >= users, "{sessions} sessions of {users} users");
        assert!(queries > 100, "{queries}");
    }
    open.stdin.take().unwrap().write_all(b"select 1;\n").unwrap();
    let output = open.wait_with_output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("57P01"), "{complaint}");
    // No session is left of a user that is gone.
    let orphans = "select count(*) from pg_stat_activity where datname = 'scram' and usename is null and backend_type = 'client backend'";
    assert_eq!(postgres.admin(orphans), "0");
    let gone = "select count(*) from pg_roles where rolname like 'v-token-app-%'";
    let metrics = String::from_utf8(sidecar.health("/metrics").body).unwrap();
    let retired =
        metrics.lines().find(|line| line.contains("outcome=\"retired\"")).expect(&metrics);
    let retired: u32 = retired.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(retired >= 9, "{retired}");
    assert!(!metrics.contains("canary"));
    sidecar.stop();
    eventually("the end of every role", || (postgres.admin(gone) == "0").then_some(()));
}

fn port_of(sidecar: &Sidecar) -> u16 {
    let event: Value = sidecar.wait_for("ambassador listening");
    event["addr"].as_str().unwrap().parse::<SocketAddr>().unwrap().port()
}
