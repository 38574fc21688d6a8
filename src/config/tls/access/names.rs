//! DNS names of clients' certificates.

use std::fmt;

/// `api.example.com`, or `*.example.com` for any one label in the place of `*`. In lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SanPattern(Box<str>);

impl SanPattern {
    /// `None` for what is no DNS name.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        (is_name(name) && name.len() <= 253).then(|| Self(text.to_ascii_lowercase().into()))
    }

    /// Whether `name`, of a certificate, is meant. One that itself has a wildcard never is.
    pub fn admits(&self, name: &str) -> bool {
        if !is_name(name) {
            return false;
        }
        match self.0.strip_prefix("*.") {
            None => name.eq_ignore_ascii_case(&self.0),
            Some(parent) => {
                name.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    name.split('.')
        .all(|label| !label.is_empty() && label.len() <= 63 && label.bytes().all(allowed))
}

impl fmt::Display for SanPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
