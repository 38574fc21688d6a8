//! Loading as a whole. The parts with no file to read test themselves.

mod access;
mod ambassador;
mod certificates;
mod examples;

mod mistakes;
mod precedence;
mod random;
mod secrecy;
mod tls;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::load::load_text;
use super::{Config, ConfigError, Environment, Flags, Loaded, Sources};
use crate::memory::SecretBuf;

/// No problem message, warning or `Debug` output may ever contain this.
const CANARY: &str = "canary-9f2c";
const TOKEN: &str = "a-token-of-sufficient-length,canary-9f2c";

/// What a configuration needs beside the part that a test is about.
const REST: &str = "\n[secrets.db]\npath = 'secret/data/app'\n\
                    [[callers]]\nname = 'app'\nuid = 1\nallow = ['db']\n";

fn environment(values: &[(&str, &str)], secrets: &[&str]) -> Environment {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let secret = |name: &&str| ((*name).to_owned(), Arc::new(SecretBuf::copy_from(TOKEN.as_ref())));
    Environment {
        values: values.iter().map(owned).collect(),
        secrets: secrets.iter().map(secret).collect::<BTreeMap<_, _>>(),
        home: None,
    }
}

/// Loads `text` with a `VAULT_TOKEN`.
fn load_file(text: &str) -> Result<Loaded, ConfigError> {
    load_with(text, Flags::default(), environment(&[], &["VAULT_TOKEN"]))
}

fn load_with(text: &str, flags: Flags, environment: Environment) -> Result<Loaded, ConfigError> {
    let file = Some(PathBuf::from("sidekey.toml"));
    load_text(text, Sources { file, flags, environment })
}

fn config(text: &str) -> Config {
    load_file(text).unwrap_or_else(|error| panic!("{error}")).config
}

/// The problems as the operator sees them.
fn problems(text: &str) -> String {
    match load_file(text) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}
