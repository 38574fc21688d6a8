//! Which form of a whole secret is asked for.

use std::cmp::Reverse;

use http::header::{ACCEPT, HeaderMap, HeaderValue};

use crate::secret::Format;

/// A form of a whole secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As Vault sent it.
    Json,
    /// Rendered on demand.
    Other(Format),
}

/// In order of preference: what is named first wins among equals.
const FORMS: [(Form, &str, &[&str]); 4] = [
    (Form::Json, "json", &["application/json"]),
    (Form::Other(Format::Env), "env", &["text/plain"]),
    (
        Form::Other(Format::Yaml),
        "yaml",
        &["application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"],
    ),
    (Form::Other(Format::Properties), "properties", &["text/x-java-properties"]),
];

impl Form {
    /// The form that `?format=` names.
    pub(super) fn named(name: &str) -> Option<Self> {
        FORMS.iter().find(|(_, known, _)| *known == name).map(|(form, _, _)| *form)
    }

    /// The form that the `Accept` headers like best; JSON when there is none. `None` when they
    /// like none of ours.
    pub(super) fn accepted(headers: &HeaderMap) -> Option<Self> {
        if headers.get_all(ACCEPT).into_iter().all(HeaderValue::is_empty) {
            return Some(Self::Json);
        }
        let best = FORMS.iter().enumerate().filter_map(|(at, (form, _, types))| {
            let quality = types.iter().map(|media| quality(headers, media)).max()?;
            (quality > 0).then_some(((quality, Reverse(at)), *form))
        });
        best.max_by_key(|(rank, _)| *rank).map(|(_, form)| form)
    }

    /// The `Content-Type` header.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Other(Format::Yaml) => "application/yaml",
            Self::Other(Format::Properties) => "text/x-java-properties; charset=utf-8",
            Self::Other(Format::Env) => "text/plain; charset=utf-8",
        }
    }

    /// What its entity tag ends in, so that no two forms share one.
    pub(super) fn etag_suffix(self) -> &'static str {
        match self {
            Self::Json => "",
            Self::Other(Format::Yaml) => "-yaml",
            Self::Other(Format::Properties) => "-properties",
            Self::Other(Format::Env) => "-env",
        }
    }
}

/// The quality in thousandths that the most specific matching range gives to `media`.
fn quality(headers: &HeaderMap, media: &str) -> u16 {
    let kind = media.split('/').next().unwrap_or_default();
    let mut best = (0, 0);
    let values = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let range = parts.next().unwrap_or_default();
        let specificity = if range.eq_ignore_ascii_case(media) {
            3
        } else if range.strip_suffix("/*").is_some_and(|r| r.eq_ignore_ascii_case(kind)) {
            2
        } else if matches!(range, "*/*" | "*") {
            1
        } else {
            continue;
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let weight = weight.map_or(1000, thousandths);
        best = best.max((specificity, weight));
    }
    best.1
}

/// `0.5` as 500; what is no quality at all counts as zero.
fn thousandths(weight: &str) -> u16 {
    let weight: f32 = weight.parse().unwrap_or(0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0-1000"
    )]
    let weight = (weight.clamp(0.0, 1.0) * 1000.0) as u16;
    weight
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(accept: &str) -> Option<Form> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        Form::accepted(&headers)
    }

    #[test]
    fn no_wish_means_json() {
        assert_eq!(Form::accepted(&HeaderMap::new()), Some(Form::Json));
        for accept in ["", "*/*", "*", "application/*", "application/json, text/plain, */*"] {
            assert_eq!(accepted(accept), Some(Form::Json), "{accept}");
        }
        let java = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2";
        assert_eq!(accepted(java), Some(Form::Json));
        assert_eq!(
            accepted("text/plain, application/json, application/*+json, */*"),
            Some(Form::Json)
        );
    }

    #[test]
    fn wishes_are_weighed() {
        assert_eq!(accepted("application/yaml"), Some(Form::Other(Format::Yaml)));
        assert_eq!(accepted("text/x-java-properties"), Some(Form::Other(Format::Properties)));
        assert_eq!(accepted("text/plain"), Some(Form::Other(Format::Env)));
        let weighed = accepted("application/json;q=0.5, text/yaml;q=0.9");
        assert_eq!(weighed, Some(Form::Other(Format::Yaml)));
        let json_refused = accepted("*/*, application/json;q=0");
        assert_eq!(json_refused, Some(Form::Other(Format::Env)));
        assert_eq!(accepted("text/*"), Some(Form::Other(Format::Env)));
        assert_eq!(accepted("text/*, text/yaml"), Some(Form::Other(Format::Env)));
    }

    #[test]
    fn nothing_of_ours() {
        for accept in ["image/png", "application/json;q=0", "text/html", "application/json;q=x"] {
            assert_eq!(accepted(accept), None, "{accept}");
        }
    }
}
