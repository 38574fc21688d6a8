//! `sidekey get NAME[/FIELD]`: the value alone on stdout, everything else on stderr.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::sidecar::Address;
use crate::cli::GetArgs;
use crate::error::Error;
use crate::memory::take_env;

/// All but the characters that RFC 3986 leaves unreserved.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) fn run(args: &GetArgs) -> Result<(), Error> {
    let token = take_env("SIDEKEY_TOKEN");
    let address = Address::parse(&args.addr)?;
    let (name, field) = match args.what.split_once('/') {
        Some((name, field)) => (name, Some(field)),
        None => (args.what.as_str(), None),
    };
    if field.is_some() && args.format.is_some() {
        return Err(Error::Usage("--format is for a whole secret, not for one field".into()));
    }
    let mut path = format!("/secrets/{}", utf8_percent_encode(name, SEGMENT));
    if let Some(field) = field {
        path = format!("{path}/{}", utf8_percent_encode(field, SEGMENT));
    }
    if let Some(format) = &args.format {
        path = format!("{path}?format={format}");
    }
    let answer = super::runtime(1)?.block_on(address.get(&path, token.as_ref()))?;
    if !answer.status.is_success() {
        let hint = match (answer.status.as_u16(), &token) {
            (401, None) => {
                "\n  hint: set SIDEKEY_TOKEN, or ask over the unix socket with the right uid"
            }
            _ => "",
        };
        return Err(Error::Client(format!("{}: {}{hint}", args.what, answer.refusal())));
    }
    super::print(answer.body.expose())
}
