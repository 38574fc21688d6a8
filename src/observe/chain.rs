//! An error with all of its causes.

use std::error::Error;
use std::fmt;

/// Displays an error and then each of its sources, separated by colons. Our own errors display
/// one level each.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot listen")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn every_level_is_shown_once() {
        let error = Outer(std::io::Error::other("in use"));
        assert_eq!(Chain(&error).to_string(), "cannot listen: in use");
    }
}
