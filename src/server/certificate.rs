//! The handlers for certificates: one issuance in the form that is asked for.

use http::HeaderValue;
use serde::Serialize;

use super::Source;
use super::answer::{Answer, Label, tagged};
use super::guard::Admitted;
use super::head::Head;
use super::policy::Declared;
use super::problem::Problem;
use super::query;
use super::secret::{Entry, listing};
use super::wanted::{Fetched, Waiting, Wanted};
use crate::cache::Served;
use crate::certificate::Form;
use crate::config::NameKind;
use crate::lease::Handle;
use crate::secret::Secret;

/// All forms of an issuance carry one entity tag, so there is no suffix.
const NO_SUFFIX: &str = "";

/// That entity tag.
pub(super) fn of_issuance(issuance: &Secret) -> HeaderValue {
    tagged(issuance.etag(), NO_SUFFIX)
}

/// The whole issuance as JSON.
pub(super) async fn whole<S: Source>(
    source: &S,
    admitted: &Admitted<'_>,
    declared: &Declared,
    head: &Head<'_>,
    waiting: &Waiting<'_>,
) -> Result<Answer, Problem> {
    let etag = |issuance: &Secret| Some(of_issuance(issuance));
    let fetched = wanted(admitted)?.fetch(source, declared, head, etag, waiting).await?;
    let (served, tags) = match fetched {
        Fetched::Value(served, tags) => (served, tags),
        Fetched::JudgeAnew(etag) => return Ok(Answer::unchanged(etag)),
    };
    let label = label("application/json");
    Answer::value(&served, tags, label, Some(head), || Ok(served.secret.json()))
}

/// One form of it, in PEM.
pub(super) async fn form<S: Source>(
    source: &S,
    admitted: &Admitted<'_>,
    declared: &Declared,
    head: &Head<'_>,
    waiting: &Waiting<'_>,
) -> Result<Answer, Problem> {
    let name = admitted.field().unwrap_or_default();
    let form = Form::named(name).ok_or(Problem::UnknownForm)?;
    let etag = |issuance: &Secret| Some(of_issuance(issuance));
    let fetched = wanted(admitted)?.fetch(source, declared, head, etag, waiting).await?;
    let (served, tags) = match fetched {
        Fetched::Value(served, tags) => (served, tags),
        Fetched::JudgeAnew(etag) => return Ok(Answer::unchanged(etag)),
    };
    Answer::value(&served, tags, label(form.content_type()), Some(head), || {
        let (bytes, _) = served.secret.field(form.name()).ok_or(Problem::NotFound)?;
        Ok(bytes)
    })
}

/// Names, versions, serial numbers and ends of what the caller may read. Asks Vault for nothing.
pub(super) fn list<S: Source>(
    source: &S,
    admitted: &Admitted<'_>,
    head: &Head<'_>,
) -> Result<Answer, Problem> {
    let [] = query::parse(admitted.query(), []).map_err(Problem::Query)?;
    let readable = admitted.readable(Some(NameKind::Certificate));
    let certificates = readable.iter().map(|declared| {
        let served = source.peek(&declared.name);
        let (serial_number, expiration) = served.as_ref().map(life).unwrap_or_default();
        Listed { entry: Entry::of(declared, served), serial_number, expiration }
    });
    Ok(listing(&Listing { certificates: certificates.collect() }, head))
}

#[derive(Serialize)]
struct Listing<'a> {
    certificates: Vec<Listed<'a>>,
}

#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    entry: Entry<'a>,
    serial_number: Option<Box<str>>,
    /// Seconds since 1970.
    expiration: Option<u64>,
}

fn life(served: &Served) -> (Option<Box<str>>, Option<u64>) {
    let Some(lease) = served.secret.lease() else { return (None, None) };
    let serial = match &lease.handle {
        Handle::Certificate { serial, .. } => Some(serial.clone()),
        Handle::Lease(_) => None,
    };
    let since_1970 = |end: std::time::SystemTime| end.duration_since(std::time::UNIX_EPOCH).ok();
    (serial, lease.ends_at.and_then(since_1970).map(|since| since.as_secs()))
}

fn wanted(admitted: &Admitted<'_>) -> Result<Wanted, Problem> {
    let [min_ttl, wait] =
        query::parse(admitted.query(), ["min_ttl", "wait"]).map_err(Problem::Query)?;
    Wanted::parse(None, min_ttl.as_deref(), wait.as_deref())
}

pub(super) fn label(content_type: &'static str) -> Label {
    Label { content_type, etag_suffix: NO_SUFFIX, negotiated: false, field: None }
}
