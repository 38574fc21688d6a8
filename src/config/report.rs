//! Collects problems and warnings while the configuration is read.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Config;
use super::error::{ConfigError, Problem, Spot};
use super::load::Loaded;
use super::unknown::{KnownKey, UnknownKey};

/// Everything that is said about one configuration. Shared by all readers, hence the cells.
#[derive(Default)]
pub(super) struct Report {
    line_starts: Vec<usize>,
    /// Lines with the header of a table.
    headers: BTreeSet<usize>,
    /// Lines the TOML parser complained about. What it recovered there is not judged again.
    broken_lines: RefCell<BTreeSet<usize>>,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<String>>,
    files: RefCell<Vec<PathBuf>>,
    known: RefCell<BTreeSet<KnownKey>>,
    unknown: RefCell<Vec<UnknownKey>>,
}

impl Report {
    /// A report on `text`, the file's content.
    pub(super) fn new(text: &str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect();
        let lines = text.lines().enumerate();
        let headers = lines.filter(|(_, line)| line.trim_start().starts_with('['));
        let headers = headers.map(|(at, _)| at + 1).collect();
        Self { line_starts, headers, ..Self::default() }
    }

    /// The line of a byte offset, counted from one.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    pub(super) fn syntax_error(&self, error: &toml::de::Error) {
        let span = error.span().unwrap_or_default();
        let lines = self.line(span.start)..=self.line(span.end);
        let line = *lines.start();
        // The first complaint about a line is the useful one.
        if self.broken_lines.borrow().contains(&line) {
            return;
        }
        let message = error.message().replace('\n', " ");
        // A table that is given twice has its keys twice.
        let header = self.headers.range(..line).next_back();
        let follows = header.is_some_and(|header| self.broken_lines.borrow().contains(header));
        self.broken_lines.borrow_mut().extend(lines);
        if follows && message == "duplicate key" {
            return;
        }
        let spot = Spot { path: String::new(), line: Some(line) };
        self.problems.borrow_mut().push(Problem::at(&spot, message));
    }

    pub(super) fn problem(&self, problem: Problem) {
        let on_broken_line = |line| self.broken_lines.borrow().contains(&line);
        if !problem.line.is_some_and(on_broken_line) {
            self.problems.borrow_mut().push(problem);
        }
    }

    /// A problem that follows from something not being in the file. Left out when the file
    /// has syntax errors, since what is missing may be what the parser had to skip.
    pub(super) fn absence(&self, problem: Problem) {
        if self.broken_lines.borrow().is_empty() {
            self.problem(problem);
        }
    }

    pub(super) fn warn(&self, warning: impl Into<String>) {
        self.warnings.borrow_mut().push(warning.into());
    }

    /// A file whose content becomes part of the configuration.
    pub(super) fn reads(&self, file: &Path) {
        self.files.borrow_mut().push(file.to_owned());
    }

    pub(super) fn known_key(&self, key: KnownKey) {
        self.known.borrow_mut().insert(key);
    }

    pub(super) fn unknown_key(&self, key: UnknownKey) {
        self.unknown.borrow_mut().push(key);
    }

    /// Every key that a reader asked for.
    pub(super) fn known_keys(&self) -> BTreeSet<KnownKey> {
        self.known.borrow().clone()
    }

    /// The configuration with the warnings, or all the problems when there are any.
    pub(super) fn finish(
        self,
        config: Option<Config>,
        file: Option<PathBuf>,
    ) -> Result<Loaded, ConfigError> {
        let known = self.known_keys();
        for unknown in self.unknown.take() {
            self.absence(unknown.problem(&known));
        }
        let mut problems = self.problems.into_inner();
        match config {
            Some(config) if problems.is_empty() => {
                let mut files = self.files.into_inner();
                files.extend(file);
                Ok(Loaded { config, warnings: self.warnings.into_inner(), files })
            }
            _ => {
                problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
                Err(ConfigError { file, problems })
            }
        }
    }
}
