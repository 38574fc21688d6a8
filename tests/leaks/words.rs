//! Words of Vault, or of whoever answers in its place: none is repeated.

use serde_json::json;
use sidekey::dev::{Fault, Matcher};

use crate::support::canary::{assert_clean, canary};
use crate::support::eventually;
use crate::support::sidecar::Builder;
use crate::support::vault::{Dev, TestVault};

fn faults() -> Vec<Fault> {
    let word = || canary("word");
    let mut faults: Vec<_> = [400, 401, 403, 405, 412, 429, 472, 473, 500, 502, 503]
        .iter()
        .map(|&status| Fault::errors(status, &[&word(), &word()]))
        .collect();
    faults.extend([
        Fault::body(200, "application/json", word()),
        Fault::body(200, "application/json", json!({ "data": word() }).to_string()),
        Fault::body(
            200,
            "application/json",
            json!({ "data": { "data": word() }, "lease_id": 1 }).to_string(),
        ),
        Fault::body(
            200,
            "application/json",
            format!("{{\"data\":{{\"{0}\":1,\"{0}\":2}}}}", word()),
        ),
        Fault::body(200, "application/json", format!("{{\"data\":{{\"{}\":\\ud800}}}}", word())),
        Fault::body(404, "text/html", word()),
        Fault::body(302, &word(), word()),
        Fault::body(418, &word(), word()),
        Fault::redirect(&format!("http://127.0.0.1:9/{}", word())),
        Fault::redirect(&format!("http://user:{}@127.0.0.1:9/v1/secret/data/app", word())),
        Fault::truncated_json(),
        Fault::reset_mid_body(),
    ]);
    faults
}

/// Lets every fault meet reads, and all other requests, of a sidecar that `look` asks.
pub fn of_vault(vault: &Dev, mut look: impl FnMut(&str) -> u16) {
    for (n, fault) in faults().into_iter().enumerate() {
        let matcher = if n % 2 == 0 { Matcher::any() } else { Matcher::prefix("secret/") };
        let script = vault.server.faults().on(matcher).respond(fault).forever();
        eventually("the fault", || {
            look("an answer while Vault fails");
            (script.hits() > 0).then_some(())
        });
        vault.server.faults().clear();
    }
    let script = vault.server.faults().on(Matcher::any()).respond(Fault::status(500)).forever();
    eventually("a refusal", || (look("a refusal") == 503).then_some(()));
    assert!(script.hits() > 0);
    vault.server.faults().clear();
}

#[test]
fn a_login_that_fails_repeats_nothing() {
    for fault in faults().into_iter().step_by(2) {
        let vault = Dev::start();
        let builder = Builder::serve().on_free_ports();
        let secret_id = builder.file("secret-id", &canary("secret-id"));
        let toml = format!(
            "[life]\nstartup_deadline = \"300ms\"\n[vault]\ntimeout = \"300ms\"\n\
             [auth]\nmethod = \"approle\"\nrole_id = \"01234567-{}\"\nsecret_id_file = \"{secret_id}\"\n\
             [secrets.db]\npath = \"secret/data/app\"\n",
            canary("role-id")
        );
        vault.server.faults().on(Matcher::any()).respond(fault).forever();
        let builder = builder.config(&toml).env("VAULT_ADDR", &vault.url());
        let mut sidecar = builder.env("SIDEKEY_TOKEN", &canary("caller")).spawn();
        let status = sidecar.wait().code();
        assert!(matches!(status, Some(69 | 77)), "{status:?} {}", sidecar.stderr());
        assert_clean("stderr", &sidecar.stderr());
    }
}
