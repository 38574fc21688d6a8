//! Ambassadors before real destinations: the binary, an HTTP(S) server of the test's own, and a
//! real PostgreSQL.
//!
//! What is missing on the machine (curl, PostgreSQL, root for a second user) shows as ignored,
//! and fails with `CI=true`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a failed expectation fails the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod copy;
mod destination;
mod faults;
mod http;
mod java;
mod mutual;
mod peer;
mod postgres;
mod rates;
mod refusals;
mod renewal;
mod rotation;
mod scene;
mod tcp;

use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Trial};
use support::programs::has;
use support::vault::real_vault;
use support::{in_ci, is_root};

/// What a case cannot do without.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Nothing,
    Curl,
    /// Curl, and a second user.
    Root,
    Postgres,
    PostgresAndRoot,
    /// The real Vault, and Python's driver of PostgreSQL.
    PostgresVaultAndPython,
    PostgresAndPython,
    /// A JDK, and its driver of PostgreSQL.
    PostgresAndJava,
    Go,
}

impl Needs {
    fn missing(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Go => support::go::hybrid().is_none().then_some("Go 1.24"),
            Self::Curl => (!has("curl")).then_some("curl"),
            Self::Root => (!is_root() || !has("curl")).then_some("root and curl"),
            Self::Postgres => lacks_postgres().then_some("PostgreSQL"),
            Self::PostgresAndRoot => {
                (!is_root() || lacks_postgres()).then_some("root and PostgreSQL")
            }
            Self::PostgresVaultAndPython => {
                (lacks_postgres() || real_vault().is_none() || python().is_none())
                    .then_some("PostgreSQL, a real Vault and python3-psycopg2")
            }
            Self::PostgresAndPython => (lacks_postgres() || python().is_none())
                .then_some("PostgreSQL and python3-psycopg2"),
            Self::PostgresAndJava => (lacks_postgres() || java::driver().is_none())
                .then_some("PostgreSQL, a JDK and libpostgresql-jdbc-java"),
        }
    }
}

fn lacks_postgres() -> bool {
    support::postgres::programs().is_none()
}

/// A Python with the driver: Debian's may not be the first one on the path.
fn python() -> Option<&'static str> {
    ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let import = Command::new(python).args(["-c", "import psycopg2"]).output();
        import.is_ok_and(|import| import.status.success())
    })
}

/// Curl, quiet but for its errors.
fn curl(arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20"]).args(arguments);
    command
}

/// What it printed; it has to succeed.
fn text(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let cases = http::CASES.into_iter().chain(postgres::CASES).chain(rotation::CASES);
    let cases = cases.chain(tcp::CASES).chain(mutual::CASES).chain(faults::CASES);
    let cases = cases.chain(java::CASES).chain(refusals::CASES).chain(copy::CASES);
    let cases = cases.chain(rates::CASES).chain(renewal::CASES);
    let trials = cases.map(|(name, needs, run)| {
        let missing = needs.missing();
        let trial = Trial::test(name, move || {
            assert!(missing.is_none(), "this machine lacks {}", missing.unwrap_or_default());
            run();
            Ok(())
        });
        match missing {
            Some(what) if !in_ci() => {
                trial.with_kind(format!("lacks {what}")).with_ignored_flag(true)
            }
            _ => trial,
        }
    });
    let outcome = libtest_mimic::run(&arguments, trials.collect());
    postgres::stop_shared();
    outcome.exit_code()
}
