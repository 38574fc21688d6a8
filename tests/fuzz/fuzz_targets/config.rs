//! Any text as a configuration file: refused or taken, and shown, without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidekey::config::{Sources, load_text};

fuzz_target!(|text: &str| match load_text(text, Sources::default()) {
    Ok(loaded) => drop(format!("{loaded:?}")),
    Err(error) => assert!(!error.to_string().is_empty()),
});
