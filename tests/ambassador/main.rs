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

mod destination;
mod http;
mod scene;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use support::{in_ci, is_root};

/// What a case cannot do without.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Nothing,
    Curl,
    /// Curl, and a second user.
    Root,
}

impl Needs {
    fn missing(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Curl => (!has("curl")).then_some("curl"),
            Self::Root => (!is_root() || !has("curl")).then_some("root and curl"),
        }
    }
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let cases = http::CASES.into_iter();
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
