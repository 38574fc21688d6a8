//! Exit statuses, and what is said with them.

use std::net::TcpListener;

use serde_json::json;

use crate::support::canary::{self, canary};
use crate::support::sidecar::{Builder, binary};
use crate::support::vault::{Dev, TestVault, call};

/// Status, stdout and stderr.
pub fn run(args: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = binary();
    command.args(args).envs(environment.iter().copied());
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    canary::assert_clean("stderr", &err);
    (output.status.code().unwrap(), out, err)
}

#[test]
fn usage_is_64_and_on_stderr() {
    for args in [
        &["serve", "--no-such-flag"][..],
        &["no-such-command"],
        &["get"],
        &["get", "db/field", "--format", "json"],
        &["get", "db", "--format", "xml"],
        &["get", "db", "--addr", "https://sidecar"],
        &["serve", "--auth", "password"],
        &["completions", "no-such-shell"],
        &["--log-level", "loud", "serve"],
        &["dev", "--secret", "no-value"],
        &[],
    ] {
        let (status, out, err) = run(args, &[]);
        assert_eq!((status, out.as_str()), (64, ""), "{args:?}: {err}");
        assert!(!err.is_empty(), "{args:?}");
    }
}

/// As a compose file's `${X:-}` leaves them.
#[test]
fn empty_variables_count_as_unset() {
    let empty = [
        ("SIDEKEY_CONFIG", ""),
        ("SIDEKEY_LOG_LEVEL", ""),
        ("SIDEKEY_LOG_FORMAT", ""),
        ("SIDEKEY_ADDR", ""),
        ("SIDEKEY_HEALTH_ADDR", ""),
        ("VAULT_TOKEN", "given"),
        ("SIDEKEY_TOKEN", "caller-of-this-test"),
    ];
    let (status, out, err) = run(&["check", "--secret", "db=secret/data/app"], &empty);
    assert_eq!(status, 0, "{out}{err}");
    // Whoever listens there or does not: it knows whom to ask.
    for args in [&["get", "db"][..], &["health"]] {
        let (status, _, err) = run(args, &empty);
        assert_ne!(status, 64, "{args:?}: {err}");
    }
    let (status, _, err) = run(&["health"], &[("SIDEKEY_HEALTH_ADDR", " ")]);
    assert_eq!(status, 64, "{err}");
}

#[test]
fn help_and_version_are_0_and_on_stdout() {
    for args in [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["--version"],
        &["serve", "--help"],
        &["dev", "--help"],
        &["get", "--help"],
        &["check", "--help"],
        &["health", "--help"],
        &["completions", "--help"],
        &["help", "serve"],
    ] {
        let (status, out, err) = run(args, &[("SIDEKEY_TOKEN", &canary("caller"))]);
        assert_eq!((status, err.as_str()), (0, ""), "{args:?}");
        assert!(!out.is_empty(), "{args:?}");
        canary::assert_clean("help", &out);
    }
    let (_, out, _) = run(&["--version"], &[]);
    assert_eq!(out, format!("sidekey {}\n", env!("CARGO_PKG_VERSION")));
    let (_, out, _) = run(&["--help"], &[]);
    for word in ["serve", "dev", "get", "check", "health", "completions", "64", "69", "71", "77"] {
        assert!(out.contains(word), "{word} is not in the help");
    }
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let (status, out, err) = run(&["completions", shell], &[]);
        assert_eq!((status, err.as_str()), (0, ""));
        for word in ["sidekey", "serve", "check", "online", "health-listen", "completions"] {
            assert!(out.contains(word), "{word} is not in the completions for {shell}");
        }
    }
    let (_, script, _) = run(&["completions", "bash"], &[]);
    let parsed = std::process::Command::new("bash").args(["-nc", &script]).status().unwrap();
    assert!(parsed.success());
}

#[test]
fn a_taken_port_is_71_and_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let (root, caller) = (canary("root"), canary("caller"));
    let environment =
        [("VAULT_ADDR", "http://127.0.0.1:9"), ("VAULT_TOKEN", &root), ("SIDEKEY_TOKEN", &caller)];
    let serve = ["serve", "--secret", "db=secret/data/app"];
    let flags = [&serve[..], &["--listen", &addr, "--health-listen", "off"]].concat();
    let (status, out, err) = run(&flags, &environment);
    assert_eq!((status, out.as_str()), (71, ""), "{err}");
    let said = format!("error: cannot listen on {addr} (--listen or [listen] tcp names another");
    assert!(err.contains(&said) && err.contains("\n  caused by: "), "{err}");

    let flags = [&serve[..], &["--listen", "127.0.0.1:0", "--health-listen", &addr]].concat();
    assert_eq!(run(&flags, &environment).0, 71);
}

#[test]
fn a_refused_login_is_77_and_at_once() {
    let vault = Dev::start();
    let (root, caller) = (canary("wrong"), canary("caller"));
    let mut sidecar = Builder::serve()
        .args(&["--secret", "db=secret/data/app"])
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &root)
        .env("SIDEKEY_TOKEN", &caller)
        .spawn();
    assert_eq!(sidecar.wait().code(), Some(77));
    let said = sidecar.stderr();
    assert!(said.contains("error: Vault refused the login: method token"), "{said}");
    assert!(said.contains("permission denied (403)"), "{said}");

    vault.set_up("POST", "sys/auth/approle", json!({ "type": "approle" }));
    let builder = Builder::serve().on_free_ports();
    let secret_id = builder.file("secret-id", &canary("secret-id"));
    let toml = format!(
        "[auth]\nmethod = \"approle\"\nrole_id = \"0e4bb8f3-unknown\"\nsecret_id_file = \"{secret_id}\"\n\
         [secrets.db]\npath = \"secret/data/app\"\n"
    );
    let builder = builder.config(&toml).env("VAULT_ADDR", &vault.url());
    let mut sidecar = builder.env("SIDEKEY_TOKEN", &caller).spawn();
    assert_eq!(sidecar.wait().code(), Some(77));
    let said = sidecar.stderr();
    assert!(said.contains("role-id is unknown"), "{said}");
    assert!(said.contains("0e4bb8f3…") && !said.contains("unknown\""), "{said}");
}

#[test]
fn configuration_is_78_with_every_problem() {
    let toml = "[vault]\naddress = \"ftp://vault\"\n[listen]\ntcp = \"0.0.0.0:7433\"\n\
        [secrets.db]\npath = \"secret/data/db\"\nrefresh = \"soon\"\n\
        [secrets.web]\n[[callers]]\nname = \"app\"\nuid = [1000]\nallow = [\"dbb\"]\n\
        [limit]\n";
    let mut sidecar = Builder::serve().config(toml).spawn();
    assert_eq!(sidecar.wait().code(), Some(78));
    let said = sidecar.stderr();
    for problem in [
        "vault.address: ",
        "listen.tcp: ",
        "secrets.db.refresh: ",
        "secrets.web.path: ",
        "dbb",
        "did you mean `db`?",
        "limit",
        "sidekey.toml:4: ",
    ] {
        assert!(said.contains(problem), "{problem:?} is not in\n{said}");
    }
    let (status, _, err) = run(&["serve", "--config", "/no/such/file"], &[]);
    assert_eq!(status, 78, "{err}");
    assert!(err.contains("/no/such/file"), "{err}");
    let (status, _, err) = run(&["serve", "--secret", "db=secret/data/app"], &[]);
    assert_eq!(status, 78, "{err}");
    assert!(err.contains("[[callers]]") && err.contains("SIDEKEY_TOKEN"), "{err}");
}

#[test]
fn a_trust_anchor_that_cannot_be_used_is_78() {
    let vault = Dev::start();
    let builder = Builder::serve().args(&["--secret", "db=secret/data/app"]).on_free_ports();
    let ca = builder.file("ca.pem", "no certificate");
    let mut sidecar = builder
        .env("VAULT_ADDR", &vault.url().replace("http:", "https:"))
        .env("VAULT_CACERT", &ca)
        .env("VAULT_TOKEN", &vault.root_token())
        .env("SIDEKEY_TOKEN", &canary("caller"))
        .spawn();
    assert_eq!(sidecar.wait().code(), Some(78));
    assert!(sidecar.stderr().contains("ca.pem"), "{}", sidecar.stderr());
}

/// A token that Vault has revoked is refused as one that never was.
#[test]
fn a_revoked_token_is_77() {
    let vault = Dev::start();
    let made = vault.set_up("POST", "auth/token/create", json!({}));
    let revoked = made["auth"]["client_token"].as_str().unwrap().to_owned();
    call(&vault.url(), "POST", "auth/token/revoke-self", Some(&revoked), &[], json!({}));
    let (status, _, err) = run(
        &["check", "--online", "--secret", "db=secret/data/app"],
        &[
            ("VAULT_ADDR", &vault.url()),
            ("VAULT_TOKEN", &revoked),
            ("SIDEKEY_TOKEN", &canary("caller")),
        ],
    );
    assert_eq!(status, 77, "{err}");
    assert!(!err.contains(&revoked), "{err}");
}
