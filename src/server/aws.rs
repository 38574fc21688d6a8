//! The endpoint that the SDKs of AWS ask for credentials
//! (`AWS_CONTAINER_CREDENTIALS_FULL_URI`).

use std::time::{Duration, SystemTime};

use super::Source;
use super::answer::{Answer, Label};
use super::guard::Admitted;
use super::head::Head;
use super::policy::Declared;
use super::problem::Problem;
use super::query;
use super::wanted::Wanted;

/// What is said of the life of credentials that have no lease: after it they are asked for again.
const UNLEASED: Duration = Duration::from_mins(15);

const LABEL: Label =
    Label { content_type: "application/json", etag_suffix: "-aws", negotiated: false, field: None };

/// The secret as credentials, with the moment until which they are good.
pub(super) async fn credentials<S: Source>(
    source: &S,
    admitted: &Admitted<'_>,
    declared: &Declared,
    head: &Head<'_>,
) -> Result<Answer, Problem> {
    let [min_ttl] = query::parse(admitted.query(), ["min_ttl"]).map_err(Problem::Query)?;
    let wanted = Wanted::parse(None, min_ttl.as_deref(), None)?;
    let (served, tags) = wanted.fetch_now(source, declared).await?;
    Answer::value(&served, tags, LABEL, Some(head), || {
        let expires = SystemTime::now() + served.expires_in.unwrap_or(UNLEASED);
        let body = served.secret.aws_credentials(expires).map_err(Problem::Unrepresentable)?;
        Ok(body.into_bytes())
    })
}
