//! Start, ready, stop.

mod signal;

pub use signal::{Signal, Signals};
