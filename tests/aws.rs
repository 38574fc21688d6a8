//! The SDK of AWS for Python asks for credentials, as it asks a container's endpoint.
//!
//! Without boto3 (Debian: `python3-boto3`) it shows as ignored, and with `CI=true` it fails.
#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]

mod support;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use serde_json::json;
use support::canary::canary;
use support::eventually;
use support::programs::python_with;
use support::sidecar::{Builder, Sidecar, clean};
use support::trials::{BOTO3, trial};
use support::vault::{Dev, TestVault as _};

/// Prints what the SDK signs with, and, told so by a line of input, what it signs with later.
const CLIENT: &str = r#"
import sys, boto3
session = boto3.Session(region_name="eu-central-1")
credentials = session.get_credentials()
for _ in sys.stdin:
    frozen = credentials.get_frozen_credentials()
    print(credentials.method, frozen.access_key, frozen.secret_key, frozen.token, flush=True)
"#;

fn main() -> ExitCode {
    let trial = trial("boto3_signs_with_what_vault_has", &[BOTO3], signs);
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit_code()
}

/// The SDK with an environment of our making, asked once for each of `lines`.
fn signed_with(sidecar: &Sidecar, authorization: &str, name: &str) -> String {
    let uri = format!("http://{}/aws/{name}", sidecar.addr());
    let mut command = clean(python_with("boto3").unwrap());
    let mut child = command
        .args(["-c", CLIENT])
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", authorization)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", "/nonexistent")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Its end is the end of input.
    let asked = std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"\n");
    let output = child.wait_with_output().unwrap();
    drop(asked);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { String::from_utf8(output.stdout).unwrap() } else { complaint }
}

fn signs() {
    let vault = Dev::start();
    let token = canary("caller");
    let put = |key: &str, sts: &str| {
        let fields =
            json!({ "access_key": "AKIDEXAMPLE", "secret_key": key, "security_token": sts });
        vault.put("cloud", fields);
    };
    let (first, sts) = (canary("aws"), canary("sts"));
    put(&first, &sts);
    vault.put("other", json!({ "password": canary("other") }));
    let builder = Builder::serve().on_free_ports();
    let file = builder.file("token", &token);
    let config = format!(
        "[vault]\naddress = '{}'\n[secrets.cloud]\npath = 'secret/data/cloud'\n\
         [secrets.user]\npath = 'secret/data/user'\nrequired = false\n\
         [secrets.other]\npath = 'secret/data/other'\n[[callers]]\nname = 'app'\n\
         token_file = '{file}'\nallow = ['cloud', 'user', 'other']\n",
        vault.url()
    );
    let sidecar = builder.config(&config).env("VAULT_TOKEN", &vault.root_token()).start();
    let bearer = format!("Bearer {token}");
    let said = signed_with(&sidecar, &bearer, "cloud");
    assert_eq!(said, format!("container-role AKIDEXAMPLE {first} {sts}\n"));

    // The next session signs with what is there by then.
    let second = canary("aws");
    put(&second, &sts);
    let headers = [("Authorization", bearer.as_str())];
    eventually("the new key", || {
        let path = "/secrets/cloud/refresh";
        let answer = support::client::request(sidecar.addr(), "POST", path, &headers);
        (answer.status == 200).then_some(())
    });
    let said = signed_with(&sidecar, &bearer, "cloud");
    assert_eq!(said, format!("container-role AKIDEXAMPLE {second} {sts}\n"));

    // A user's keys have no token.
    vault.put("user", json!({ "aws_access_key_id": "AKIDUSER", "aws_secret_access_key": second }));
    let said = signed_with(&sidecar, &bearer, "user");
    assert_eq!(said, format!("container-role AKIDUSER {second} None\n"));

    // Refusals are errors of the SDK, and show nothing.
    for (authorization, name, status) in
        [("Bearer guess", "cloud", "401"), (&bearer, "other", "422")]
    {
        let said = signed_with(&sidecar, authorization, name);
        assert!(said.contains("CredentialRetrievalError") && said.contains(status), "{said}");
        support::canary::assert_clean("the SDK's complaint", &said);
    }
    sidecar.stop();
}
