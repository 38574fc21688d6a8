//! What only a real Vault can show: credentials of a real PostgreSQL, and a Vault that stands
//! still, is sealed, or starts again with nothing in it.
//!
//! Without the component a trial shows as ignored, and with `CI=true` it fails.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failed expectation fails the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod database;
mod server;
mod standstill;
mod watch;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use support::{in_ci, vault::real_vault};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(4));
    let no_vault = !in_ci() && real_vault().is_none();
    let no_postgres = !in_ci() && support::postgres::programs().is_none();
    let trial = |name: &str, missing: Option<&str>, test: fn()| {
        let trial = Trial::test(name, move || {
            test();
            Ok(())
        });
        match missing {
            Some(what) => trial.with_kind(what).with_ignored_flag(true),
            None => trial,
        }
    };
    let vault = no_vault.then_some("no Vault here");
    let both = vault.or(no_postgres.then_some("no PostgreSQL here"));
    let trials = vec![
        trial("a_credential_logs_in_for_all_of_its_life", both, database::whole_life),
        trial("a_static_role_rotates_when_vault_does_it", both, database::static_role),
        trial("stopped_and_continued", vault, standstill::stopped_and_continued),
        trial("sealed_by_a_restart_and_unsealed", vault, standstill::sealed_and_unsealed),
        trial("restarted_empty", vault, standstill::restarted_empty),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}
