//! Answers that carry a value: the headers they all have, and 304.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::body::Body;
use super::code::Code;
use super::head::Head;
use super::policy::Declared;
use super::problem::Problem;
use crate::cache::{Freshness, Served};
use crate::secret::Etag;

const FRESHNESS: HeaderName = HeaderName::from_static("sidekey-freshness");
const VERSION: HeaderName = HeaderName::from_static("sidekey-version");
const EXPIRES_IN: HeaderName = HeaderName::from_static("sidekey-expires-in");

/// An answer, and what the audit log says of it.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    pub(super) code: Code,
    pub(super) served: Option<(Freshness, Duration)>,
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        Self { response: problem.response(), code: problem.code(), served: None }
    }
}

/// How the content of a value is labelled.
#[derive(Clone, Copy)]
pub(super) struct Label {
    pub(super) content_type: &'static str,
    /// What the entity tag ends in.
    pub(super) etag_suffix: &'static str,
    /// The `Accept` header was listened to.
    pub(super) negotiated: bool,
}

impl Answer {
    /// `body` with the headers of a served value; 304 without it when the `conditional` request
    /// says that the asker has it already.
    ///
    /// # Errors
    /// Those of `body`.
    pub(super) fn value(
        served: &Served,
        tags: Tags,
        label: Label,
        conditional: Option<&Head<'_>>,
        body: impl FnOnce() -> Result<Bytes, Problem>,
    ) -> Result<Self, Problem> {
        let etag = tags.etag(label.etag_suffix);
        let known = conditional.is_some_and(|head| head.knows(&etag));
        let (code, body) =
            if known { (Code::NotModified, Bytes::new()) } else { (Code::Ok, body()?) };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = code.status();
        let headers = response.headers_mut();
        // No more than there will be: the room is wiped with each answer.
        let more = usize::from(served.expires_in.is_some()) + usize::from(label.negotiated);
        headers.reserve(6 + more);
        if !known {
            insert(headers, header::CONTENT_TYPE, HeaderValue::from_static(label.content_type));
        }
        insert_common(headers);
        insert(headers, header::ETAG, etag);
        insert(headers, FRESHNESS, HeaderValue::from_static(served.freshness.as_str()));
        insert(headers, VERSION, tags.version);
        if let Some(left) = served.expires_in {
            insert(headers, EXPIRES_IN, left.as_secs().into());
        }
        if label.negotiated {
            insert(headers, header::VARY, HeaderValue::from_static("Accept"));
        }
        Ok(Self { response, code, served: Some((served.freshness, served.age)) })
    }

    /// A JSON document of our own, without a value.
    pub(super) fn document(json: Vec<u8>, etag: HeaderValue, head: &Head<'_>) -> Self {
        let known = head.knows(&etag);
        let (code, json) = if known { (Code::NotModified, Vec::new()) } else { (Code::Ok, json) };
        let mut response = Response::new(Body::from(Bytes::from(json)));
        *response.status_mut() = code.status();
        let headers = response.headers_mut();
        if !known {
            insert(headers, header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        insert_common(headers);
        insert(headers, header::ETAG, etag);
        Self { response, code, served: None }
    }
}

fn insert_common(headers: &mut HeaderMap) {
    insert(headers, header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    insert(headers, header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    headers.insert(name, value);
}

impl Head<'_> {
    /// Whether the asker says that it has `etag` already.
    pub(super) fn knows(&self, etag: &HeaderValue) -> bool {
        self.if_none_match().any(|tags| names(tags, etag.as_bytes()))
    }
}

/// Whether an `If-None-Match` value names `etag`, comparing weakly as it must.
fn names(if_none_match: &[u8], etag: &[u8]) -> bool {
    if_none_match.split(|&c| c == b',').map(<[u8]>::trim_ascii).any(|tag| {
        let tag = tag.strip_prefix(b"W/").unwrap_or(tag);
        tag == b"*" || tag == etag
    })
}

/// Header values of one content, made once and not at each request.
pub(super) struct Rendered {
    tag: Etag,
    number: u64,
    etag: HeaderValue,
    version: HeaderValue,
}

/// The `ETag` and `Sidekey-Version` values of one answer.
pub(super) struct Tags {
    etag: HeaderValue,
    version: HeaderValue,
}

impl Tags {
    /// Those of the latest version of `declared`, kept with it.
    pub(super) fn latest(declared: &Declared, served: &Served) -> Self {
        let kept = declared.rendered.load();
        if let Some(kept) = &*kept
            && kept.tag == *served.secret.etag()
            && kept.number == served.version
        {
            return Self { etag: kept.etag.clone(), version: kept.version.clone() };
        }
        let Self { etag, version } = Self::of(served);
        let rendered = Rendered {
            tag: *served.secret.etag(),
            number: served.version,
            etag: etag.clone(),
            version: version.clone(),
        };
        declared.rendered.store(Some(rendered.into()));
        Self { etag, version }
    }

    /// Made anew.
    pub(super) fn of(served: &Served) -> Self {
        Self { etag: quoted(served.secret.etag()), version: served.version.into() }
    }

    pub(super) fn etag(&self, suffix: &str) -> HeaderValue {
        let Some(open) = self.etag.as_bytes().strip_suffix(b"\"").filter(|_| !suffix.is_empty())
        else {
            return self.etag.clone();
        };
        let suffixed = [open, suffix.as_bytes(), b"\""].concat();
        HeaderValue::from_bytes(&suffixed).unwrap_or_else(|_| self.etag.clone())
    }
}

/// An entity tag as it stands in the header. `tag` must be plain text, such as hex digits.
pub(super) fn quoted(tag: impl fmt::Display) -> HeaderValue {
    HeaderValue::try_from(format!("\"{tag}\""))
        .unwrap_or(const { HeaderValue::from_static("\"\"") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_none_match_is_a_list_compared_weakly() {
        for yes in ["\"a\"", "W/\"a\"", "\"b\", W/\"a\"", "*", "\"b\",\"a\""] {
            assert!(names(yes.as_bytes(), b"\"a\""), "{yes}");
        }
        for no in ["", "a", "\"b\"", "\"a", "w/\"a\"", "\"a-env\""] {
            assert!(!names(no.as_bytes(), b"\"a\""), "{no}");
        }
    }
}
