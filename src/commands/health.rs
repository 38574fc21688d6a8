//! `sidekey health [--ready]`: a probe for images without a shell.

use super::sidecar::{Address, Question};
use crate::cli::HealthArgs;
use crate::error::Error;

pub(super) fn run(args: &HealthArgs) -> Result<(), Error> {
    let address = Address::parse(&args.addr)?;
    let path = if args.ready { "/readyz" } else { "/livez" };
    let question = Question { path, token: None, keystore_password: None, known: None };
    let answer = super::runtime(1)?.block_on(address.ask(&question))?;
    if answer.status.is_success() {
        return Ok(());
    }
    // The health listener carries no secret: its answer may be shown.
    let body = String::from_utf8_lossy(answer.body.expose());
    Err(Error::Client(format!("{path}: {} {}", answer.status.as_u16(), body.trim_end())))
}
