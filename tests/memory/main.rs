//! No plaintext outside secret memory: the process is searched, at every moment of its life.
//!
//! Each search also has to be able to find something: a planted copy is looked for first, and
//! a sidecar without protection has to show its value.

#![allow(unreachable_pub, missing_docs, reason = "a test")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a failed expectation fails the test, and what was measured is printed"
)]

#[path = "../support/mod.rs"]
mod support;

mod control;
mod degraded;
mod dump;
mod failures;
mod moments;
mod secrets;
mod stage;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use support::in_ci;
use support::vault::{Dev, Real};

type Test = fn();

fn main() -> ExitCode {
    if let Some(helper) = std::env::args().nth(1).filter(|arg| arg.starts_with("helper=")) {
        return control::helper(&helper);
    }
    let arguments = Arguments::from_args();
    let root = is_root();
    let real = |tls| if tls { Real::start_tls() } else { Real::start() };
    let mut trials = Vec::new();
    let mut add = |name: &str, missing: Option<&str>, test: Box<dyn FnOnce() + Send>| {
        let name = missing.map_or(name.to_owned(), |what| format!("{name} (needs {what})"));
        let trial = Trial::test(name, move || {
            test();
            Ok(())
        });
        // In CI what is missing is a failure, which the test itself then is; but for a setting of
        // the machine's kernel.
        let of_kernel = missing == Some(dump::CORE_PATTERN);
        trials.push(trial.with_ignored_flag(missing.is_some() && (of_kernel || !in_ci())));
    };
    let needs_root = (!root).then_some("root");
    let needs_vault =
        needs_root.or(support::vault::real_vault().is_none().then_some("a real Vault"));

    let simple: [(&str, Test); 3] = [
        ("the_search_finds_every_form", support::needle::check_search),
        ("a_planted_copy_is_found", control::planted),
        ("without_protection_the_value_is_found", control::unprotected),
    ];
    for (name, test) in simple {
        add(name, needs_root, Box::new(test));
    }
    add(
        "moments_over_https_from_a_real_vault",
        needs_vault,
        Box::new(move || moments::run("https", real(true).expect("a Vault"))),
    );
    add(
        "moments_over_http_from_a_real_vault",
        needs_vault,
        Box::new(move || moments::run("http", real(false).expect("a Vault"))),
    );
    add("failures_and_logins", needs_root, Box::new(|| failures::run(&Dev::start())));
    for (name, test) in degraded::TESTS {
        add(name, needs_root, Box::new(test));
    }
    let needs_gdb = needs_root.or((!dump::has_gdb()).then_some("gdb"));
    add("a_dump_by_a_debugger_holds_nothing", needs_gdb, Box::new(dump::by_debugger));
    add(
        "a_dump_by_the_kernel_holds_nothing",
        needs_root.or(dump::no_core_file()),
        Box::new(dump::by_kernel),
    );
    let conclusion = libtest_mimic::run(&arguments, trials);
    conclusion.exit_code()
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:\t0\t0\t"))
}
