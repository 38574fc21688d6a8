//! The TLS adapter as the outside sees it: the binary, certificates of a PKI engine, curl, openssl
//! and clients of the test's own.
//!
//! What is missing on the machine (curl with HTTP/2, openssl, a browser, a real Vault…) shows as
//! ignored, and fails with `CI=true`.
#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]

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

use std::process::ExitCode;

use libtest_mimic::Arguments;
use support::trials::{Case, of_cases};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let topics: [&[Case]; 12] = [
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
    libtest_mimic::run(&arguments, of_cases(topics.into_iter().flatten())).exit_code()
}
