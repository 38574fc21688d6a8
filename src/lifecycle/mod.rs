//! Start, ready, stop; and the rights that are given up in between.

mod readiness;
pub mod sandbox;
mod shutdown;
mod signal;

pub use readiness::{Awaited, Readiness};
pub use shutdown::{Deadline, Shutdown};
pub use signal::{Signal, Signals};
