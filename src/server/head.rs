//! A request's head, gone through once for all guards.

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Uri};

use super::guard::Denied;
use crate::scope::is_alike;

/// Ours are smaller than hyper's own limits, so that it is our answer that is given.
const MAX_TARGET: usize = 2 * 1024;
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// How often a header that may stand there once does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Single<'r> {
    None,
    One(&'r HeaderValue),
    Repeated,
}

impl<'r> Single<'r> {
    fn add(&mut self, value: &'r HeaderValue) {
        *self = match self {
            Self::None => Self::One(value),
            Self::One(_) | Self::Repeated => Self::Repeated,
        };
    }
}

/// What the guards look at.
#[derive(Debug)]
pub(super) struct Head<'r> {
    pub(super) method: &'r Method,
    pub(super) uri: &'r Uri,
    pub(super) headers: &'r HeaderMap,
    /// Headers, repeated ones counted each time.
    count: usize,
    /// Bytes of the target and the headers, as sent but for optional white space.
    len: usize,
    /// Bytes of the target.
    target_len: usize,
    pub(super) host: Single<'r>,
    pub(super) authorization: Single<'r>,
    pub(super) vault_token: Single<'r>,
    content_length: Single<'r>,
    pub(super) fetch_site: Single<'r>,
    transfer_encoding: bool,
    pub(super) origin: bool,
    pub(super) forwarded: bool,
}

impl<'r> Head<'r> {
    pub(super) fn scan(parts: &'r Parts) -> Self {
        let target_len = target_len(&parts.uri);
        let mut head = Self {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            count: 0,
            len: target_len,
            target_len,
            host: Single::None,
            authorization: Single::None,
            vault_token: Single::None,
            content_length: Single::None,
            fetch_site: Single::None,
            transfer_encoding: false,
            origin: false,
            forwarded: false,
        };
        for (name, value) in &parts.headers {
            head.count += 1;
            // ": " and CRLF.
            head.len += name.as_str().len() + value.len() + 4;
            head.note(name, value);
        }
        head
    }

    fn note(&mut self, name: &HeaderName, value: &'r HeaderValue) {
        // Standard names are numbers here, and compare as such.
        match name {
            name if *name == header::HOST => self.host.add(value),
            name if *name == header::AUTHORIZATION => self.authorization.add(value),
            name if *name == header::CONTENT_LENGTH => self.content_length.add(value),
            name if *name == header::TRANSFER_ENCODING => self.transfer_encoding = true,
            name if *name == header::ORIGIN => self.origin = true,
            name if *name == header::FORWARDED || *name == header::VIA => self.forwarded = true,
            name => self.note_other(name.as_str(), value),
        }
    }

    fn note_other(&mut self, name: &str, value: &'r HeaderValue) {
        match name {
            "x-vault-token" => self.vault_token.add(value),
            "sec-fetch-site" => self.fetch_site.add(value),
            other => self.forwarded |= is_by_a_proxy(other),
        }
    }

    /// Target and head are of a sensible size.
    pub(super) fn fits(&self) -> Result<(), Denied> {
        if self.target_len > MAX_TARGET {
            Err(Denied::TargetTooLong)
        } else if self.len > MAX_HEAD || self.count > MAX_HEADERS {
            Err(Denied::HeadTooLarge)
        } else {
            Ok(())
        }
    }

    /// There is no body: none is needed here, and what is not read cannot be read differently
    /// by somebody in between (request smuggling).
    pub(super) fn has_no_body(&self) -> Result<(), Denied> {
        let empty = match self.content_length {
            Single::None => true,
            Single::One(length) => length == "0",
            Single::Repeated => false,
        };
        if self.transfer_encoding || !empty { Err(Denied::Body) } else { Ok(()) }
    }

    /// The values of `If-None-Match`.
    pub(super) fn if_none_match(&self) -> impl Iterator<Item = &'r [u8]> + use<'r> {
        self.headers.get_all(header::IF_NONE_MATCH).into_iter().map(HeaderValue::as_bytes)
    }
}

/// `X-Forwarded-…` and `X-Real-IP`, also as `X_Forwarded_For`, which some servers read likewise.
fn is_by_a_proxy(name: &str) -> bool {
    let forwarded = name.get(.."x-forwarded".len());
    forwarded.is_some_and(|start| is_alike(start, "x-forwarded")) || is_alike(name, "x-real-ip")
}

fn target_len(uri: &Uri) -> usize {
    let path = uri.path_and_query().map_or(0, |target| target.as_str().len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    // "http://"
    path + authority + uri.scheme_str().map_or(0, |scheme| scheme.len() + 3)
}
