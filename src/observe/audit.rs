//! One line per read or refusal.
//!
//! No line is lost while the process lives: when the buffer is full, requests wait for room
//! before they are answered. A batch is on its way to stderr a few milliseconds after its first
//! line.

use std::time::{Duration, SystemTime};

use super::line;
use super::log::Style;
use super::outlet::Outlet;

/// What one line says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Access<'a> {
    /// `read`, `list`, `refresh`, or `none` when the request got nowhere; of an adapter, what it
    /// did.
    pub action: &'static str,
    /// The adapter, when it was not the local door.
    pub adapter: Option<&'a str>,
    /// The rule that permitted it, else the first that matched.
    pub caller: Option<&'a str>,
    /// By the kernel's word, when it was asked.
    pub uid: Option<u32>,
    /// The secret's name as it was asked for.
    pub name: Option<&'a str>,
    /// The field as it was asked for.
    pub field: Option<&'a str>,
    /// `ok`, `not_modified` or the code of a refusal.
    pub outcome: &'static str,
    /// `fresh` or `stale`.
    pub freshness: Option<&'static str>,
    /// Time since Vault confirmed the value.
    pub age: Option<Duration>,
    /// `tcp` or `unix`.
    pub transport: &'static str,
}

/// The audit log. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    style: Style,
    outlet: Outlet,
}

impl Audit {
    /// Lines of this style to `outlet`.
    pub fn new(style: Style, outlet: Outlet) -> Self {
        Self { style, outlet }
    }

    /// Adds a line.
    pub fn record(&self, access: &Access<'_>) {
        let now = SystemTime::now();
        self.outlet.keep(|lines| line::write(lines, self.style, now, access));
    }

    /// Waits while the buffer is full; whoever adds lines waits before it adds more. Cancel safe.
    pub async fn room(&self) {
        self.outlet.room().await;
    }
}
