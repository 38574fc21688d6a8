//! What sidekey and a Vault say to each other: every case runs against the embedded dev server
//! (`dev::…`) and against a real Vault (`real::…`), each with a server of its own, and drives
//! the real binary over HTTP.
//!
//! Without a real Vault its cases are ignored; with `CI=true` they fail. What a real Vault
//! cannot show is ignored with the reason in brackets.
#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]
#![allow(missing_docs, unreachable_pub, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

// What the cases are made of.
mod case;
mod proxy;
mod setup;
mod vault;

use support::{jwt, kubernetes_api, tls, wire};

// The cases.
mod absence;
mod approle;
mod cache;
mod certificates;
mod connection;
mod events;
mod login;
mod reading;
mod tokens;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of them wait for a Vault or for a token's end.
    arguments.test_threads = arguments.test_threads.or(Some(4));
    let topics = [
        ("approle", approle::CASES),
        ("login", login::CASES),
        ("connection", connection::CASES),
        ("reading", reading::CASES),
        ("absence", absence::CASES),
        ("tokens", tokens::CASES),
        ("cache", cache::CASES),
        ("certificates", certificates::CASES),
        ("events", events::CASES),
    ];
    let trials = topics.iter().flat_map(|(topic, cases)| case::trials(topic, cases)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
