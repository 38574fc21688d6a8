//! Ambassadors before real destinations: the binary, an HTTP(S) server of the test's own, and a
//! real PostgreSQL.
//!
//! What is missing on the machine (curl, PostgreSQL, root for a second user) shows as ignored,
//! and fails with `CI=true`.
#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]

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

use libtest_mimic::Arguments;
use support::trials::{Case, of_cases};

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
    let topics: [&[Case]; 13] = [
        &http::CASES,
        &http::access::CASES,
        &http::faults::CASES,
        &postgres::CASES,
        &rotation::CASES,
        &tcp::CASES,
        &mutual::CASES,
        &faults::CASES,
        &java::CASES,
        &refusals::CASES,
        &copy::CASES,
        &rates::CASES,
        &renewal::CASES,
    ];
    let outcome = libtest_mimic::run(&arguments, of_cases(topics.into_iter().flatten()));
    postgres::stop_shared();
    outcome.exit_code()
}
