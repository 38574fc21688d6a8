//! The log: stderr only, and only what this crate says itself.

use std::io::{self, IsTerminal as _, Write};

use arc_swap::ArcSwapOption;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::outlet::Outlet;

/// Where lines go while a sidecar serves; straight to stderr otherwise.
static OUTLET: ArcSwapOption<Outlet> = ArcSwapOption::const_empty();

/// How a line of the log or of the audit is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// For eyes.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

/// Somebody set a log up before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log is already set up")]
pub struct LogAlreadySet;

/// Sends this crate's events at `level` and above to stderr.
///
/// Libraries are never heard, at any level, and no environment variable changes that: HTTP and
/// Vault clients log headers and bodies.
///
/// # Errors
/// [`LogAlreadySet`] when the process has a log already.
pub fn init_log(style: Style, level: LevelFilter) -> Result<(), LogAlreadySet> {
    let layer = tracing_subscriber::fmt::layer().with_writer(|| Lines).with_target(false);
    let layer = match style {
        Style::Human => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        Style::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(own_targets(level)))
        .try_init()
        .map_err(|_| LogAlreadySet)
}

/// From now on the log's lines go by `outlet`, and nobody waits for them to be read.
pub(crate) fn log_to(outlet: &Outlet) {
    OUTLET.store(Some(std::sync::Arc::new(outlet.clone())));
}

/// Ends what [`log_to`] began, unless another sidecar of this process has taken over.
pub(crate) fn log_directly(outlet: &Outlet) {
    let current = OUTLET.load();
    if current.as_ref().is_some_and(|current| current.is(outlet)) {
        OUTLET.compare_and_swap(&*current, None);
    }
}

/// Gets each line of the log in one piece.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &*OUTLET.load() {
            Some(outlet) => outlet.offer(line),
            None => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn own_targets(level: LevelFilter) -> Targets {
    Targets::new().with_target("sidekey", level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn only_our_own_targets_are_heard() {
        let targets = own_targets(LevelFilter::TRACE);
        assert!(targets.would_enable("sidekey", &Level::TRACE));
        assert!(targets.would_enable("sidekey::server", &Level::DEBUG));
        for library in ["hyper::proto", "rustify::client", "vaultrs", "reqwest::connect", ""] {
            assert!(!targets.would_enable(library, &Level::ERROR), "{library}");
        }
    }
}
