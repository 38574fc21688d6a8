//! Typed events: the only way to log about a secret. Each takes names, paths, durations and
//! errors of our own types; none takes a value.

mod ambassador;
mod door;
mod exec;
mod life;
mod login;
mod notify;
mod protection;
mod secret;

use std::time::Duration;

pub use ambassador::*;
pub use door::*;
pub use exec::*;
pub use life::*;
pub use login::*;
pub use notify::*;
pub use protection::*;
pub use secret::*;

/// Whole milliseconds, and whole seconds from ten on: nobody reads more digits.
pub(super) fn brief(duration: Duration) -> Duration {
    match duration.as_secs() {
        0..10 => Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or_default()),
        seconds => Duration::from_secs(seconds),
    }
}
