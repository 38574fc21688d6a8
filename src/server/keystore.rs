//! The handler for keystores: made for one answer, under the password of the request or a
//! generated one.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use tokio::time::Instant;

use super::Source;
use super::answer::Answer;
use super::certificate::{label, of_issuance};
use super::guard::Admitted;
use super::head::Head;
use super::policy::Declared;
use super::problem::{Problem, QueryProblem};
use super::query;
use super::wanted::{Fetched, Waiting, Wanted};
use crate::cache::ReadError;
use crate::certificate::{
    Container, KeystoreForm, KeystorePassword, KeystoreThread, Order, Profile,
};
use crate::secret::Secret;

/// In a request: the password to use. In an answer: the one that was generated.
const PASSWORD: HeaderName = HeaderName::from_static("sidekey-keystore-password");

/// A keystore of the latest issuance. Its entity tag is that of the issuance, whatever salts and
/// password it was made with; who has it already needs no password, and costs no derivation.
pub(super) async fn answer<S: Source>(
    keystores: &KeystoreThread,
    source: &S,
    admitted: &Admitted<'_>,
    declared: &Declared,
    head: &Head<'_>,
    waiting: &Waiting<'_>,
    form: KeystoreForm,
) -> Result<Answer, Problem> {
    let (profile, wanted) = asked(admitted, form.container)?;
    let password = password(head)?;
    let etag = |issuance: &Secret| Some(of_issuance(issuance));
    let fetched = wanted.fetch(source, declared, head, etag, waiting).await?;
    let (served, tags) = match fetched {
        Fetched::Value(served, tags) => (served, tags),
        Fetched::JudgeAnew(etag) => return Ok(Answer::unchanged(etag)),
    };
    let label = label(form.content_type());
    if head.knows(&of_issuance(&served.secret)) {
        return Answer::value(&served, tags, label, Some(head), || Ok(Bytes::new()));
    }
    let asked = Instant::now();
    let (secret, alias) = (Arc::clone(&served.secret), declared.name.as_str().into());
    let made = keystores.make(Order { secret, alias, form, profile, password }).await?;
    if served.expires_in.is_some_and(|left| asked.elapsed() >= left) {
        return Err(ReadError::Expired.into());
    }
    let mut answer = Answer::value(&served, tags, label, None, || Ok(made.keystore.into_bytes()))?;
    if let Some(generated) = made.generated {
        // A generated one is made of letters, digits, `-` and `_`.
        let mut value =
            HeaderValue::from_bytes(generated.expose()).map_err(|_| Problem::KeystoreFailed)?;
        value.set_sensitive(true);
        answer.response.headers_mut().insert(PASSWORD, value);
    }
    Ok(answer)
}

/// A JKS has no profiles.
fn asked(admitted: &Admitted<'_>, container: Container) -> Result<(Profile, Wanted), Problem> {
    let (profile, min_ttl, wait) = match container {
        Container::Pkcs12 => {
            let [profile, min_ttl, wait] =
                query::parse(admitted.query(), ["profile", "min_ttl", "wait"])
                    .map_err(Problem::Query)?;
            let bad = Problem::Query(QueryProblem::BadValue("profile"));
            let profile = profile.map(|name| Profile::named(&name).ok_or(bad)).transpose()?;
            (profile.unwrap_or_default(), min_ttl, wait)
        }
        Container::Jks => {
            let [min_ttl, wait] =
                query::parse(admitted.query(), ["min_ttl", "wait"]).map_err(Problem::Query)?;
            (Profile::default(), min_ttl, wait)
        }
    };
    Ok((profile, Wanted::parse(None, min_ttl.as_deref(), wait.as_deref())?))
}

/// The caller's password; refused when it stands there twice.
fn password(head: &Head<'_>) -> Result<Option<KeystorePassword>, Problem> {
    let mut given = head.headers.get_all(PASSWORD).into_iter();
    match (given.next(), given.next()) {
        (None, _) => Ok(None),
        (Some(given), None) => KeystorePassword::parse(given.as_bytes())
            .map(Some)
            .map_err(|_| Problem::KeystorePasswordRefused),
        (Some(_), Some(_)) => Err(Problem::KeystorePasswordRefused),
    }
}
