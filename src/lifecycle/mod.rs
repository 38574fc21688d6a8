//! Start, ready, stop.

mod readiness;
mod shutdown;
mod signal;

pub use readiness::Readiness;
pub use shutdown::{Deadline, Shutdown};
pub use signal::{Signal, Signals};
