//! `sidekey check`.

use serde_json::json;

use crate::exit::run;
use crate::support::canary::{self, canary};
use crate::support::sidecar::Builder;
use crate::support::vault::{Dev, TestVault};

/// Writes `toml` and checks it.
fn check(toml: &str, flags: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidekey.toml");
    std::fs::write(&file, toml).unwrap();
    let args = [&["check", "--config", file.to_str().unwrap()], flags].concat();
    let (status, out, err) = run(&args, environment);
    canary::assert_clean("stdout", &out);
    (status, out, err)
}

#[test]
fn many_problems_at_once() {
    let toml = r#"
        [vault]
        adress = "https://vault:8200"
        timeout = 5
        max_requests_per_second = 0
        [auth]
        method = "kubernets"
        [listen]
        tcp = ["127.0.0.1:7433", "10.0.0.1:1"]
        unix = "/run/sidekey"
        [secrets."no name"]
        path = "secret/data/app"
        [secrets.db]
        path = "secret/../data"
        max_stale = "1 fortnight"
        [[callers]]
        name = "app"
        allow = ["*"]
        [limits]
        cache_bytes = "much"
    "#;
    let (status, out, err) = check(toml, &[], &[]);
    assert_eq!((status, out.as_str()), (78, ""), "{err}");
    for problem in [
        "did you mean `address`?",
        "vault.timeout",
        "vault.max_requests_per_second",
        "auth.method",
        "10.0.0.1:1 can be reached from other hosts",
        "listen.unix",
        "\"no name\" cannot be a name",
        "secrets.db.path",
        "secrets.db.max_stale",
        "limits.cache_bytes",
        "callers[0]",
    ] {
        assert!(err.contains(problem), "{problem:?} is not in\n{err}");
    }
    assert!(err.matches("hint: ").count() >= 8, "{err}");
}

#[test]
fn a_good_configuration_is_summed_up() {
    let toml = "[secrets.db]\npath = \"secret/data/app\"\n";
    let (root, caller) = (canary("root"), canary("caller"));
    let environment = [("VAULT_TOKEN", root.as_str()), ("SIDEKEY_TOKEN", caller.as_str())];
    let (status, out, err) = check(toml, &[], &environment);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("configuration: ok: 1 secret, 1 caller"), "{out}");
    assert!(out.contains("process: not dumpable: in force"), "{out}");
}

#[test]
fn everything_that_is_declared_is_counted() {
    let toml = "
        [vault]
        address = 'http://127.0.0.1:8200'
        [secrets.db]
        path = 'secret/data/app'
        [secrets.api]
        path = 'secret/data/api'
        [adapters.ambassador.api]
        listen = '127.0.0.1:9001'
        protocol = 'http'
        destination = 'http://127.0.0.1:9002'
        secret = 'api'
        credential = 'bearer'
        allow = ['app']
        [[notify]]
        url = 'http://127.0.0.1:9003/rotated'
        [[callers]]
        name = 'app'
        uid = 10001
        allow = []
    ";
    let root = canary("root");
    let environment = [("VAULT_TOKEN", root.as_str())];
    let (status, out, err) = check(toml, &[], &environment);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("vault: http://127.0.0.1:8200, login by token\n"), "{out}");
    let counts = "configuration: ok: 2 secrets, 1 caller, 1 notify rule, 1 ambassador\n";
    assert!(out.contains(counts), "{out}");

    // As `exec` uses it.
    let (status, out, err) = check(toml, &["--exec"], &environment);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("configuration: ok: 2 secrets\n"), "{out}");
    let unused = "warning: `sidekey exec` does not use [[callers]], [[notify]], [adapters]\n";
    assert!(out.contains(unused), "{out}");
    assert!(!out.contains("sandbox"), "{out}");
    let alone = "[secrets.db]\npath = 'secret/data/app'\n";
    let (status, out, err) = check(alone, &["--exec"], &environment);
    assert_eq!(status, 0, "{err}");
    assert!(out.ends_with("login by token\nconfiguration: ok: 1 secret\n"), "{out}");
    let (status, _, err) = check(alone, &[], &environment);
    assert_eq!(status, 78);
    assert!(err.contains("nobody may ask for a secret") && err.contains("check --exec"), "{err}");
}

#[test]
fn online_finds_fields_that_an_ambassador_misses() {
    let vault = Dev::start();
    vault.put("app", json!({ "username": canary("user"), "password": "" }));
    let (root, url) = (vault.root_token(), vault.url());
    let environment = [("VAULT_ADDR", url.as_str()), ("VAULT_TOKEN", root.as_str())];
    let ambassador = |name: &str, more: &str| {
        format!(
            "[adapters.ambassador.{name}]\nlisten = '127.0.0.1:0'\nsecret = 'app'\nallow = ['app']\n\
             destination = '{}'\n{more}\n",
            if name == "db" { "127.0.0.1:1" } else { "http://127.0.0.1:1" }
        )
    };
    let toml = format!(
        "[secrets.app]\npath = 'secret/data/app'\n\
         [[callers]]\nname = 'app'\nuid = 10001\nallow = []\n{}{}{}",
        ambassador("api", "protocol = 'http'\ncredential = 'bearer'"),
        ambassador("db", "protocol = 'postgres'"),
        ambassador("own", "protocol = 'http'\ncredential = 'bearer'\nfield = 'username'"),
    );
    let (status, out, err) = check(&toml, &["--online"], &environment);
    assert_eq!(status, 1, "{out}{err}");
    for line in [
        "app: ok: 2 fields, version 1\n",
        "adapters.ambassador.api: failed: the secret has no field \"token\"\n",
        "adapters.ambassador.db: failed: \"password\" is empty\n",
    ] {
        assert!(out.contains(line), "{line:?} is not in\n{out}");
    }
    assert!(!out.contains("ambassador.own"), "{out}");
    assert!(err.contains("a secret lacks what an ambassador needs of it"), "{err}");
}

#[test]
fn online_names_outcomes_and_no_values() {
    let vault = Dev::start();
    vault.put("app", json!({ "user": canary("user"), "password": canary("password") }));
    vault.put("deleted", json!({ "password": canary("deleted") }));
    vault.set_up("DELETE", "secret/data/deleted", serde_json::Value::Null);
    let (root, caller, url) = (vault.root_token(), canary("caller"), vault.url());
    let environment = [
        ("VAULT_ADDR", url.as_str()),
        ("VAULT_TOKEN", root.as_str()),
        ("SIDEKEY_TOKEN", caller.as_str()),
    ];
    let good = "[secrets.db]\npath = \"secret/data/app\"\n";
    let (status, out, err) = check(good, &["--online"], &environment);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("login: ok: method token\n"), "{out}");
    assert!(out.contains("db: ok: 2 fields, version 1\n"), "{out}");

    let bad = format!(
        "{good}[secrets.gone]\npath = \"secret/data/gone\"\n\
         [secrets.deleted]\npath = \"secret/data/deleted\"\n\
         [secrets.kv]\npath = \"secret/app\"\n[secrets.nowhere]\npath = \"nowhere/app\"\n"
    );
    let (status, out, err) = check(&bad, &["--online"], &environment);
    assert_eq!(status, 1, "{err}");
    for line in [
        "db: ok: 2 fields, version 1\n",
        "gone: failed: secret/data/gone: nothing is stored there (404)\n",
        "deleted: failed: secret/data/deleted: the version was deleted\n",
        "kv: failed: secret/app: this mount is KV version 2",
        "nowhere: failed: nowhere/app: nothing is mounted there (404)\n",
    ] {
        assert!(out.contains(line), "{line:?} is not in\n{out}");
    }
    assert!(err.contains("4 of the secrets cannot be read"), "{err}");
}

#[test]
fn online_issues_certificates_and_hands_them_back() {
    let vault = Dev::start();
    vault.pki(json!({ "common_name": "root", "ttl": "48h" }));
    let role = json!({ "allowed_domains": "example.io", "allow_subdomains": true,
        "key_type": "ec", "max_ttl": "1h" });
    vault.set_up("POST", "pki/roles/web", role);
    let (root, caller, url) = (vault.root_token(), canary("caller"), vault.url());
    let environment = [
        ("VAULT_ADDR", url.as_str()),
        ("VAULT_TOKEN", root.as_str()),
        ("SIDEKEY_TOKEN", caller.as_str()),
    ];
    let toml = "[certificates.web]\nrole = \"web\"\ncommon_name = \"a.example.io\"\n\
                [certificates.other]\nrole = \"web\"\ncommon_name = \"a.example.com\"\n";
    let (status, out, err) = check(toml, &["--online"], &environment);
    assert_eq!(status, 1, "{err}");
    assert!(out.contains("configuration: ok: 0 secrets, 2 certificates, 1 caller"), "{out}");
    assert!(out.contains("web: ok: certificate, lives 3"), "{out}");
    let refused = "other: failed: pki/sign/web: the role does not permit a name";
    assert!(out.contains(refused), "{out}");
    assert_eq!(vault.server.count("POST", "pki/revoke"), 1);
    assert!(err.contains("certificate revoked"), "{err}");
}

#[test]
fn online_gives_its_token_back() {
    let vault = Dev::start();
    vault.put("app", json!({ "password": canary("password") }));
    let rules = json!({ "policy": "path \"secret/*\" { capabilities = [\"read\"] }" });
    vault.set_up("PUT", "sys/policies/acl/app", rules);
    vault.set_up("POST", "sys/auth/approle", json!({ "type": "approle" }));
    let role = json!({ "token_policies": ["app"], "bind_secret_id": false,
        "secret_id_bound_cidrs": [], "token_bound_cidrs": ["127.0.0.0/8"] });
    vault.set_up("POST", "auth/approle/role/app", role);
    let id = vault.set_up("GET", "auth/approle/role/app/role-id", serde_json::Value::Null);
    let toml = format!(
        "[auth]\nmethod = \"approle\"\nrole_id = {}\n[secrets.db]\npath = \"secret/data/app\"\n",
        id["data"]["role_id"]
    );
    let (url, caller) = (vault.url(), canary("caller"));
    let environment = [("VAULT_ADDR", url.as_str()), ("SIDEKEY_TOKEN", caller.as_str())];
    let (status, out, err) = check(&toml, &["--online"], &environment);
    assert_eq!(status, 0, "{out}{err}");
    assert_eq!(vault.server.count("POST", "auth/token/revoke-self"), 1);
}

#[test]
fn each_bad_file_of_the_connection_is_named_with_its_key() {
    let toml = "[vault]\naddress = 'https://127.0.0.1:1'\nca_cert = '/no/such/ca.pem'\n\
        client_cert = '/no/such/cert.pem'\nclient_key = '/no/such/key.pem'\n\
        [secrets.db]\npath = 'secret/data/db'\n\
        [[callers]]\nname = 'app'\nuid = 0\nallow = ['db']\n";
    let (status, _, err) = check(toml, &[], &[("VAULT_TOKEN", &canary("root"))]);
    assert_eq!(status, 78, "{err}");
    for (key, file) in [("ca_cert", "ca"), ("client_cert", "cert"), ("client_key", "key")] {
        assert!(err.contains(&format!("vault.{key}: /no/such/{file}.pem: ")), "{err}");
    }
}

/// `vault login` writes another file in its place.
#[test]
fn a_credential_file_without_a_folder_of_its_own_is_warned_of() {
    let home = tempfile::tempdir().unwrap();
    let own = home.path().join("own");
    std::fs::create_dir(&own).unwrap();
    for (folder, warned) in [(home.path(), true), (own.as_path(), false)] {
        let file = folder.join("vault-token");
        std::fs::write(&file, canary("token")).unwrap();
        let toml = format!(
            "[auth]\nmethod = 'token'\ntoken_file = '{}'\n[secrets.db]\npath = 'secret/data/db'\n\
             [[callers]]\nname = 'app'\nuid = 0\nallow = ['db']\n",
            file.display()
        );
        let environment =
            [("HOME", home.path().to_str().unwrap()), ("VAULT_ADDR", "http://127.0.0.1:1")];
        let (status, out, err) = check(&toml, &[], &environment);
        assert_eq!(status, 0, "{err}");
        assert_eq!(out.contains("give it a folder of its own"), warned, "{out}");
    }
}

/// As in the container image, which has no certificate store: nobody's certificate could be judged.
#[test]
fn a_vault_with_tls_needs_an_authority() {
    let toml = "[vault]\naddress = \"https://127.0.0.1:1\"\n[secrets.db]\npath = \"secret/data/db\"\n\
        [auth]\nmethod = \"approle\"\nrole_id = \"x\"\nsecret_id_file = \"/no/such/file\"\n\
        [listen]\ntcp = \"127.0.0.1:0\"\n[health]\nlisten = \"off\"\n\
        [[callers]]\nname = \"app\"\nuid = 0\nallow = [\"db\"]\n";
    let nowhere = [("SSL_CERT_FILE", "/no/such/file"), ("SSL_CERT_DIR", "/no/such/folder")];
    let (status, _, err) = check(toml, &[], &nowhere);
    assert_eq!(status, 78, "{err}");
    assert!(err.contains("no certificate authority here: set vault.ca_cert"), "{err}");
    let mut sidecar = Builder::serve().config(toml);
    for (name, value) in nowhere {
        sidecar = sidecar.env(name, value);
    }
    let mut sidecar = sidecar.spawn();
    assert_eq!(sidecar.wait().code(), Some(78), "{}", sidecar.stderr());
    assert!(sidecar.stderr().contains("set vault.ca_cert"), "{}", sidecar.stderr());
    // Without TLS there is nothing to judge.
    let (status, _, err) = check(&toml.replace("https", "http"), &[], &nowhere);
    assert_eq!(status, 0, "{err}");
}

/// On a machine that is no container, it judges the machine and says so. What it finds in
/// containers is tried in `tests/containers`.
#[test]
fn hardening_needs_no_configuration() {
    let (status, out, err) = run(&["check", "--hardening"], &[]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.lines().any(|line| line.starts_with("hardening: ")), "{out}");
    for item in ["4.1", "5.4", "5.10", "5.13", "5.31", "A1"] {
        let word = |line: &str| line.split_whitespace().nth(1) == Some(item);
        assert!(out.lines().any(word), "{item} is not in\n{out}");
    }
    // Nobody else made these tests a hardened container: the test program itself is in view.
    let (status, strict, err) = run(&["check", "--hardening=strict"], &[]);
    assert!(status == 71 && strict.contains("\nFLAW "), "{status} {strict}");
    assert!(err.contains("the container is not hardened: "), "{err}");
    let (status, _, err) = run(&["check", "--hardening", "--online"], &[]);
    assert_eq!(status, 64, "{err}");
}

/// A pipe without a writer holds whoever opens it: it is refused, and nothing hangs.
#[test]
fn a_pipe_is_no_credential_file() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let pipe = pipe.to_str().unwrap();
    let secret = "[secrets.db]\npath = 'secret/data/app'\n";
    let (root, caller) = (canary("root"), canary("caller"));
    let (root, caller) = (("VAULT_TOKEN", root.as_str()), ("SIDEKEY_TOKEN", caller.as_str()));
    for (toml, environment, key) in [
        (format!("[auth]\ntoken_file = '{pipe}'\n"), &[caller][..], "auth.token_file"),
        (
            format!("[auth]\nmethod = 'jwt'\nrole = 'app'\njwt_file = '{pipe}'\n"),
            &[caller],
            "auth.jwt_file",
        ),
        (
            format!("[auth]\nmethod = 'kubernetes'\nrole = 'app'\njwt_file = '{pipe}'\n"),
            &[caller],
            "auth.jwt_file",
        ),
        (
            format!("[auth]\nmethod = 'approle'\nrole_id = 'x'\nsecret_id_file = '{pipe}'\n"),
            &[caller],
            "auth.secret_id_file",
        ),
        (
            format!("[[callers]]\nname = 'app'\ntoken_file = '{pipe}'\nallow = ['db']\n"),
            &[root],
            "callers[0].token_file",
        ),
    ] {
        let toml = format!("{toml}{secret}");
        let (status, _, err) = check(&toml, &[], environment);
        assert_eq!(status, 78, "{err}");
        let said = format!("{key}: {pipe} is not a regular file");
        assert!(err.contains(&said), "{said} is not in\n{err}");
        let file = folder.path().join("sidekey.toml");
        std::fs::write(&file, &toml).unwrap();
        let serve = ["serve", "--config", file.to_str().unwrap(), "--listen", "127.0.0.1:0"];
        let (status, _, err) = run(&serve, environment);
        assert_eq!(status, 78, "{err}");
        assert!(err.contains(&said), "{err}");
    }
}

/// A shell's `$'…\n'` or a careless `printf`, in the environment as in a file.
#[test]
fn tokens_of_the_environment_are_trimmed_and_looked_at() {
    let vault = Dev::start();
    vault.put("app", json!({ "password": canary("password") }));
    let (url, root) = (vault.url(), format!(" {}\n", vault.root_token()));
    let good = format!("{}\r\n", canary("caller"));
    let environment = [("VAULT_ADDR", &*url), ("VAULT_TOKEN", &root), ("SIDEKEY_TOKEN", &good)];
    let toml = "[secrets.db]\npath = 'secret/data/app'\n";
    let (status, _, err) = check(toml, &["--online"], &environment);
    assert_eq!(status, 0, "{err}");
    let bad = format!("{}\n{}", canary("one"), canary("two"));
    for name in ["VAULT_TOKEN", "SIDEKEY_TOKEN"] {
        let environment = environment.map(|(n, value)| (n, if n == name { &*bad } else { value }));
        let (status, _, err) = check(toml, &[], &environment);
        assert_eq!(status, 78, "{err}");
        let said = format!("{name}: the token has characters that no HTTP header can carry");
        assert!(err.contains(&said), "{err}");
    }
}

#[test]
fn a_token_of_the_environment_is_compared_without_its_newline() {
    let vault = Dev::start();
    let (password, token) = (canary("password"), canary("caller"));
    vault.put("app", json!({ "password": password }));
    let sidecar = Builder::serve()
        .args(&["--secret", "db=secret/data/app"])
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &format!("{}\n", vault.root_token()))
        .env("SIDEKEY_TOKEN", &format!("{token}\n"))
        .start();
    assert_eq!(sidecar.get("/secrets/db/password", &token).text(), password);
    sidecar.stop();
}
