//! The handlers: from an admitted request to an answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::digest;
use serde::Serialize;

use super::answer::{Answer, Label, Tags, quoted, tagged};
use super::guard::Admitted;
use super::head::Head;
use super::negotiate::Form;
use super::policy::Declared;
use super::problem::{Problem, QueryProblem};
use super::query;
use super::route::Action;
use super::wanted::{Fetched, Waiting, Wanted};
use super::{Source, aws, certificate, keystore};
use crate::cache::Served;
use crate::certificate::{KeystoreForm, KeystoreThread};
use crate::config::NameKind;
use crate::memory::{SecretBuf, SecretWriter, SharedBuf};
use crate::secret::{Kind, Secret};

/// Answers an admitted request.
pub(super) async fn answer<S: Source>(
    source: &S,
    keystores: &KeystoreThread,
    admitted: &Admitted<'_>,
    head: &Head<'_>,
    waiting: &Waiting<'_>,
) -> Result<Answer, Problem> {
    match (admitted.action(), admitted.declared()) {
        (Some(Action::List), _) => list(source, admitted, head),
        (Some(Action::Secret), Some(declared)) => {
            whole(source, admitted, declared, head, waiting).await
        }
        (Some(Action::Field), Some(declared)) => {
            field(source, admitted, declared, head, waiting).await
        }
        (Some(Action::AwsCredentials), Some(declared)) => {
            aws::credentials(source, admitted, declared, head).await
        }
        (Some(Action::Refresh | Action::Reissue), Some(declared)) => {
            refresh(source, admitted, declared).await
        }
        (Some(Action::ListCertificates), _) => certificate::list(source, admitted, head),
        (Some(Action::Certificate), Some(declared)) => {
            certificate::whole(source, admitted, declared, head, waiting).await
        }
        (Some(Action::Form), Some(declared)) => {
            match admitted.field().and_then(KeystoreForm::named) {
                None => certificate::form(source, admitted, declared, head, waiting).await,
                Some(form) => {
                    // Boxed: what it keeps is not to make every request's future larger.
                    Box::pin(keystore::answer(
                        keystores, source, admitted, declared, head, waiting, form,
                    ))
                    .await
                }
            }
        }
        _ => Err(Problem::NotFound),
    }
}

async fn whole<S: Source>(
    source: &S,
    admitted: &Admitted<'_>,
    declared: &Declared,
    head: &Head<'_>,
    waiting: &Waiting<'_>,
) -> Result<Answer, Problem> {
    let [format, version, min_ttl, wait] =
        query::parse(admitted.query(), ["format", "version", "min_ttl", "wait"])
            .map_err(Problem::Query)?;
    let form = match &format {
        Some(name) => Form::named(name).ok_or(Problem::NotAcceptable)?,
        None => Form::accepted(head.headers).ok_or(Problem::NotAcceptable)?,
    };
    let label = Label {
        content_type: form.content_type(),
        etag_suffix: form.etag_suffix(),
        negotiated: format.is_none(),
        field: None,
    };
    let wanted = Wanted::parse(version.as_deref(), min_ttl.as_deref(), wait.as_deref())?;
    let etag = |secret: &Secret| Some(tagged(secret.etag(), label.etag_suffix));
    let fetched = wanted.fetch(source, declared, head, etag, waiting).await?;
    let (served, tags) = match fetched {
        Fetched::Value(served, tags) => (served, tags),
        Fetched::JudgeAnew(etag) => return Ok(Answer::unchanged(etag)),
    };
    Answer::value(&served, tags, label, Some(head), || match form {
        Form::Json => Ok(served.secret.json()),
        Form::Other(format) => {
            let buffer = served.secret.formatted(format).map_err(Problem::Unrepresentable)?;
            Ok(buffer.into_bytes())
        }
    })
}

async fn field<S: Source>(
    source: &S,
    admitted: &Admitted<'_>,
    declared: &Declared,
    head: &Head<'_>,
    waiting: &Waiting<'_>,
) -> Result<Answer, Problem> {
    let [encoding, version, min_ttl, wait] =
        query::parse(admitted.query(), ["encoding", "version", "min_ttl", "wait"])
            .map_err(Problem::Query)?;
    let decode = match encoding.as_deref() {
        None => false,
        Some("base64") => true,
        Some(_) => return Err(Problem::Query(QueryProblem::BadValue("encoding"))),
    };
    let wanted = Wanted::parse(version.as_deref(), min_ttl.as_deref(), wait.as_deref())?;
    let name = admitted.field().unwrap_or_default();
    let etag = |secret: &Secret| secret.field_etag(name).map(|etag| tagged(etag, ""));
    let fetched = wanted.fetch(source, declared, head, etag, waiting).await?;
    let (served, tags) = match fetched {
        Fetched::Value(served, tags) => (served, tags),
        Fetched::JudgeAnew(etag) => return Ok(Answer::unchanged(etag)),
    };
    let (value, kind) = served.secret.field(name).ok_or(Problem::UnknownField)?;
    let (value, content_type) = match (decode, kind) {
        (true, Kind::Text) => (decode_base64(&value)?, "application/octet-stream"),
        (true, Kind::Scalar | Kind::Structure) => return Err(Problem::NotBase64),
        (false, Kind::Text | Kind::Scalar) => (value, "text/plain; charset=utf-8"),
        (false, Kind::Structure) => (value, "application/json"),
    };
    let field = served.secret.field_etag(name).copied();
    let label = Label { content_type, etag_suffix: "", negotiated: false, field };
    Answer::value(&served, tags, label, Some(head), || Ok(value))
}

/// Names, versions and freshness of what the caller may read. Asks Vault for nothing.
fn list<S: Source>(
    source: &S,
    admitted: &Admitted<'_>,
    head: &Head<'_>,
) -> Result<Answer, Problem> {
    let [] = query::parse(admitted.query(), []).map_err(Problem::Query)?;
    let readable = admitted.readable(Some(NameKind::Secret));
    let secrets = readable.iter().map(|declared| Entry::of(declared, source.peek(&declared.name)));
    Ok(listing(&Listing { secrets: secrets.collect() }, head))
}

/// A list without values, tagged by its content.
pub(super) fn listing(listing: &impl Serialize, head: &Head<'_>) -> Answer {
    let body = serde_json::to_vec(listing).unwrap_or_default();
    let tag = digest::digest(&digest::SHA256, &body);
    let etag = u128::from_be_bytes(tag.as_ref().first_chunk().copied().unwrap_or_default());
    Answer::document(body, quoted(format_args!("{etag:032x}")), head)
}

async fn refresh<S: Source>(
    source: &S,
    admitted: &Admitted<'_>,
    declared: &Declared,
) -> Result<Answer, Problem> {
    let [] = query::parse(admitted.query(), []).map_err(Problem::Query)?;
    declared.refreshes.take().map_err(Problem::RefreshedJustNow)?;
    let served = Box::pin(source.refresh(&declared.name)).await?;
    let tags = Tags::Latest(declared);
    let label =
        Label { content_type: "application/json", etag_suffix: "", negotiated: false, field: None };
    Answer::value(&served, tags, label, None, || {
        let entry = Entry::of(declared, Some(served.clone()));
        Ok(serde_json::to_vec(&entry).unwrap_or_default().into())
    })
}

#[derive(Serialize)]
struct Listing<'a> {
    secrets: Vec<Entry<'a>>,
}

/// What may be said of a secret without its value. Nothing but the name before its first fetch.
#[derive(Serialize)]
pub(super) struct Entry<'a> {
    name: &'a str,
    version: Option<u64>,
    freshness: Option<&'static str>,
}

impl<'a> Entry<'a> {
    pub(super) fn of(declared: &'a Declared, served: Option<Served>) -> Self {
        Self {
            name: declared.name.as_str(),
            version: served.as_ref().map(|served| served.version),
            freshness: served.map(|served| served.freshness.as_str()),
        }
    }
}

/// Decodes into a buffer of its own. Line breaks, as `base64` prints them, are skipped.
fn decode_base64(text: &[u8]) -> Result<Bytes, Problem> {
    let mut compact = SecretWriter::with_capacity(text.len());
    text.split(|c| matches!(c, b'\r' | b'\n')).for_each(|part| compact.push(part));
    let mut decoded = SecretBuf::zeroed(base64::decoded_len_estimate(compact.len()));
    let len = STANDARD
        .decode_slice(compact.expose(), decoded.expose_mut())
        .map_err(|_| Problem::NotBase64)?;
    Ok(SharedBuf::from(decoded).share(0..len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_may_be_wrapped_but_not_wrong() {
        assert_eq!(&decode_base64(b"AAH/\n+g==\n").unwrap()[..], [0, 1, 255, 250]);
        assert!(decode_base64(b"").unwrap().is_empty());
        for wrong in [&b"AAH"[..], b"A*==", b"hunter2!", b"AAH_", b"no base64"] {
            assert_eq!(decode_base64(wrong), Err(Problem::NotBase64));
        }
    }
}
