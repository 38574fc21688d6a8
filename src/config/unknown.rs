//! What to say about a key that nothing asked for.

use std::collections::BTreeSet;

use super::error::{Problem, Spot};

/// A key that a reader asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KnownKey {
    /// `vault`, `secrets.NAME`, `callers`; empty for the top level.
    pub(super) section: String,
    pub(super) key: String,
}

/// A key that stands in the file, and no reader asked for.
pub(super) struct UnknownKey {
    pub(super) section: String,
    pub(super) key: String,
    pub(super) is_table: bool,
    pub(super) at: Spot,
}

impl UnknownKey {
    /// The problem, judged against all the keys that are `known`.
    pub(super) fn problem(&self, known: &BTreeSet<KnownKey>) -> Problem {
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            known.iter().partition(|known| known.section == self.section);
        let here: Vec<&str> = here.iter().map(|known| known.key.as_str()).collect();
        if !self.is_table && holds_secret(&self.key) {
            return Problem::at(&self.at, "secret material does not stand in this file")
                .hint(self.way_out(&here));
        }
        let problem = Problem::at(&self.at, "unknown key");
        let is_meant = |known: &&&KnownKey| known.key == self.key && !known.section.is_empty();
        if let Some(other) = elsewhere.iter().find(is_meant) {
            return problem.hint(format!("`{}` belongs to [{}]", self.key, other.section));
        }
        let known = format!("known here: {}", here.join(", "));
        problem.hint(known).did_you_mean(&self.key, here)
    }

    fn way_out(&self, here: &[&str]) -> String {
        let with = |suffix| {
            let key = format!("{}{suffix}", self.key);
            here.contains(&key.as_str()).then_some(key)
        };
        match (with("_file"), with("_env")) {
            (Some(file), Some(env)) => format!(
                "name a file that holds it with `{file}`, or an environment variable with `{env}`"
            ),
            (Some(file), None) => format!("name a file that holds it with `{file}`"),
            (None, _) => "keep it in Vault, or in a file that a `…_file` key names".to_owned(),
        }
    }
}

/// Whether a value under such a key is likely to be a secret.
fn holds_secret(key: &str) -> bool {
    const ENDINGS: [&str; 12] = [
        "token",
        "secret",
        "secret_id",
        "secretid",
        "password",
        "passwd",
        "passphrase",
        "private_key",
        "api_key",
        "credential",
        "jwt",
        "value",
    ];
    let key = key.to_ascii_lowercase().replace('-', "_");
    let key = key.strip_suffix('s').unwrap_or(&key);
    ENDINGS.iter().any(|ending| key.ends_with(ending))
}

/// The candidate that `word` may have been meant to be.
pub(super) fn closest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    const ALIKE: f64 = 0.75;
    candidates
        .into_iter()
        .map(|candidate| (likeness(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate)
}

fn likeness(word: &str, candidate: &str) -> f64 {
    // Which short words are too short for: `bd` for `db`.
    let one_slip = word.len() > 1 && strsim::damerau_levenshtein(word, candidate) == 1;
    strsim::jaro(word, candidate).max(if one_slip { 0.9 } else { 0.0 })
}
