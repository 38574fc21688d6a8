//! Trials, and what of this machine they cannot do without.
//!
//! Where that is missing a trial shows as ignored and says what it lacks; with `CI=true` it fails.

use libtest_mimic::{Failed, Trial};

use super::programs::{has, python_with, runs, says};
use super::vault::real_vault;
use super::{go, in_ci, is_root, postgres};

/// What a machine may lack.
#[derive(Clone, Copy)]
pub struct Component {
    name: &'static str,
    is_here: fn() -> bool,
}

/// A name, what the case cannot do without, and the case.
pub type Case = (&'static str, &'static [Component], fn());

impl Component {
    pub const fn new(name: &'static str, is_here: fn() -> bool) -> Self {
        Self { name, is_here }
    }

    /// Its name, if this machine lacks it.
    pub fn missing(self) -> Option<String> {
        (!(self.is_here)()).then(|| self.name.to_owned())
    }
}

/// For a second user, and to look into other processes.
pub const ROOT: Component = Component::new("root", is_root);
pub const CHROMIUM: Component = Component::new("Chromium", || runs("chromium"));
pub const CURL: Component = Component::new("curl", || has("curl"));
pub const CURL_WITH_HTTP2: Component =
    Component::new("curl with HTTP/2", || says("curl", "--version", "HTTP2"));
pub const GDB: Component = Component::new("gdb", || runs("gdb"));
/// One that knows the key exchange.
pub const GO: Component = Component::new("Go 1.24", || go::hybrid().is_some());
pub const JAVA: Component = Component::new("java", || has("java"));
pub const NODE: Component = Component::new("node", || has("node"));
/// NSS' tools.
pub const NSS: Component =
    Component::new("pk12util and certutil", || has("pk12util") && has("certutil"));
pub const OPENSSL: Component =
    Component::new("OpenSSL 3", || says("openssl", "version", "OpenSSL 3"));
pub const POSTGRES: Component = Component::new("PostgreSQL", || postgres::programs().is_some());
pub const BOTO3: Component = Component::new("python3-boto3", || python_with("boto3").is_some());
pub const PSYCOPG2: Component =
    Component::new("python3-psycopg2", || python_with("psycopg2").is_some());
pub const VAULT: Component =
    Component::new("a real Vault (tests/vault/build.sh)", || real_vault().is_some());

/// The first of `needs` that this machine lacks.
pub fn missing(needs: &[Component]) -> Option<String> {
    needs.iter().find_map(|component| component.missing())
}

pub fn of_cases<'a>(cases: impl IntoIterator<Item = &'a Case>) -> Vec<Trial> {
    cases.into_iter().map(|(name, needs, run)| trial(name, needs, *run)).collect()
}

pub fn trial(name: &str, needs: &[Component], run: impl FnOnce() + Send + 'static) -> Trial {
    trial_lacking(name, missing(needs), run)
}

/// A trial whose lack, if it has one, is known already.
pub fn trial_lacking(
    name: &str,
    missing: Option<String>,
    run: impl FnOnce() + Send + 'static,
) -> Trial {
    let Some(what) = missing else {
        return Trial::test(name, || {
            run();
            Ok(())
        });
    };
    let lacks = format!("lacks {what}");
    let failure = Failed::from(format!("this machine {lacks}"));
    let trial = Trial::test(name, || Err(failure));
    if in_ci() { trial } else { ignored(trial, lacks) }
}

/// A trial that is not run, and why.
pub fn ignored(trial: Trial, reason: impl Into<String>) -> Trial {
    trial.with_kind(reason).with_ignored_flag(true)
}
