//! The container that the process finds itself in, inspected from inside.
//!
//! 1. [`Seen::read`] collects what the kernel shows: texts of `/proc` and `/sys`, as they are.
//! 2. [`Inspection::of`] judges them, item by item, without asking anything more.
//!
//! The items have the numbers of the CIS list for Docker: up to 5.19 those of its edition 1.6
//! (2015), from 5.20 on those of the later ones. `A1` and so on are the attacks that the
//! documents under `k8s/` and `compose/` describe.
//!
//! [`Seen::in_container`] and [`Seen::host_network`] say how they know.

mod cgroup;
mod isolation;
mod items;
mod mounts;
mod namespaces;
mod resources;
mod seen;
mod status;
#[cfg(test)]
mod tests;

pub use namespaces::HostNetwork;
pub use seen::Seen;

use std::fmt::Write as _;

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Not as it should be; the remedy says which line to add.
    Flaw,
    /// Not to be seen, or not to be changed, from inside; the remedy says what the operator does.
    Operator,
}

impl Verdict {
    /// As it stands in logs, metrics and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Flaw => "flaw",
            Self::Operator => "operator",
        }
    }
}

/// One item of the inspection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its number.
    pub item: &'static str,
    /// What is asked for.
    pub title: &'static str,
    /// What became of it.
    pub verdict: Verdict,
    /// What was found: numbers, names of mounts, devices and processes.
    pub found: String,
    /// The line to add.
    pub remedy: Remedy,
}

/// What to add where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remedy {
    /// To the service in a compose file.
    pub compose: &'static str,
    /// To the container or the pod in a manifest.
    pub manifest: &'static str,
}

/// All items.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// In the order of their numbers.
    pub findings: Vec<Finding>,
    /// Whether there is a container at all.
    pub in_container: bool,
}

impl Inspection {
    /// Judges what was seen.
    pub fn of(seen: &Seen) -> Self {
        Self { findings: items::all(seen), in_container: seen.in_container().is_some() }
    }

    /// How many items came to `verdict`.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// The flaws, each as number and title.
    pub fn flaws(&self) -> Vec<String> {
        let flaws = self.findings.iter().filter(|finding| finding.verdict == Verdict::Flaw);
        flaws.map(|flaw| format!("{} {}", flaw.item, flaw.title)).collect()
    }

    /// For people: the sum, then one line for each item, with remedies where one is needed.
    pub fn report(&self) -> String {
        let mut out = String::new();
        let (ok, flaws) = (self.count(Verdict::Ok), self.count(Verdict::Flaw));
        let operator = self.count(Verdict::Operator);
        if !self.in_container {
            out.push_str("hardening: no container was recognised; this is about the host itself\n");
        }
        // Writing to a String cannot fail.
        let _ = writeln!(out, "hardening: {ok} ok, {flaws} flaws, {operator} for the operator");
        for Finding { item, title, verdict, found, remedy } in &self.findings {
            let word = match verdict {
                Verdict::Ok => "ok",
                Verdict::Flaw => "FLAW",
                Verdict::Operator => "you",
            };
            let _ = writeln!(out, "{word:4} {item:5} {title}: {found}");
            if *verdict != Verdict::Ok {
                let _ = writeln!(out, "           compose: {}", remedy.compose);
                let _ = writeln!(out, "           pod:     {}", remedy.manifest);
            }
        }
        out
    }
}
