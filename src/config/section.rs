//! One table of the file, read key by key. What cannot be read becomes a problem in the
//! report, and so does, at the end, every key that nobody asked for.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::{DeInteger, DeTable, DeValue};

use super::error::{Located, Problem, Spot};
use super::quantity::{LONGEST, parse_duration, parse_size};
use super::report::Report;
use super::unknown::{KnownKey, UnknownKey};

/// A table with the keys that were asked for so far. A table that is not in the file reads as
/// an empty one. To be ended with [`finish`](Self::finish).
pub(super) struct Section<'a> {
    table: Option<&'a DeTable<'a>>,
    here: Spot,
    /// The path with `NAME` for what the operator names.
    pattern: String,
    asked: BTreeSet<&'a str>,
    report: &'a Report,
}

impl<'a> Section<'a> {
    pub(super) fn root(table: &'a DeTable<'a>, report: &'a Report) -> Self {
        let here = Spot::outside("");
        Self { table: Some(table), here, pattern: String::new(), asked: BTreeSet::new(), report }
    }

    /// The section itself, for problems with what it lacks.
    pub(super) fn here(&self) -> &Spot {
        &self.here
    }

    /// The place of `key`; the section's line when the key is not there.
    pub(super) fn at(&self, key: &str) -> Spot {
        let span = self.table.and_then(|table| table.get_key_value(key)).map(|(key, _)| key.span());
        let line = span.map(|span| self.report.line(span.start)).or(self.here.line);
        Spot { path: join(&self.here.path, key), line }
    }

    /// Whether the key is in the file.
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Whether the key is in the file as `true` or `false`.
    pub(super) fn is_boolean(&self, key: &str) -> bool {
        matches!(self.get(key), Some(DeValue::Boolean(_)))
    }

    /// Whether the key is in the file with this word.
    pub(super) fn is_word(&self, key: &str, word: &str) -> bool {
        matches!(self.get(key), Some(DeValue::String(text)) if text == word)
    }

    /// Whether the key is in the file as a table.
    pub(super) fn is_table(&self, key: &str) -> bool {
        matches!(self.get(key), Some(DeValue::Table(_)))
    }

    /// Whether the key is in the file as `[]`.
    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        matches!(self.get(key), Some(DeValue::Array(items)) if items.is_empty())
    }

    /// Reports that `key` has to be there, where it is not.
    pub(super) fn missing(&self, key: &str, hint: &str) {
        if !self.has(key) {
            self.report.absence(Problem::at(&self.at(key), "is missing").hint(hint));
        }
    }

    /// Reports those of `keys` that are there, and have no place in this section as it is.
    pub(super) fn refuse(&self, keys: &[&str], message: &str, hint: &str) {
        for key in keys.iter().filter(|key| self.has(key)) {
            self.report.problem(Problem::at(&self.at(key), message).hint(hint));
        }
    }

    /// The keys that are in the file.
    pub(super) fn names(&self) -> Vec<&'a str> {
        let keys = self.table.into_iter().flat_map(DeTable::keys);
        keys.map(|key| key.get_ref().as_ref()).collect()
    }

    /// A string that is not empty.
    pub(super) fn string(&mut self, key: &'a str) -> Option<Located<String>> {
        let value = self.ask(key)?;
        self.text(self.at(key), value)
    }

    /// A string that is not empty, and has to be there.
    pub(super) fn required(&mut self, key: &'a str, hint: &str) -> Option<Located<String>> {
        self.missing(key, hint);
        self.string(key)
    }

    /// A string; `None` also for `false`.
    pub(super) fn address_or_false(&mut self, key: &'a str) -> Option<Located<String>> {
        match self.ask(key)? {
            DeValue::Boolean(false) => None,
            value @ DeValue::String(_) => self.text(self.at(key), value),
            DeValue::Boolean(true) => {
                let problem =
                    Problem::at(&self.at(key), "expected an address or false, found true");
                self.report.problem(problem.hint("leave the key out for the default address"));
                None
            }
            other => {
                self.mistyped(&self.at(key), "an address or false", other);
                None
            }
        }
    }

    /// The path of a file or folder. Its content in place of it is a problem.
    pub(super) fn file_path(&mut self, key: &'a str) -> Option<Located<PathBuf>> {
        let Located { value, at } = self.string(key)?;
        if value.contains(['\n', '\r', '\0']) || value.starts_with("-----BEGIN") {
            let problem = Problem::at(&at, "expected the path of a file, found content");
            self.report.problem(problem.hint("write the content to a file and name that here"));
            return None;
        }
        if value.starts_with('~') {
            let problem = Problem::at(&at, "a leading `~` is not expanded here");
            self.report.problem(problem.hint("write the whole path"));
            return None;
        }
        Some(Located { value: value.into(), at })
    }

    pub(super) fn boolean(&mut self, key: &'a str) -> Option<bool> {
        let value = self.ask(key)?;
        if let DeValue::Boolean(value) = value {
            return Some(*value);
        }
        self.mistyped(&self.at(key), "true or false", value);
        None
    }

    /// A whole number from 1 on.
    pub(super) fn count(&mut self, key: &'a str) -> Option<u32> {
        let value = self.ask(key)?;
        self.integer(&self.at(key), value, 1..=u32::MAX)
    }

    /// A whole number of a range.
    pub(super) fn number_in(&mut self, key: &'a str, range: RangeInclusive<u32>) -> Option<u32> {
        let value = self.ask(key)?;
        self.integer(&self.at(key), value, range)
    }

    /// A duration of `least` or more.
    pub(super) fn duration(&mut self, key: &'a str, least: Duration) -> Option<Duration> {
        let value = self.ask(key)?;
        let expected = "a duration such as 90s, 5m or 1h";
        let text = match value {
            DeValue::String(text) => text,
            DeValue::Integer(number) => {
                let message = format!("expected {expected}, found {number}");
                let problem = Problem::at(&self.at(key), message);
                self.report.problem(problem.hint(format!("for seconds write \"{number}s\"")));
                return None;
            }
            other => {
                self.mistyped(&self.at(key), expected, other);
                return None;
            }
        };
        let message = match parse_duration(text) {
            Some(duration) if duration >= least => return Some(duration),
            Some(_) => format!("expected at least {least:?}, found {}", quoted(text)),
            None => format!("expected {expected}, found {}", quoted(text)),
        };
        let hint = format!(
            "a number and a unit of ms, s, m, h or d, also combined as in 1h30m; at most {}d",
            LONGEST.as_secs() / 86_400
        );
        self.report.problem(Problem::at(&self.at(key), message).hint(hint));
        None
    }

    /// A number of bytes, not zero: an integer, or a string with a unit.
    pub(super) fn size(&mut self, key: &'a str) -> Option<u64> {
        let value = self.ask(key)?;
        let (size, found) = match value {
            DeValue::Integer(number) => (whole_number(number), number.to_string()),
            DeValue::String(text) => (parse_size(text), quoted(text)),
            other => {
                self.mistyped(&self.at(key), "a size such as \"64MiB\"", other);
                return None;
            }
        };
        let size = size.filter(|size| *size > 0);
        if size.is_none() {
            let message = format!("expected a size such as \"64MiB\", found {found}");
            let hint = "a number of bytes, or a string with the unit KiB, MiB or GiB";
            self.report.problem(Problem::at(&self.at(key), message).hint(hint));
        }
        size
    }

    /// A string or a list of strings.
    pub(super) fn strings(&mut self, key: &'a str) -> Option<Vec<Located<String>>> {
        let items = self.items(key)?;
        Some(items.into_iter().filter_map(|(at, item)| self.text(at, item)).collect())
    }

    /// A number or a list of numbers; `hint` is for what is text.
    pub(super) fn numbers(&mut self, key: &'a str, hint: &str) -> Option<BTreeSet<u32>> {
        let items = self.items(key)?;
        let number = |(at, item): &(Spot, &DeValue<'_>)| {
            if matches!(item, DeValue::String(_)) {
                let expected = format!("a whole number from 0 to {}", u32::MAX);
                let message = format!("expected {expected}, found {}", kind(item));
                self.report.problem(Problem::at(at, message).hint(hint));
                return None;
            }
            self.integer(at, item, 0..=u32::MAX)
        };
        Some(items.iter().filter_map(number).collect())
    }

    /// The table `[key]`.
    pub(super) fn table(&mut self, key: &'a str) -> Section<'a> {
        let pattern = join(&self.pattern, key);
        self.child(key, pattern)
    }

    /// The table `[key]` where the operator chose the key.
    pub(super) fn named_table(&mut self, key: &'a str) -> Section<'a> {
        let pattern = join(&self.pattern, "NAME");
        self.child(key, pattern)
    }

    /// The tables `[[key]]`.
    pub(super) fn tables(&mut self, key: &'a str) -> Vec<Section<'a>> {
        let pattern = join(&self.pattern, key);
        let mut tables = Vec::new();
        match self.ask(key) {
            None => {}
            Some(DeValue::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    let here = self.element(key, index, item.span().start);
                    tables.push(self.section(here, pattern.clone(), Some(item.get_ref())));
                }
            }
            Some(other) => {
                let message = format!("expected tables, found {}", kind(other));
                let problem = Problem::at(&self.at(key), message);
                self.report.problem(problem.hint(format!("write [[{key}]] above each of them")));
            }
        }
        tables
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        for key in self.names() {
            if !self.asked.contains(key) {
                self.report.unknown_key(UnknownKey {
                    section: self.pattern.clone(),
                    key: key.to_owned(),
                    is_table: self.is_table(key),
                    at: self.at(key),
                });
            }
        }
    }

    fn get(&self, key: &str) -> Option<&'a DeValue<'a>> {
        self.table.and_then(|table| table.get(key)).map(toml::Spanned::get_ref)
    }

    fn ask(&mut self, key: &'a str) -> Option<&'a DeValue<'a>> {
        self.asked.insert(key);
        self.report.known_key(KnownKey { section: self.pattern.clone(), key: key.to_owned() });
        self.get(key)
    }

    fn child(&mut self, key: &'a str, pattern: String) -> Section<'a> {
        let value = self.ask(key);
        self.section(self.at(key), pattern, value)
    }

    fn section(&self, here: Spot, pattern: String, value: Option<&'a DeValue<'a>>) -> Section<'a> {
        let table = match value {
            None => None,
            Some(DeValue::Table(table)) => Some(table),
            Some(other) => {
                let message = format!("expected a table, found {}", kind(other));
                let problem = Problem::at(&here, message);
                let header = match here.path.split_once('[') {
                    Some((list, _)) => format!("[[{list}]]"),
                    None => format!("[{}]", here.path),
                };
                self.report.problem(problem.hint(format!("write {header} above its keys")));
                None
            }
        };
        Section { table, here, pattern, asked: BTreeSet::new(), report: self.report }
    }

    /// The elements of a list, or a single value as the one element.
    fn items(&mut self, key: &'a str) -> Option<Vec<(Spot, &'a DeValue<'a>)>> {
        let value = self.ask(key)?;
        let DeValue::Array(items) = value else {
            return Some(vec![(self.at(key), value)]);
        };
        let located = items
            .iter()
            .enumerate()
            .map(|(index, item)| (self.element(key, index, item.span().start), item.get_ref()));
        Some(located.collect())
    }

    fn element(&self, key: &str, index: usize, offset: usize) -> Spot {
        let path = format!("{}[{index}]", join(&self.here.path, key));
        Spot { path, line: Some(self.report.line(offset)) }
    }

    fn text(&self, at: Spot, value: &DeValue<'_>) -> Option<Located<String>> {
        match value {
            DeValue::String(text) if text.is_empty() => {
                self.report.problem(Problem::at(&at, "must not be empty"));
                None
            }
            DeValue::String(text) => Some(Located { value: text.clone().into_owned(), at }),
            other => {
                self.mistyped(&at, "a string", other);
                None
            }
        }
    }

    fn integer(&self, at: &Spot, value: &DeValue<'_>, range: RangeInclusive<u32>) -> Option<u32> {
        let (least, most) = (range.start(), range.end());
        let expected = format!("a whole number from {least} to {most}");
        let DeValue::Integer(number) = value else {
            self.mistyped(at, &expected, value);
            return None;
        };
        let fits = whole_number(number).and_then(|number| u32::try_from(number).ok());
        let fits = fits.filter(|number| range.contains(number));
        if fits.is_none() {
            let message = format!("expected {expected}, found {number}");
            self.report.problem(Problem::at(at, message));
        }
        fits
    }

    /// Says what was found by its type alone: it may be a secret in the wrong place.
    fn mistyped(&self, at: &Spot, expected: &str, found: &DeValue<'_>) {
        let message = format!("expected {expected}, found {}", kind(found));
        self.report.problem(Problem::at(at, message));
    }
}

/// A found value for a message: its first line, shortened, with control characters escaped.
/// Only for keys that cannot hold a secret; the lines that follow a lost quote still could.
pub(super) fn quoted(text: &str) -> String {
    const ENOUGH: usize = 64;
    let line = text.split(['\n', '\r']).next().unwrap_or_default();
    let shown: String = line.chars().take(ENOUGH).collect();
    let ellipsis = if shown.len() < text.len() { "…" } else { "" };
    format!("{shown:?}{ellipsis}")
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn whole_number(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn join(path: &str, key: &str) -> String {
    let is_bare = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
    let segment =
        if !key.is_empty() && key.bytes().all(is_bare) { key.to_owned() } else { quoted(key) };
    if path.is_empty() { segment } else { format!("{path}.{segment}") }
}
