//! What only a real Vault can show: credentials of a real PostgreSQL, and a Vault that stands
//! still, is sealed, or starts again with nothing in it.
//!
//! Without the component a trial shows as ignored, and with `CI=true` it fails.
#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]
#![allow(missing_docs, unreachable_pub, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod database;
mod server;
mod standstill;
mod watch;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use support::trials::{POSTGRES, VAULT, trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(4));
    let trials = vec![
        trial("a_credential_logs_in_for_all_of_its_life", &[VAULT, POSTGRES], database::whole_life),
        trial(
            "a_static_role_rotates_when_vault_does_it",
            &[VAULT, POSTGRES],
            database::static_role,
        ),
        trial("stopped_and_continued", &[VAULT], standstill::stopped_and_continued),
        trial("sealed_by_a_restart_and_unsealed", &[VAULT], standstill::sealed_and_unsealed),
        trial("restarted_empty", &[VAULT], standstill::restarted_empty),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}
