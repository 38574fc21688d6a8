//! A request as the engines see it: what is asked, of which path, by whom.

use std::time::Duration;

use super::clock::Moment;
use super::fields::Fields;
use super::grant::Grant;
use super::kubernetes::Review;
use super::lease::NewLease;
use super::reply::{Failure, Reply};

/// What is to be done; Vault tells a creation from an update only in its policies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    Read,
    List,
    Write,
    Patch,
    Delete,
}

/// One request to the API, the path without `/v1/` and without a trailing query.
pub(super) struct Request {
    pub(super) operation: Operation,
    pub(super) namespace: String,
    pub(super) path: String,
    pub(super) token: Option<String>,
    pub(super) fields: Fields,
    pub(super) wrap_ttl: Option<Duration>,
    /// The client's certificates in DER, its own first.
    pub(super) peer: Vec<Vec<u8>>,
    pub(super) tls: bool,
    pub(super) content_type: String,
    /// What the Kubernetes API said of the token, asked before the state was locked.
    pub(super) review: Option<Review>,
}

/// A request on its way through one engine.
pub(super) struct Call<'a> {
    pub(super) operation: Operation,
    /// Relative to the mount.
    pub(super) path: &'a str,
    pub(super) request: &'a Request,
    /// The caller's token, empty on a login.
    pub(super) token: &'a str,
    pub(super) now: Moment,
}

impl<'a> Call<'a> {
    pub(super) fn fields(&self) -> &'a Fields {
        &self.request.fields
    }
}

/// What an engine wants done; issuing tokens and leases is the core's business.
pub(super) enum Outcome {
    Reply(Reply),
    Login(Box<Grant>),
    Lease(Box<NewLease>),
}

/// An engine's answer.
pub(super) type Engaged = Result<Outcome, Failure>;

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

/// 204.
#[expect(clippy::unnecessary_wraps, reason = "an answer like its siblings'")]
pub(super) fn done() -> Engaged {
    Ok(Outcome::Reply(Reply::Empty))
}

/// 200 with `data`.
pub(super) fn data(data: &impl serde::Serialize) -> Engaged {
    Reply::data(data).map(Outcome::Reply)
}

/// The direct children of `prefix` among `names`, folders with a slash, as LIST answers.
pub(super) fn children<'a>(names: impl Iterator<Item = &'a String>, prefix: &str) -> Vec<String> {
    let prefix = match prefix.trim_matches('/') {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    };
    let mut keys: Vec<String> = names
        .filter_map(|name| name.strip_prefix(&prefix))
        .map(|rest| {
            rest.split_once('/').map_or(rest.to_owned(), |(folder, _)| format!("{folder}/"))
        })
        .filter(|key| !key.is_empty())
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

/// 200 with the children's names, or 404.
pub(super) fn listing<'a>(names: impl Iterator<Item = &'a String>, prefix: &str) -> Engaged {
    Reply::keys(children(names, prefix)).map(Outcome::Reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_listed_once() {
        let names = ["a/b".to_owned(), "a/c/d".to_owned(), "e".to_owned(), "a".to_owned()];
        assert_eq!(children(names.iter(), ""), ["a", "a/", "e"]);
        assert_eq!(children(names.iter(), "a/"), ["b", "c/"]);
        assert!(children(names.iter(), "x").is_empty());
    }
}
