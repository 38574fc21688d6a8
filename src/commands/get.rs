//! `sidekey get NAME[/FIELD]`: the value alone on stdout, everything else on stderr.

use std::io::IsTerminal as _;
use std::time::Duration;

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::{Instant, sleep};

use super::sidecar::{Address, Answer, Question};
use crate::certificate::{Container, KeystoreForm, KeystorePassword};
use crate::cli::GetArgs;
use crate::error::Error;
use crate::memory::{SecretBuf, take_env, take_token};

/// All but the characters that RFC 3986 leaves unreserved.
pub(super) const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How long the sidecar holds one question of `--watch`.
const WATCH: Duration = Duration::from_secs(25);

/// Between attempts of `--wait` and `--watch`, unless the sidecar names another time.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) fn run(args: &GetArgs) -> Result<(), Error> {
    let token = take_token("SIDEKEY_TOKEN");
    let keystore_password = keystore_password(args)?;
    let address = Address::parse_local(&args.addr)?;
    let GetArgs { what, certificate, .. } = args;
    let asker = Asker { address, token, keystore_password, what, certificate: *certificate };
    let under = if args.certificate { "/certificates" } else { "/secrets" };
    let mut path = format!("{under}{}", path(&args.what, args.format.as_deref())?);
    if let Some(profile) = &args.profile {
        path = format!("{path}?profile={profile}");
    }
    super::runtime(1)?.block_on(async {
        let first = asker.ask_patiently(&path, None, Some(args.wait)).await?;
        print(&first, args.watch)?;
        if args.watch { asker.watch(&path, first).await } else { Ok(()) }
    })
}

fn path(what: &str, format: Option<&str>) -> Result<String, Error> {
    let (name, field) = match what.split_once('/') {
        Some((name, field)) => (name, Some(field)),
        None => (what, None),
    };
    let encoded = utf8_percent_encode(name, SEGMENT);
    match (field, format) {
        _ if name.is_empty() || field == Some("") => {
            Err(Error::Usage(format!("{what:?}: expected NAME or NAME/FIELD")))
        }
        (Some(_), Some(_)) => {
            Err(Error::Usage("--format is for a whole secret, not for one field".into()))
        }
        (Some(field), None) => Ok(format!("/{encoded}/{}", utf8_percent_encode(field, SEGMENT))),
        (None, Some(format)) => Ok(format!("/{encoded}?format={format}")),
        (None, None) => Ok(format!("/{encoded}")),
    }
}

/// The password for a keystore; `None` for everything else.
fn keystore_password(args: &GetArgs) -> Result<Option<KeystorePassword>, Error> {
    let usage = |text: &str| Err(Error::Usage(text.into()));
    let given = take_env("SIDEKEY_KEYSTORE_PASSWORD");
    let form = args.what.split_once('/').and_then(|(_, form)| KeystoreForm::named(form));
    let form = form.filter(|_| args.certificate);
    if args.profile.is_some() && form.is_none_or(|form| form.container != Container::Pkcs12) {
        return usage("--profile is for keystore.p12 and truststore.p12");
    }
    match (form, given) {
        (None, _) => Ok(None),
        (Some(_), _) if args.watch => {
            usage("--watch prints one value after another, and keystores have no end of their own")
        }
        (Some(_), None) => usage(
            "a keystore needs a password: set SIDEKEY_KEYSTORE_PASSWORD to one of your choice",
        ),
        (Some(_), Some(given)) => KeystorePassword::parse(given.expose())
            .map(Some)
            .map_err(|refused| Error::Usage(format!("SIDEKEY_KEYSTORE_PASSWORD: {refused}"))),
    }
}

/// A pipe gets the bytes as they are. A line is ended for people, and for whoever reads one
/// value after another.
fn print(answer: &Answer, end_line: bool) -> Result<(), Error> {
    super::print(answer.body.expose())?;
    let ended = answer.body.expose().ends_with(b"\n");
    if !ended && (end_line || std::io::stdout().is_terminal()) {
        super::print(b"\n")?;
    }
    Ok(())
}

struct Asker<'a> {
    address: Address,
    token: Option<SecretBuf>,
    keystore_password: Option<KeystorePassword>,
    what: &'a str,
    certificate: bool,
}

impl Asker<'_> {
    /// Asks until there is an answer, for at most `patience` (or without end) where the sidecar
    /// is not there or has no value yet; says on stderr what it waits for.
    async fn ask_patiently(
        &self,
        path: &str,
        known: Option<&HeaderValue>,
        patience: Option<Duration>,
    ) -> Result<Answer, Error> {
        let begin = Instant::now();
        let mut said = None;
        loop {
            let question = Question {
                path,
                token: self.token.as_ref(),
                keystore_password: self.keystore_password.as_ref(),
                known,
            };
            let (error, pause) = match self.address.ask(&question).await {
                Ok(answer) if !answer.is_of_sidecar => return Err(self.stranger(&answer)),
                Ok(answer) if answer.status.is_success() || answer.status == 304 => {
                    return Ok(answer);
                }
                Ok(answer) => {
                    let error = self.refused(&answer);
                    // Busy, or nothing to serve yet; all else stays as it is.
                    if answer.status != 503 && answer.status != 429 {
                        return Err(error);
                    }
                    (error, answer.retry_after.unwrap_or(PAUSE))
                }
                Err(error @ Error::Client(_)) => (error, PAUSE),
                Err(error) => return Err(error),
            };
            let left = patience.map(|patience| patience.saturating_sub(begin.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(error);
            }
            let reason = error.to_string();
            if said.as_ref() != Some(&reason) {
                let seconds = |left: Duration| left.as_millis().div_ceil(1000);
                let limit = left.map(|left| format!(" up to {} s", seconds(left)));
                super::note(&format!("waiting{}: {reason}", limit.unwrap_or_default()));
                said = Some(reason);
            }
            let pause = pause.clamp(PAUSE, Duration::from_secs(5));
            sleep(left.map_or(pause, |left| pause.min(left))).await;
        }
    }

    /// Prints every change, until it is stopped or refused.
    async fn watch(&self, path: &str, first: Answer) -> Result<(), Error> {
        let mut last = first;
        let joint = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{joint}wait={}s", WATCH.as_secs());
        loop {
            // However long Vault or the sidecar is away: whoever watches wants the next value.
            let answer = self.ask_patiently(&path, last.etag.as_ref(), None).await?;
            if !answer.status.is_success() {
                continue;
            }
            // A sidecar that was started anew has other entity tags for the same content.
            if !answer.body.constant_time_eq(last.body.expose()) {
                print(&answer, true)?;
            }
            last = answer;
        }
    }

    /// Something else than a local door: what it says is shown to nobody as a value.
    fn stranger(&self, answer: &Answer) -> Error {
        let Self { address, .. } = self;
        Error::Client(format!(
            "{address} is not where a sidecar serves secrets: whoever listens there answered {}\n  \
             hint: the address is in the sidecar's log (\"listening\"), and goes to --addr or SIDEKEY_ADDR",
            answer.status
        ))
    }

    fn refused(&self, answer: &Answer) -> Error {
        let is_unknown = || answer.problem().is_some_and(|problem| problem.code == "unknown_name");
        let names_form = || [".pem", ".p12", ".jks"].iter().any(|end| self.what.ends_with(end));
        let hint = match (answer.status.as_u16(), &self.token) {
            (401, None) => {
                "\n  hint: set SIDEKEY_TOKEN, or ask over the unix socket with the right uid"
            }
            (401, Some(_)) => "\n  hint: SIDEKEY_TOKEN is not the token of a caller rule there",
            (404, _) if !self.certificate && names_form() && is_unknown() => {
                "\n  hint: --certificate asks for a certificate"
            }
            _ => "",
        };
        Error::Client(format!("{}: {}{hint}", self.what, answer.refusal()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_for_a_pkcs12() {
        use clap::Parser as _;
        for what in ["web/keystore.jks", "web/key.pem", "web"] {
            let args = ["sidekey", "get", what, "--certificate", "--profile", "legacy"];
            let cli = crate::cli::Cli::try_parse_from(args).unwrap();
            let crate::cli::Command::Get(args) = cli.command else { panic!("another command") };
            assert!(keystore_password(&args).is_err(), "{what}");
        }
        let args = ["sidekey", "get", "web/keystore.p12", "--profile", "legacy"];
        assert!(crate::cli::Cli::try_parse_from(args).is_err(), "without --certificate");
    }

    #[test]
    fn names_and_fields_are_one_segment_each() {
        assert_eq!(path("db", None).unwrap(), "/db");
        assert_eq!(path("db/a/b c", None).unwrap(), "/db/a%2Fb%20c");
        assert_eq!(path("db", Some("env")).unwrap(), "/db?format=env");
        for wrong in ["", "/", "/user", "db/"] {
            assert!(path(wrong, None).is_err(), "{wrong:?}");
        }
        assert!(path("db/user", Some("env")).is_err());
    }
}
