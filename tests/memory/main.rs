//! No plaintext outside secret memory: the process is searched, at every moment of its life.
//!
//! Each search also has to be able to find something: a planted copy is looked for first, and
//! a sidecar without protection has to show its value.

#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]
#![allow(missing_docs, unreachable_pub, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod ambassador;
mod audit;
mod capacity;
mod client;
mod control;
mod degraded;
mod dump;
mod exec;
mod failures;
mod keystores;
mod leased;
mod logins;
mod mode;
mod moments;
mod panics;
mod scram;
mod secrets;
mod shortage;
mod stage;
mod tls;
mod window;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use mode::Mode::{Protected, Unprotected};
use support::trials::{GDB, POSTGRES, ROOT, VAULT, trial};
use support::vault::{Dev, Real};

type Test = fn();

#[global_allocator]
static ALLOCATOR: mode::Switched = mode::Switched;

fn main() -> ExitCode {
    if let Some(helper) = std::env::args().nth(1).filter(|arg| arg.starts_with("helper=")) {
        return self::helper(&helper);
    }
    let arguments = Arguments::from_args();
    let root = |(name, test): (&str, Test)| trial(name, &[ROOT], test);
    let mut trials: Vec<_> = SIMPLE.into_iter().chain(degraded::TESTS).map(root).collect();
    for (name, test) in WITH_A_REAL_VAULT {
        trials.push(trial(name, &[ROOT, VAULT], test));
    }
    trials.extend([
        trial("ambassador", &[ROOT, POSTGRES], || ambassador::run(&Dev::start(), Protected)),
        trial("control_ambassador_is_found", &[ROOT, POSTGRES], || {
            ambassador::run(&Dev::start(), Unprotected);
        }),
        trial("a_dump_by_a_debugger_holds_nothing", &[ROOT, GDB], dump::by_debugger),
        trial("a_dump_by_the_kernel_holds_nothing", &[ROOT, dump::CORE_FILE], dump::by_kernel),
    ]);
    libtest_mimic::run(&arguments, trials).exit_code()
}

const SIMPLE: [(&str, Test); 25] = [
    ("the_search_finds_every_form", support::needle::check_search),
    ("a_planted_copy_is_found", control::planted),
    ("an_open_descriptor_of_secret_memory_is_found", control::open_descriptor),
    ("without_memory_to_lock_what_is_held_is_found", control::plain),
    ("failures", || failures::run(&Dev::start(), Protected)),
    ("control_failures_are_found", || failures::run(&Dev::start(), Unprotected)),
    ("who_runs_a_program", || exec::run(&Dev::start(), Protected)),
    ("control_who_runs_a_program_is_found", || exec::run(&Dev::start(), Unprotected)),
    ("leases", || leased::run(&Dev::start(), Protected)),
    ("control_leases_are_found", || leased::run(&Dev::start(), Unprotected)),
    ("keystores", || keystores::run(&Dev::start(), Protected)),
    ("control_keystores_are_found", || keystores::run(&Dev::start(), Unprotected)),
    ("key_of_a_tls_adapter", || tls::run(&Dev::start(), Protected)),
    ("control_key_of_a_tls_adapter_is_found", || tls::run(&Dev::start(), Unprotected)),
    ("each_form_of_a_key_is_found", || tls::forms_of_a_key(&Dev::start())),
    ("login_to_postgres_that_takes_its_time", || scram::run(&Dev::start(), Protected)),
    ("control_login_to_postgres_is_found", || scram::run(&Dev::start(), Unprotected)),
    ("more_than_secret_memory_holds_is_said", shortage::is_said),
    (
        "more_than_secret_memory_holds_is_refused_where_that_is_required",
        shortage::is_refused_where_secret_memory_is_required,
    ),
    ("eviction_by_capacity", || capacity::run(&Dev::start(), Protected)),
    ("control_eviction_by_capacity_is_found", || capacity::run(&Dev::start(), Unprotected)),
    ("what_was_evicted_is_gone", || capacity::what_was_evicted_is_gone(&Dev::start())),
    ("panics", || panics::run(Protected)),
    ("control_panics_are_found", || panics::run(Unprotected)),
    ("copies_in_flight_are_bounded", || window::bounded_by_connections(&Dev::start())),
];

const WITH_A_REAL_VAULT: [(&str, Test); 5] = [
    ("moments_over_https_from_a_real_vault", || moments::run("https", https(), Protected)),
    ("moments_over_http_from_a_real_vault", || moments::run("http", http(), Protected)),
    ("control_moments_are_found", || moments::run("unprotected", https(), Unprotected)),
    ("logins_by_each_method", || logins::run(&https(), Protected)),
    ("control_logins_are_found", || logins::run(&https(), Unprotected)),
];

fn https() -> Real {
    Real::start_tls().expect("a Vault")
}

fn http() -> Real {
    Real::start().expect("a Vault")
}

/// What this binary does when it is started as its own child.
fn helper(name: &str) -> ExitCode {
    match name {
        "helper=registers" => control::hold_in_registers(),
        "helper=sidekey" => return mode::run_sidekey(),
        "helper=panics" => return panics::serve(Protected),
        "helper=panics-unprotected" => return panics::serve(Unprotected),
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}
