//! What of HTTP may be asked for: methods and paths, judged on a reading of the path that
//! whoever answers must share. What could be read in two ways is refused, and not guessed at.

use std::borrow::Cow;

use http::{HeaderMap, Method, Uri};

mod path;
mod pattern;

pub use path::{Ambiguous, read as read_path};
pub use pattern::{BadPattern, PathPattern};

/// Headers by which some applications take another method or path than the request's own.
const OVERRIDES: [&str; 6] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
];

/// Which methods and paths are let through. The default lets everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// `None` for all of them.
    pub methods: Option<Vec<Method>>,
    /// `None` for all of them.
    pub paths: Option<Vec<PathPattern>>,
}

/// Method and path of one request, read in the only way that they can be.
#[derive(Debug)]
pub struct Target<'r> {
    method: &'r Method,
    path: Cow<'r, str>,
}

impl<'r> Target<'r> {
    /// What is asked for. The request can be passed on as it is: there is no other reading.
    ///
    /// # Errors
    /// [`Ambiguous`], for a path with more than one reading, or headers that stand for another.
    pub fn read(method: &'r Method, uri: &'r Uri, headers: &HeaderMap) -> Result<Self, Ambiguous> {
        if headers.keys().any(|name| is_override(name.as_str())) {
            return Err(Ambiguous::Override);
        }
        Ok(Self { method, path: path::read(uri.path())? })
    }

    /// The path, decoded.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl Scope {
    /// Whether there is anything that it does not let through.
    pub fn is_limited(&self) -> bool {
        self.methods.is_some() || self.paths.is_some()
    }

    /// Whether it lets this through.
    pub fn admits(&self, target: &Target<'_>) -> bool {
        let method = self.methods.as_ref().is_none_or(|methods| methods.contains(target.method));
        let mut paths = self.paths.iter().flatten();
        method && (self.paths.is_none() || paths.any(|pattern| pattern.admits(&target.path)))
    }
}

/// Whether some applications take another method or path from the header of this name.
pub fn is_override(name: &str) -> bool {
    OVERRIDES.iter().any(|other| is_alike(name, other))
}

/// Whether two names of headers are one to some servers, which read `X_Api_Key` as `X-Api-Key`.
pub fn is_alike(one: &str, other: &str) -> bool {
    let same = |(a, b): (u8, u8)| a == b || matches!((a, b), (b'_', b'-') | (b'-', b'_'));
    one.len() == other.len() && one.bytes().zip(other.bytes()).all(same)
}

#[cfg(test)]
mod tests;
