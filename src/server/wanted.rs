//! Which value is asked for, beyond its name: a version, a life, a change.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio_util::sync::CancellationToken;

use super::Source;
use super::answer::Tags;
use super::guard::Admitted;
use super::head::Head;
use super::policy::{Declared, Policy, SharedPolicy};
use super::problem::{Problem, QueryProblem};
use crate::cache::{ReadError, Served};
use crate::config::parse_duration;
use crate::secret::Secret;

/// Nobody is held longer; the asker simply asks again.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// What ends a wait, and what it must not outlast.
pub(super) struct Waiting<'a> {
    pub(super) stopping: &'a CancellationToken,
    /// The policy in force.
    pub(super) policy: &'a SharedPolicy,
    /// The one by which the request was admitted.
    pub(super) judge: &'a Arc<Policy>,
    pub(super) admitted: &'a Admitted<'a>,
}

impl Waiting<'_> {
    fn is_still_admitted(&self) -> bool {
        self.admitted.standing(self.judge).holds(self.policy)
    }
}

/// How a fetch ended.
pub(super) enum Fetched<'d> {
    /// With a value.
    Value(Served, Tags<'d>),
    /// With nothing but what the asker has by this entity tag: the rules or the token that it was
    /// admitted by changed while it waited. It asks again, and is judged by those that hold now.
    JudgeAnew(HeaderValue),
}

/// `?version=`, `?min_ttl=` and `?wait=`.
pub(super) struct Wanted {
    version: Option<u64>,
    min_ttl: Option<Duration>,
    wait: Option<Duration>,
}

impl Wanted {
    /// # Errors
    /// The parameter whose value is wrong, or that makes no sense beside another.
    pub(super) fn parse(
        version: Option<&str>,
        min_ttl: Option<&str>,
        wait: Option<&str>,
    ) -> Result<Self, Problem> {
        let duration = |text: Option<&str>, parameter| {
            let duration = text.map(|text| parse_duration(text).ok_or(bad(parameter)));
            duration.transpose()
        };
        let wanted = Self {
            version: version.map(parse_version).transpose()?,
            min_ttl: duration(min_ttl, "min_ttl")?,
            wait: duration(wait, "wait")?.map(|wait| wait.min(LONGEST_WAIT)),
        };
        match wanted {
            // A version of its own has no other life and does not change.
            Self { version: Some(_), min_ttl: Some(_), .. } => Err(bad("min_ttl")),
            Self { version: Some(_), wait: Some(_), .. } => Err(bad("wait")),
            _ => Ok(wanted),
        }
    }

    /// The value. With `wait`, one that the asker does not have yet by its `etag`, as soon as there
    /// is one; at the end of its patience, and when the process stops, the one that it has.
    pub(super) async fn fetch<'d, S: Source>(
        &self,
        source: &S,
        declared: &'d Declared,
        head: &Head<'_>,
        etag: impl Fn(&Secret) -> Option<HeaderValue>,
        waiting: &Waiting<'_>,
    ) -> Result<Fetched<'d>, ReadError> {
        let Some(wait) = self.wait else {
            let (served, tags) = self.fetch_now(source, declared).await?;
            return Ok(Fetched::Value(served, tags));
        };
        // Boxed, as what fetches below: seldom needed, and not to make each request's future larger.
        let mut patience = Box::pin(tokio::time::sleep(wait));
        let (mut last, mut uncached) = (false, 0);
        loop {
            let changes = source.changes(&declared.name);
            let (served, tags) = self.fetch_now(source, declared).await?;
            let known = etag(&served.secret).filter(|etag| head.knows(etag) && !last);
            let Some(known) = known else { return Ok(Fetched::Value(served, tags)) };
            let Some(mut changes) = changes else {
                uncached += 1;
                if uncached > 1 {
                    // There is no room to keep it, and so nothing to wait for.
                    return Ok(Fetched::Value(served, tags));
                }
                // It is there from now on; once more, since it may have changed since.
                continue;
            };
            // Not held while waiting: what ends meanwhile is wiped.
            drop(served);
            tokio::select! {
                news = changes.changed() => last = news.is_err(),
                () = &mut patience => last = true,
                () = waiting.stopping.cancelled() => last = true,
            }
            if !waiting.is_still_admitted() {
                return Ok(Fetched::JudgeAnew(known));
            }
        }
    }

    /// The value without `wait`. What is there already is answered without waiting.
    pub(super) async fn fetch_now<'d, S: Source>(
        &self,
        source: &S,
        declared: &'d Declared,
    ) -> Result<(Served, Tags<'d>), ReadError> {
        let name = &declared.name;
        if self.version.is_some() {
            let served = Box::pin(source.get(name, self.version)).await?;
            return Ok((served, Tags::Fresh));
        }
        let served = match (self.min_ttl, source.cached(name)) {
            (Some(min_ttl), _) => Box::pin(source.get_living(name, min_ttl)).await?,
            (None, Some(answer)) => answer?,
            (None, None) => Box::pin(source.get(name, None)).await?,
        };
        Ok((served, Tags::Latest(declared)))
    }
}

fn bad(parameter: &'static str) -> Problem {
    Problem::Query(QueryProblem::BadValue(parameter))
}

/// A KV v2 version: a number from 1 on.
fn parse_version(text: &str) -> Result<u64, Problem> {
    let digits = text.bytes().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|&version: &u64| digits && version > 0).ok_or(bad("version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_from_one() {
        assert_eq!(parse_version("7").unwrap(), 7);
        for wrong in ["", "0", "-1", "+1", " 1", "1.0", "latest", "99999999999999999999"] {
            assert!(parse_version(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_version_of_its_own_neither_lives_nor_changes() {
        assert!(Wanted::parse(Some("1"), None, Some("1s")).is_err());
        assert!(Wanted::parse(Some("1"), Some("1s"), None).is_err());
        assert!(Wanted::parse(None, Some("soon"), None).is_err());
        let wanted = Wanted::parse(None, Some("10m"), Some("24h")).unwrap();
        assert_eq!(wanted.wait, Some(LONGEST_WAIT));
    }
}
