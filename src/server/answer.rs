//! Answers that carry a value: the headers they all have, and 304.

use std::fmt;
use std::sync::Arc;
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
    /// Of a field: what its entity tag is made of instead of that of the whole.
    pub(super) field: Option<Etag>,
}

impl Answer {
    /// `body` with the headers of a served value; 304 without it when the `conditional` request
    /// says that the asker has it already.
    ///
    /// # Errors
    /// Those of `body`.
    pub(super) fn value(
        served: &Served,
        tags: Tags<'_>,
        label: Label,
        conditional: Option<&Head<'_>>,
        body: impl FnOnce() -> Result<Bytes, Problem>,
    ) -> Result<Self, Problem> {
        let (known, mut headers) = tags.with_head(served, label, |rendered| {
            let known = conditional.is_some_and(|head| head.knows(&rendered.etag));
            (known, rendered.headers.clone())
        });
        let (code, body) =
            if known { (Code::NotModified, Bytes::new()) } else { (Code::Ok, body()?) };
        if known {
            headers.remove(header::CONTENT_TYPE);
        }
        if let Some(left) = served.expires_in {
            headers.insert(EXPIRES_IN, left.as_secs().into());
        }
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = code.status();
        *response.headers_mut() = headers;
        Ok(Self { response, code, served: Some((served.freshness, served.age)) })
    }

    /// What the asker has by `etag` is all that it gets: nothing is said of what there is now.
    pub(super) fn unchanged(etag: HeaderValue) -> Self {
        let code = Code::NotModified;
        let mut response = Response::new(Body::from(Bytes::new()));
        *response.status_mut() = code.status();
        insert_common(response.headers_mut());
        response.headers_mut().insert(header::ETAG, etag);
        Self { response, code, served: None }
    }

    /// A JSON document of our own, without a value.
    pub(super) fn document(json: Vec<u8>, etag: HeaderValue, head: &Head<'_>) -> Self {
        let known = head.knows(&etag);
        let (code, json) = if known { (Code::NotModified, Vec::new()) } else { (Code::Ok, json) };
        let mut response = Response::new(Body::from(Bytes::from(json)));
        *response.status_mut() = code.status();
        let headers = response.headers_mut();
        if !known {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        insert_common(headers);
        headers.insert(header::ETAG, etag);
        Self { response, code, served: None }
    }
}

fn insert_common(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

impl Head<'_> {
    /// Whether the asker says that it has `etag` already.
    pub(super) fn knows(&self, etag: &HeaderValue) -> bool {
        self.if_none_match().any(|tags| names(tags, etag.as_bytes()))
    }
}

/// Whether an `If-None-Match` value names `etag`, comparing weakly as it must. What is no list of
/// entity tags names none from there on.
fn names(if_none_match: &[u8], etag: &[u8]) -> bool {
    let mut rest = if_none_match.trim_ascii();
    if rest == b"*" {
        return true;
    }
    while !rest.is_empty() {
        let tag = rest.strip_prefix(b"W/").unwrap_or(rest);
        // What stands between the quotes may have commas in it, and has no escapes.
        let opaque = tag.strip_prefix(b"\"").unwrap_or_default();
        let Some(len) = opaque.iter().position(|&c| c == b'"') else { return false };
        let Some((tag, after)) = tag.split_at_checked(len + 2) else { return false };
        let after = after.trim_ascii_start();
        if !after.is_empty() && !after.starts_with(b",") {
            return false;
        }
        if tag == etag {
            return true;
        }
        let is_separator = |c: &u8| *c == b',' || c.is_ascii_whitespace();
        rest =
            after.get(after.iter().take_while(|c| is_separator(c)).count()..).unwrap_or_default();
    }
    false
}

/// The head of an answer, made once and not at each request.
pub(super) struct Rendered {
    of: Content,
    etag: HeaderValue,
    headers: HeaderMap,
}

/// What a head is the head of.
#[derive(Clone, Copy)]
struct Content {
    tag: Etag,
    version: u64,
    freshness: Freshness,
    expires: bool,
    label: Label,
}

impl Content {
    /// Whether it is the same for certain. Texts are compared by where they stand, not by what
    /// they say: what is taken for another one is made again, no more.
    fn is(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.label, &other.label);
        self.tag == other.tag
            && self.version == other.version
            && self.freshness == other.freshness
            && self.expires == other.expires
            && std::ptr::eq(ours.content_type, theirs.content_type)
            && std::ptr::eq(ours.etag_suffix, theirs.etag_suffix)
            && ours.negotiated == theirs.negotiated
    }
}

/// Where the head of an answer comes from.
#[derive(Clone, Copy)]
pub(super) enum Tags<'d> {
    /// The latest version of it: the head that was answered last is kept there.
    Latest(&'d Declared),
    /// Made anew.
    Fresh,
}

impl Tags<'_> {
    /// Shows `look` the entity tag, and all headers but the value of `Sidekey-Expires-In`.
    fn with_head<T>(self, served: &Served, label: Label, look: impl FnOnce(&Rendered) -> T) -> T {
        let of = Content {
            tag: label.field.unwrap_or(*served.secret.etag()),
            version: served.version,
            freshness: served.freshness,
            expires: served.expires_in.is_some(),
            label,
        };
        let Self::Latest(declared) = self else { return look(&Rendered::new(of)) };
        if let Some(kept) = &*declared.rendered.load()
            && kept.of.is(&of)
        {
            return look(kept);
        }
        let rendered = Arc::new(Rendered::new(of));
        declared.rendered.store(Some(Arc::clone(&rendered)));
        look(&rendered)
    }
}

impl Rendered {
    fn new(of: Content) -> Self {
        let Content { tag, version, freshness, expires, label } = of;
        let etag = tagged(&tag, label.etag_suffix);
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(label.content_type));
        insert_common(&mut headers);
        headers.insert(header::ETAG, etag.clone());
        headers.insert(FRESHNESS, HeaderValue::from_static(freshness.as_str()));
        headers.insert(VERSION, version.into());
        if expires {
            // Its place; the value is another one each second.
            headers.insert(EXPIRES_IN, HeaderValue::from_static("0"));
        }
        if label.negotiated {
            headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        }
        Self { of, etag, headers }
    }
}

/// The `ETag` of a content in the form that `suffix` stands for.
pub(super) fn tagged(tag: &Etag, suffix: &str) -> HeaderValue {
    quoted(format_args!("{tag}{suffix}"))
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
        let yes =
            ["\"a\"", "W/\"a\"", "\"b\", W/\"a\"", "*", " * ", "\"b\",\"a\"", "\"b,*\" ,, \"a\""];
        for yes in yes {
            assert!(names(yes.as_bytes(), b"\"a\""), "{yes}");
        }
        let no = [
            "",
            ",",
            "a",
            "\"b\"",
            "\"a",
            "w/\"a\"",
            "\"a-env\"",
            "\"b,*,c\"",
            "\"b\", *",
            "*, \"a\"",
            "\"b,\"a\",c\"",
            "b, \"a\"",
            "\"b\" \"a\"",
            "W/ \"a\"",
        ];
        for no in no {
            assert!(!names(no.as_bytes(), b"\"a\""), "{no}");
        }
    }
}
