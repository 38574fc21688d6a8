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
    // Refusals of the local door, which knows no probes.
    if answer.is_of_sidecar && answer.status.is_client_error() {
        return Err(Error::Client(format!(
            "{address} is not where a sidecar tells its health: secrets are served there\n  \
             hint: the address is in the sidecar's log (\"health and metrics\"), and goes to --addr or SIDEKEY_HEALTH_ADDR"
        )));
    }
    // The health listener carries no secret: its answer may be shown.
    let body = String::from_utf8_lossy(answer.body.expose());
    Err(Error::Client(format!("{path}: {} {}", answer.status.as_u16(), body.trim_end())))
}
