//! The TLS adapter as the outside sees it: the binary, certificates of a PKI engine, curl, openssl
//! and clients of the test's own.
//!
//! What is missing on the machine (curl with HTTP/2, openssl, a browser, a real Vault…) shows as
//! ignored, and fails with `CI=true`.
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

mod access;
mod application;
mod browser;
mod client;
mod clients;
mod conformance;
mod http;
mod life;
mod limits;
mod nginx;
mod scene;
mod tcp;
mod tcp_faults;
mod tools;
mod upgrade;

use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Trial};
use support::in_ci;
use support::programs::has;
use support::vault::real_vault;

/// What a case cannot do without.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Nothing,
    Curl,
    OpenSsl,
    /// Chromium, NSS' tools and Node.
    Browser,
    Go,
    H2spec,
    /// Nginx, and curl.
    Nginx,
    Testssl,
    Vault,
}

impl Needs {
    fn missing(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Curl => (!says("curl", "--version", "HTTP2")).then_some("curl with HTTP/2"),
            Self::Vault => real_vault().is_none().then_some("a real Vault"),
            Self::Go => support::go::hybrid().is_none().then_some("Go 1.24"),
            Self::Browser => (!has_browser()).then_some("Chromium, certutil and Node"),
            Self::H2spec => {
                conformance::h2spec().is_none().then_some("h2spec: Go and a network build it")
            }
            Self::Nginx => {
                let lacks = !has("nginx") || Self::Curl.missing().is_some();
                lacks.then_some("nginx and curl")
            }
            Self::Testssl => (!has("testssl")).then_some("testssl.sh"),
            Self::OpenSsl => (!says("openssl", "version", "OpenSSL 3")).then_some("openssl 3"),
        }
    }
}

fn says(program: &str, argument: &str, word: &str) -> bool {
    let said = Command::new(program).arg(argument).output();
    said.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains(word))
}

fn has_browser() -> bool {
    ["chromium", "certutil", "node"].into_iter().all(has)
}

type Case = (&'static str, Needs, fn());

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let parts: [&[Case]; 12] = [
        &access::CASES,
        &tools::CASES,
        &http::CASES,
        &upgrade::CASES,
        &tcp::CASES,
        &tcp_faults::CASES,
        &clients::CASES,
        &life::CASES,
        &limits::CASES,
        &nginx::CASES,
        &browser::CASES,
        &conformance::CASES,
    ];
    let cases = parts.into_iter().flatten();
    let trials = cases.map(|(name, needs, run)| {
        let missing = needs.missing();
        let trial = Trial::test(*name, move || {
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
