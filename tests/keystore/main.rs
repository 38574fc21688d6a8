//! Keystores from the URL, in the hands of those that they are for: a JVM, OpenSSL, and NSS,
//! whose database a browser reads.
//!
//! What is missing on the machine (Java 17, pk12util, a real Vault) shows as ignored, and fails
//! with `CI=true`.
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

mod command;
mod java;
mod nss;
mod scene;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use support::in_ci;
use support::programs::has;
use support::vault::real_vault;

/// What a case cannot do without.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Openssl,
    Java,
    /// And a real Vault.
    JavaAndVault,
    /// `pk12util` and `certutil`.
    Nss,
}

impl Needs {
    fn missing(self) -> Option<&'static str> {
        match self {
            Self::Openssl => (!has("openssl")).then_some("openssl"),
            Self::Java => (!has("java")).then_some("java"),
            Self::JavaAndVault => {
                (!has("java") || real_vault().is_none()).then_some("java and a real Vault")
            }
            Self::Nss => (!has("pk12util") || !has("certutil")).then_some("pk12util"),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let cases = java::CASES.into_iter().chain(nss::CASES).chain(command::CASES);
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
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
