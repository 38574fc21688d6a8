//! What is wrong with a configuration: every problem at once, none with a secret's value.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use super::unknown::closest;

/// A configuration that cannot be used, with everything that is wrong with it.
///
/// Displayed one problem after the other, ordered by line:
///
/// ```text
/// sidekey.toml:12: secrets.db.refresh: expected a duration such as 90s, 5m or 1h, found "soon"
///   hint: write a number and a unit
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(file.as_ref(), problems))]
pub struct ConfigError {
    /// The configuration file, when there was one.
    pub file: Option<PathBuf>,
    /// Ordered by line; those without a line come last. Never empty.
    pub problems: Vec<Problem>,
}

fn lines(file: Option<&PathBuf>, problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing to a String cannot fail.
        if let (Some(file), Some(line)) = (file, problem.line) {
            let _ = write!(text, "{}:{line}: ", file.display());
        }
        let _ = write!(text, "{problem}");
    }
    text
}

/// One mistake: where it is, what it is, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The full key path (`secrets.db.refresh`), the flag (`--listen`) or the environment
    /// variable (`VAULT_ADDR`). Empty for a syntax error.
    pub path: String,
    /// The line in the file, counted from one.
    pub line: Option<usize>,
    /// What was expected and what was found. The found value is left out for keys that could
    /// hold a secret.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
}

impl Problem {
    pub(super) fn at(spot: &Spot, message: impl Into<String>) -> Self {
        let Spot { path, line } = spot.clone();
        Self { path, line, message: message.into(), hint: None }
    }

    #[must_use]
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// With a candidate that `word` may have been meant to be, that is the hint.
    #[must_use]
    pub(super) fn did_you_mean<'a>(
        self,
        word: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        match closest(word, candidates) {
            Some(meant) => self.hint(format!("did you mean `{meant}`?")),
            None => self,
        }
    }
}

/// Without the file's name, which [`ConfigError`] knows.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// A place that a problem can be at.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub(super) path: String,
    pub(super) line: Option<usize>,
}

impl Spot {
    /// A flag, an environment variable, or a key that is missing altogether.
    pub(super) fn outside(path: &str) -> Self {
        Self { path: path.to_owned(), line: None }
    }
}

/// A value with the place it came from, so that a later check can name it.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) at: Spot,
}
