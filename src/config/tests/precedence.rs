//! Flags before environment before file, defaults, and what is said aloud.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::{Allow, AuthMethod, TokenSource, secret_variables};

fn flags(secrets: &[&str], listen: &[&str]) -> Flags {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Flags { secrets: owned(secrets), listen: owned(listen), ..Flags::default() }
}

/// No file at all: what the README begins with.
#[test]
fn flags_and_environment_are_enough() {
    let environment = environment(&[], &["VAULT_TOKEN", "SIDEKEY_TOKEN"]);
    let flags = flags(&["db=secret/data/app"], &[]);
    let loaded = super::super::load(Sources { file: None, flags, environment }).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let config = loaded.config;
    assert_eq!(config.vault.address.as_str(), "https://127.0.0.1:8200/");
    assert!(matches!(config.auth, AuthMethod::Token(TokenSource::Environment(_))));
    assert_eq!(config.listen.tcp[0].to_string(), "127.0.0.1:7433");
    assert_eq!(config.listen.unix, None);
    assert_eq!(config.health.unwrap().to_string(), "127.0.0.1:7434");
    let secret = &config.secrets["db"];
    assert_eq!((secret.path.as_str(), secret.required), ("secret/data/app", true));
    assert_eq!((secret.refresh.as_secs(), secret.max_stale.as_secs()), (60, 3600));
    let caller = &config.callers[0];
    assert_eq!((caller.name.as_str(), &caller.allow), ("environment", &Allow::Everything));
    assert!(matches!(caller.token, Some(TokenSource::Environment(_))));
    assert!(!format!("{config:?}").contains(CANARY));
}

#[test]
fn nothing_at_all_names_every_way_in() {
    let error = super::super::load(Sources::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "auth: no way to log in to Vault\n  hint: set VAULT_TOKEN, run `vault login` (which writes \
         ~/.vault-token), name a file with auth.token_file, or choose a method: --auth kubernetes \
         --role ROLE, or [auth] method = with approle, kubernetes, jwt or cert\n\
         secrets: no secret is declared\n  hint: pass --secret NAME=PATH, as in --secret \
         db=secret/data/app, or write [secrets.db] and path = \"secret/data/app\" to the \
         configuration file\n\
         callers: nobody may ask for a secret\n  hint: set SIDEKEY_TOKEN to a long random value, \
         which the application sends as a bearer token, or write a [[callers]] rule with name, \
         allow, and uid, token_file or token_env; `sidekey exec` needs none (`sidekey check \
         --exec`)"
    );
}

#[test]
fn the_environment_goes_before_the_file() {
    let text = format!(
        "[vault]\naddress = 'https://file:8200'\nnamespace = 'file'\nca_cert = 'file'\n\
         ca_path = 'file'\nclient_cert = 'file'\nclient_key = 'file'\ntls_server_name = 'file'\n\
         skip_verify = true\n{REST}"
    );
    let values = [
        ("VAULT_ADDR", "https://environment:8200"),
        ("VAULT_NAMESPACE", "environment"),
        ("VAULT_CACERT", "relative/ca.pem"),
        ("VAULT_CAPATH", "environment"),
        ("VAULT_CLIENT_CERT", "environment"),
        ("VAULT_CLIENT_KEY", "environment"),
        ("VAULT_TLS_SERVER_NAME", "environment"),
        ("VAULT_SKIP_VERIFY", "0"),
    ];
    let loaded =
        load_with(&text, Flags::default(), environment(&values, &["VAULT_TOKEN"])).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let vault = loaded.config.vault;
    assert_eq!(vault.address.as_str(), "https://environment:8200/");
    assert_eq!(vault.ca_cert.as_deref(), Some(Path::new("relative/ca.pem")));
    let environment = Some(Path::new("environment"));
    assert_eq!(vault.ca_path.as_deref(), environment);
    assert_eq!(vault.client_cert.as_deref(), environment);
    assert_eq!(vault.client_key.as_deref(), environment);
    assert_eq!(vault.tls_server_name.as_deref(), Some("environment"));
    assert_eq!(vault.namespace.as_deref(), Some("environment"));
    assert!(!vault.skip_verify);
    // Unset and empty are the same.
    let vault = load_with(
        &text,
        Flags::default(),
        self::environment(&[("VAULT_ADDR", "")], &["VAULT_TOKEN"]),
    );
    assert_eq!(vault.unwrap().config.vault.address.as_str(), "https://file:8200/");
}

#[test]
fn flags_go_before_all() {
    let text = format!(
        "[vault]\naddress = 'https://file:8200'\n[auth]\nmethod = 'approle'\nrole_id = 'x'\n\
         mount = 'own'\n[listen]\ntcp = '127.0.0.1:1'\nunix = '@file'\n\
         [secrets.web]\npath = 'file/web'\nrequired = false\n{REST}"
    );
    let flags = Flags {
        vault_addr: Some("https://flag:8200".to_owned()),
        auth: Some("kubernetes".to_owned()),
        role: Some("flag".to_owned()),
        ..flags(&["web=flag/web", "more=flag/more"], &["[::1]:0", "@flag", "127.0.0.1:2"])
    };
    let environment = environment(&[("VAULT_ADDR", "https://environment:8200")], &["VAULT_TOKEN"]);
    let loaded = load_with(&text, flags, environment).unwrap();
    assert_eq!(
        loaded.warnings,
        [
            "--auth names another method than [auth], which is not used",
            "VAULT_TOKEN is set and not used: the login method is kubernetes",
        ]
    );
    let config = loaded.config;
    assert_eq!(config.vault.address.as_str(), "https://flag:8200/");
    let AuthMethod::Kubernetes { mount, role, jwt_file } = config.auth else {
        panic!("{:?}", config.auth);
    };
    assert_eq!((mount.as_str(), role.as_str()), ("kubernetes", "flag"));
    assert!(jwt_file.ends_with("kubernetes.io/serviceaccount/token"));
    let tcp: Vec<_> = config.listen.tcp.iter().map(ToString::to_string).collect();
    assert_eq!(tcp, ["[::1]:0", "127.0.0.1:2"]);
    assert_eq!(config.listen.unix.unwrap().to_string(), "@flag");
    assert_eq!(config.secrets["web"].path.as_str(), "flag/web");
    assert!(!config.secrets["web"].required);
    assert_eq!(config.secrets.len(), 3);
}

#[test]
fn flags_have_problems_too() {
    let flags = Flags {
        vault_addr: Some("vault".to_owned()),
        auth: Some("userpass".to_owned()),
        ..flags(&[CANARY, "a=b/c", "a=b/d", "x/y=a/b", "b=canary-9f2c"], &["@", "@x", "@y"])
    };
    let environment =
        environment(&[("VAULT_SKIP_VERIFY", "maybe")], &["VAULT_TOKEN", "SIDEKEY_TOKEN"]);
    let error = super::super::load(Sources { file: None, flags, environment }).unwrap_err();
    let paths: Vec<_> = error.problems.iter().map(|problem| problem.path.as_str()).collect();
    let expected = [
        "VAULT_SKIP_VERIFY",
        "--vault-addr",
        "--auth",
        "--listen",
        "--listen",
        "--secret",
        "--secret",
        "--secret",
        "--secret",
    ];
    assert_eq!(paths, expected, "{error}");
    assert!(!error.to_string().contains(CANARY), "{error}");
}

#[test]
fn placeholders_are_filled_in() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("zone");
    std::fs::write(&file, "eu-1\n").unwrap();
    let text = format!(
        "[identity]\napp = 'timeline'\nstage = {{ env = 'STAGE' }}\nzone = {{ file = '{}' }}\n\
         [auth]\nmethod = 'kubernetes'\nrole = '{{app}}-{{stage}}'\n\
         [secrets.web]\npath = 'kv/{{stage}}/{{app}}/{{{{{{zone}}}}}}'\n{REST}",
        file.display()
    );
    let environment = environment(&[("STAGE", "production")], &[]);
    let config = load_with(&text, flags(&["x=kv/{app}"], &[]), environment).unwrap().config;
    assert_eq!(config.secrets["web"].path.as_str(), "kv/production/timeline/{eu-1}");
    assert_eq!(config.secrets["x"].path.as_str(), "kv/timeline");
    assert!(matches!(
        config.auth,
        AuthMethod::Kubernetes { role, .. } if role == "timeline-production"
    ));
}

#[test]
fn tokens_come_from_the_first_place_that_has_one() {
    let home = tempfile::tempdir().unwrap();
    let written = home.path().join(".vault-token");
    std::fs::write(&written, CANARY).unwrap();
    std::fs::set_permissions(&written, std::fs::Permissions::from_mode(0o600)).unwrap();
    let source = |text: &str, secrets: &[&str]| {
        let mut environment = environment(&[], secrets);
        environment.home = Some(home.path().to_owned());
        let loaded = load_with(&format!("{text}{REST}"), Flags::default(), environment).unwrap();
        let AuthMethod::Token(source) = loaded.config.auth else {
            panic!("{:?}", loaded.config.auth);
        };
        (source, loaded.warnings)
    };
    let named = "[auth]\ntoken_file = '/named'";
    let (from_both, warnings) = source(named, &["VAULT_TOKEN"]);
    assert!(matches!(from_both, TokenSource::Environment(_)));
    assert_eq!(warnings, ["auth.token_file is not used: VAULT_TOKEN is set"]);
    assert!(matches!(source(named, &[]).0, TokenSource::File(file) if file == Path::new("/named")));
    assert!(matches!(source("", &[]).0, TokenSource::File(file) if file == written));
}

#[test]
fn the_environment_can_add_a_caller() {
    let text = format!("{REST}[[callers]]\nname = 'other'\ntoken_env = 'OTHER'\nallow = 'db'\n");
    let environment = environment(&[], &["VAULT_TOKEN", "SIDEKEY_TOKEN", "OTHER"]);
    let loaded = load_with(&text, Flags::default(), environment.clone()).unwrap();
    let names: Vec<_> = loaded.config.callers.iter().map(|caller| caller.name.as_str()).collect();
    assert_eq!(names, ["app", "other", "environment"]);
    assert_eq!(loaded.config.callers[0].uids, Some(BTreeSet::from([1])));
    assert_eq!(loaded.warnings, ["SIDEKEY_TOKEN: whoever has it may read every declared secret"]);
    let text = text.replace("other", "environment");
    let error = load_with(&text, Flags::default(), environment).unwrap_err();
    assert!(error.to_string().contains("SIDEKEY_TOKEN is set, and makes a caller of that name"));
}

#[test]
fn what_is_dangerous_is_said_aloud() {
    let readable = tempfile::NamedTempFile::new().unwrap();
    std::fs::set_permissions(readable.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = readable.path().display();
    let text = format!(
        "[vault]\naddress = 'http://vault:8200'\nskip_verify = true\n[auth]\ntoken_file = '{file}'\n\
         [secrets.db]\npath = 'a/b'\n[[callers]]\nname = 'app'\ntoken_env = 'SHORT'\nuid = 65534\n\
         allow = '*'\n"
    );
    let mut environment = environment(&[], &[]);
    environment.secrets.insert("SHORT".into(), Arc::new(SecretBuf::copy_from(b"canary-9f2c")));
    let loaded = load_with(&text, Flags::default(), environment).unwrap();
    assert_eq!(
        loaded.warnings,
        [
            "vault.skip_verify: Vault's certificate is not verified, so whoever answers in its \
             place gets the login and chooses the secrets"
                .to_owned(),
            "vault.address: tokens and secrets travel to Vault unencrypted over http://, which \
             anyone on the way can read"
                .to_owned(),
            format!(
                "auth.token_file: every user may read {file}; take that right away with chmod o-r"
            ),
            "callers[0].uid: the kernel reports uid 65534 for every user of another user namespace"
                .to_owned(),
            "callers[0].token_env: the token is shorter than 16 bytes, which can be guessed"
                .to_owned(),
            "callers[0].allow: the caller app may read every declared secret".to_owned(),
        ]
    );
    let local = load_file(&format!("[vault]\naddress = 'http://127.0.0.1:8200'\n{REST}"));
    assert_eq!(local.unwrap().warnings, Vec::<String>::new());
}

#[test]
fn health_can_be_moved_or_turned_off() {
    let health = |text: &str| config(&format!("[health]\n{text}{REST}")).health;
    assert_eq!(health("listen = false"), None);
    assert_eq!(health("listen = '0.0.0.0:80'").unwrap().to_string(), "0.0.0.0:80");
    assert_eq!(health("").unwrap().to_string(), "127.0.0.1:7434");
}

#[test]
fn a_unix_socket_can_stand_alone() {
    let listen = config(&format!("[listen]\nunix = '@sidekey'{REST}")).listen;
    assert!(listen.tcp.is_empty());
    assert_eq!(listen.unix.unwrap().as_str(), "sidekey");
}

#[test]
fn limits_and_life_are_read() {
    let text = "[limits]\nmax_connections = 7\nheader_timeout = '1s'\nrequests_per_second = 8\n\
                total_requests_per_second = 9\nrefusals_per_second = 10\ncache_bytes = 0x1000\n\
                [life]\nstartup_deadline = '1m30s'\naudit = false\n\
                [secrets.web]\npath = '/v1/a/b'\nmax_stale = '0s'\n";
    let config = config(&format!("{text}{REST}"));
    let limits = config.limits;
    assert_eq!((limits.max_connections, limits.cache_bytes), (7, 4096));
    assert_eq!(limits.header_timeout, Duration::from_secs(1));
    assert_eq!(limits.requests_per_second, Some(8));
    assert_eq!(limits.total_requests_per_second, Some(9));
    assert_eq!(limits.refusals_per_second, 10);
    assert_eq!(config.life.startup_deadline, Duration::from_secs(90));
    assert!(!config.life.audit);
    assert_eq!(config.secrets["web"].path.as_str(), "a/b");
    assert_eq!(config.secrets["web"].max_stale, Duration::ZERO);
}

#[test]
fn protection_is_read() {
    let usual = config(REST).protection;
    assert!(!usual.require_secret_memory && usual.sandbox);
    assert!(!usual.require_hardening && !usual.unsafe_host_network);
    let text = "[memory]\nrequire_secret_memory = true\n[sandbox]\nenabled = false\n\
                [container]\nrequire_hardening = true\nunsafe_host_network = true\n";
    let other = config(&format!("{text}{REST}")).protection;
    assert!(other.require_secret_memory && !other.sandbox);
    assert!(!usual.require_sandbox);
    assert!(config(&format!("[sandbox]\nrequire = true\n{REST}")).protection.require_sandbox);
    assert!(other.require_hardening && other.unsafe_host_network);
    let flags = Flags { unsafe_host_network: true, ..Flags::default() };
    let by_flag = load_with(REST, flags, environment(&[], &["VAULT_TOKEN"])).unwrap().config;
    assert!(by_flag.protection.unsafe_host_network && !by_flag.protection.require_hardening);
}

#[test]
fn variables_with_secrets_are_found_beforehand() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "[[callers]]\ntoken_env = 'B'\n[[callers]]\ntoken_env = 'A'\nnonsense = 1\n\
                [[callers]]\ntoken_env = 'not=a name'\n[[callers]]\ntoken_env = 5\nbroken";
    std::fs::write(file.path(), text).unwrap();
    assert_eq!(secret_variables(Some(file.path())), ["A", "B", "SIDEKEY_TOKEN", "VAULT_TOKEN"]);
    assert_eq!(secret_variables(None), ["SIDEKEY_TOKEN", "VAULT_TOKEN"]);
    assert_eq!(secret_variables(Some(Path::new("/nowhere"))).len(), 2);
}

/// The variables that `cargo test` sets will do.
#[test]
fn capture_leaves_secrets_out() {
    let secret = Arc::new(SecretBuf::copy_from(TOKEN.as_ref()));
    let secrets = BTreeMap::from([("CARGO_PKG_NAME".to_owned(), secret)]);
    let captured = Environment::capture(secrets);
    assert!(captured.values.contains_key("CARGO_PKG_VERSION"));
    assert!(!captured.values.contains_key("CARGO_PKG_NAME"));
    let shown = format!("{captured:?}");
    assert!(shown.contains("CARGO_PKG_NAME") && !shown.contains(CANARY));
}
