//! What may be said: names, outcomes and durations, never a value.
//!
//! - [`event`], and [`tls`] for its adapters: the only way the rest of the crate logs about a
//!   secret.
//! - [`Audit`]: one line per read or refusal, none of them lost.
//! - [`Metrics`]: names and outcomes for a Prometheus scrape.
//! - [`init_log`]: who hears of it: stderr, and only what this crate itself says.
//! - [`Outlet`]: the one writer of stderr while a sidecar serves.

mod audit;
mod chain;
pub mod event;
mod line;
mod log;
mod metrics;
mod outlet;
pub mod tls;

pub use audit::{Access, Audit};
pub use chain::Chain;
#[cfg(feature = "dev")]
pub(crate) use line::civil;
pub(crate) use line::timestamp;
pub use log::{LogAlreadySet, Style, init_log};
pub(crate) use log::{log_directly, log_to};
pub use metrics::{AmbassadorMetrics, Metrics, OpenConnection, TlsMetrics};
pub use outlet::Outlet;
