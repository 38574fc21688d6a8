//! Refusals as documents: `application/problem+json`, RFC 9457.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

#[derive(Serialize)]
struct Document {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
}

/// An answer that says `code`, which is stable, `title`, which is for people, and what they may do.
pub(super) fn response(
    code: &'static str,
    status: u16,
    title: &'static str,
    detail: Option<&'static str>,
) -> Response<Full<Bytes>> {
    let document =
        Document { r#type: format!("urn:sidekey:problem:{code}"), title, status, code, detail };
    let body = serde_json::to_vec(&document).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/problem+json");
    headers.insert(header::CONTENT_TYPE, json);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if matches!(status, 429 | 503) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}
