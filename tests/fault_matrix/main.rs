//! What goes wrong with Vault × what is asked of it: for each cell how often Vault was asked, what
//! the application saw, and how long it took until all was well again. `just fault-matrix` prints
//! it as a table; every cell is a test of its bounds too.
//!
//! Times are scaled: what takes an hour in earnest takes seconds here.
#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]
#![allow(missing_docs, unreachable_pub, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod cell;
mod fault;
mod kind;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Trial};

use cell::Outcome;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They wait far more than they work.
    arguments.test_threads = arguments.test_threads.or(Some(12));
    let outcomes: Arc<Mutex<Vec<(usize, Outcome)>>> = Arc::default();
    let cells = fault::ALL.iter().flat_map(|fault| kind::ALL.iter().map(move |kind| (fault, kind)));
    let trials = cells.enumerate().map(|(place, (fault, kind))| {
        let outcomes = Arc::clone(&outcomes);
        let name = format!("{} × {}", fault.name, kind.name).replace(' ', "_");
        Trial::test(name, move || {
            let outcome = cell::run(fault, kind);
            outcomes.lock().unwrap().push((place, outcome));
            Ok(())
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let mut outcomes = std::mem::take(&mut *outcomes.lock().unwrap());
    outcomes.sort_by_key(|(place, _)| *place);
    if !outcomes.is_empty() {
        println!("{}", cell::HEAD);
        for (_, outcome) in &outcomes {
            println!("{outcome}");
        }
    }
    conclusion.exit_code()
}
