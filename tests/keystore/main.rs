//! Keystores from the URL, in the hands of those that they are for: a JVM, OpenSSL, and NSS,
//! whose database a browser reads.
//!
//! What is missing on the machine (Java 17, pk12util, a real Vault) shows as ignored, and fails
//! with `CI=true`.
#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]

#[path = "../support/mod.rs"]
mod support;

mod command;
mod java;
mod nss;
mod scene;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use support::trials::of_cases;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let cases = java::CASES.iter().chain(&nss::CASES).chain(&command::CASES);
    libtest_mimic::run(&arguments, of_cases(cases)).exit_code()
}
