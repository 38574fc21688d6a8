//! A case, and its two trials.

use libtest_mimic::Trial;

use crate::support::trials::{self, VAULT, ignored, trial_lacking};
use crate::vault::Vault;

/// One behavior, shown on a Vault that starts empty.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub run: fn(&Vault),
    pub tls: bool,
    /// Why a real Vault cannot show it.
    pub dev_only: Option<&'static str>,
    /// Why the dev server cannot show it.
    pub real_only: Option<&'static str>,
}

/// `case!(function)`: a case named after the function that takes a `&Vault`.
macro_rules! case {
    ($name:ident) => {
        $crate::case::Case {
            name: stringify!($name),
            run: $name,
            tls: false,
            dev_only: None,
            real_only: None,
        }
    };
}
pub(crate) use case;

impl Case {
    /// The Vault speaks HTTPS with a private CA.
    pub const fn over_tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// A real Vault alone can show it, because of `reason`.
    pub const fn real_only(mut self, reason: &'static str) -> Self {
        self.real_only = Some(reason);
        self
    }

    /// The dev server alone can show it, because of `reason`.
    pub const fn dev_only(mut self, reason: &'static str) -> Self {
        self.dev_only = Some(reason);
        self
    }
}

/// Both trials of every case.
pub fn trials(topic: &str, cases: &[Case]) -> Vec<Trial> {
    let missing = trials::missing(&[VAULT]);
    let trial = |case: Case, kind: &str, missing: Option<String>, start: fn(bool) -> Vault| {
        let name = format!("{kind}::{topic}::{}", case.name);
        trial_lacking(&name, missing, move || (case.run)(&start(case.tls)))
    };
    let unless = |reason: Option<&str>, trial| match reason {
        Some(reason) => ignored(trial, reason),
        None => trial,
    };
    let both = |case: &Case| {
        let dev = trial(*case, "dev", None, Vault::dev);
        let real = trial(*case, "real", missing.clone(), Vault::real);
        [unless(case.real_only, dev), unless(case.dev_only, real)]
    };
    cases.iter().flat_map(both).collect()
}
