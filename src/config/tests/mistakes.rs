//! Bad files, and exactly what is said about them.

use super::super::Allow;
use super::*;

/// Several mistakes in one file come out together, in the order of lines.
#[test]
fn everything_wrong_is_said_at_once() {
    let text = r#"
[vault]
adress = "https://vault:8200"
max_requests_per_second = 0
timeout = 10

[auth]
method = "aprole"

[listen]
tcp = "0.0.0.0:7433"
unix = "/run/sidekey.sock"

[secrets.db]
path = "secret/data/{ap}/db"
refesh = "60s"

[secrets.mail]
refresh = "soon"
required = "yes"

[[callers]]
name = "app"
allow = ["bd", "mail"]
"#;
    let text = &format!("[identity]\napp = \"timeline\"{text}");
    assert_eq!(
        problems(text),
        r#"sidekey.toml:4: vault.adress: unknown key
  hint: did you mean `address`?
sidekey.toml:5: vault.max_requests_per_second: expected a whole number from 1 to 4294967295, found 0
sidekey.toml:6: vault.timeout: expected a duration such as 90s, 5m or 1h, found 10
  hint: for seconds write "10s"
sidekey.toml:9: auth.method: unknown login method "aprole"
  hint: did you mean `approle`?
sidekey.toml:12: listen.tcp: 0.0.0.0:7433 can be reached from other hosts
  hint: secrets are served on loopback only: write 127.0.0.1:7433 or [::1]:7433
sidekey.toml:13: listen.unix: expected an abstract socket such as @sidekey, found "/run/sidekey.sock"
  hint: start with `@`, then 1 to 107 bytes: an abstract socket is no file that could be mounted elsewhere or left behind
sidekey.toml:16: secrets.db.path: unknown placeholder `{ap}`
  hint: did you mean `{app}`?
sidekey.toml:17: secrets.db.refesh: unknown key
  hint: did you mean `refresh`?
sidekey.toml:19: secrets.mail.path: is missing
  hint: the read path in Vault, such as secret/data/app
sidekey.toml:20: secrets.mail.refresh: expected a duration such as 90s, 5m or 1h, found "soon"
  hint: a number and a unit of ms, s, m, h or d, also combined as in 1h30m; at most 3650d
sidekey.toml:21: secrets.mail.required: expected true or false, found a string
sidekey.toml:23: callers[0]: expected at least one of `uid`, `token_file` and `token_env`
  hint: without one of them anybody on this loopback would match
sidekey.toml:25: callers[0].allow[0]: no secret "bd" is declared
  hint: did you mean `db`?"#
    );
}

/// Its keys are there twice as well, which says nothing more.
#[test]
fn a_table_that_is_given_twice_is_said_once() {
    let text = "[secrets.db]\npath = 'a/b'\n[secrets.db]\npath = 'c/d'\n[life]\naudit = true\naudit = false\n";
    assert_eq!(problems(text), "sidekey.toml:3: duplicate key\nsidekey.toml:7: duplicate key");
}

/// Files that lack nothing else: `REST` follows each.
#[test]
fn each_mistake_of_the_top_level_and_vault_is_named() {
    for (text, expected) in [
        (
            "verbose = true",
            "1: verbose: unknown key\n  hint: known here: adapters, auth, callers, certificates, \
             container, health, identity, life, limits, listen, memory, notify, sandbox, secrets, vault",
        ),
        ("[secret.db]\npath = 'a/b'", "1: secret: unknown key\n  hint: did you mean `secrets`?"),
        (
            "[limits]\nmax_stale = '1h'",
            "2: limits.max_stale: unknown key\n  hint: `max_stale` belongs to [secrets.NAME]",
        ),
        (
            "vault = 1",
            "1: vault: expected a table, found an integer\n  hint: write [vault] above its keys",
        ),
        (
            "[adapters.tls]\nweb = 1",
            "2: adapters.tls.web: expected a table, found an integer\n  hint: write \
             [adapters.tls.web] above its keys",
        ),
        (
            "[vault]\naddress = 'vault:8200'",
            "2: vault.address: expected a URL that starts with https:// or http://\n  hint: write \
             it as in https://vault.example.com:8200",
        ),
        (
            "[vault]\naddress = 'https://vault:8200/v1'",
            "2: vault.address: expected scheme, host and port alone\n  hint: leave out what \
             follows the port: `/v1/…` is added by itself",
        ),
        (
            "[vault]\nclient_cert = 'c.pem'",
            "2: vault.client_cert: needs `client_key` beside it\n  hint: set vault.client_key or \
             VAULT_CLIENT_KEY",
        ),
        (
            "[vault]\ntls_server_name = 'a b'",
            "2: vault.tls_server_name: expected a DNS name or an IP address, found \"a b\"",
        ),
        (
            "[vault]\nca_cert = '~/ca.pem'",
            "2: vault.ca_cert: a leading `~` is not expanded here\n  hint: write the whole path",
        ),
        ("[vault]\nnamespace = ''", "2: vault.namespace: must not be empty"),
    ] {
        let expected = format!("sidekey.toml:{expected}");
        assert_eq!(problems(&format!("{text}{REST}")), expected, "{text}");
    }
}

#[test]
fn each_mistake_of_notify_is_named() {
    for (text, expected) in [
        (
            "[[notify]]\nnames = ['db']",
            "1: notify[0]: expected one of `url` and `signal`\n  hint: url = \
             \"http://127.0.0.1:8080/reload\", or signal = \"HUP\" with pid_file or process",
        ),
        (
            "[[notify]]\nurl = 'http://10.0.0.1/x'",
            "2: notify[0].url: the host can be reached from elsewhere\n  hint: only the \
             application beside us is told: 127.0.0.1 or [::1]",
        ),
        (
            "[[notify]]\nurl = 'http://localhost:80/'",
            "2: notify[0].url: expected a loopback address as the host\n  hint: write it as in \
             http://127.0.0.1:8080/reload",
        ),
        (
            "[[notify]]\nurl = 'https://127.0.0.1/'",
            "2: notify[0].url: expected a URL that starts with http://\n  hint: write it as in \
             http://127.0.0.1:8080/reload",
        ),
        (
            "[[notify]]\nsignal = 'HUP'",
            "2: notify[0].signal: expected one of `pid_file` and `process`\n  hint: the signal \
             has to go to somebody",
        ),
        (
            "[[notify]]\nsignal = 'KILL'\nprocess = 'app'",
            "2: notify[0].signal: unknown signal \"KILL\"\n  hint: one of HUP, USR1, USR2, TERM, \
             INT, QUIT, WINCH",
        ),
        (
            "[[notify]]\nsignal = 'HUP'\nprocess = '/usr/sbin/nginx'",
            "3: notify[0].process: expected a name of at most 15 bytes\n  hint: as `ps -o comm` \
             shows it, without a path: the kernel keeps no more of it",
        ),
        (
            "[[notify]]\nurl = 'http://127.0.0.1/'\nnames = ['bd']",
            "3: notify[0].names[0]: no secret \"bd\" is declared\n  hint: did you mean `db`?",
        ),
        (
            "[[notify]]\nurl = 'http://127.0.0.1/'\nprocess = 'app'",
            "3: notify[0].process: there is no `signal` to send there\n  hint: a rule has either \
             `url` or `signal`",
        ),
    ] {
        let expected = format!("sidekey.toml:{expected}");
        assert_eq!(problems(&format!("{text}{REST}")), expected, "{text}");
    }
}

#[test]
fn each_mistake_of_the_listeners_is_named() {
    for (text, expected) in [
        (
            "[listen]\ntcp = 'localhost:7433'",
            "2: listen.tcp: expected an address such as 127.0.0.1:7433, found \
             \"localhost:7433\"\n  hint: write 127.0.0.1:7433: what `localhost` means is up to the \
             resolver",
        ),
        (
            "[listen]\ntcp = ['127.0.0.1:0',\n  ':80']",
            "3: listen.tcp[1]: expected an address such as 127.0.0.1:7433, found \":80\"\n  hint: \
             write 127.0.0.1:80",
        ),
        (
            "[listen]\ntcp = '[::]:7433'",
            "2: listen.tcp: [::]:7433 can be reached from other hosts\n  hint: secrets are served \
             on loopback only: write 127.0.0.1:7433 or [::1]:7433",
        ),
        ("[listen]\ntcp = ['[::1]:1', '[::1]:1']", "2: listen.tcp[1]: [::1]:1 is given twice"),
        (
            "[listen]\ntcp = []",
            "2: listen.tcp: nothing to listen on\n  hint: give an address, or [listen] unix = \
             \"@sidekey\"",
        ),
        (
            "[health]\nlisten = '127.0.0.1:7433'",
            "2: health.listen: 127.0.0.1:7433 is where secrets are served\n  hint: choose another \
             port for one of the two",
        ),
        (
            "[health]\nlisten = true",
            "2: health.listen: expected an address or false, found true\n  hint: leave the key out \
             for the default address",
        ),
        (
            "[health]\nlisten = 1",
            "2: health.listen: expected an address or false, found an integer",
        ),
    ] {
        let expected = format!("sidekey.toml:{expected}");
        assert_eq!(problems(&format!("{text}{REST}")), expected, "{text}");
    }
}

#[test]
fn each_mistake_of_limits_and_secrets_is_named() {
    for (text, expected) in [
        (
            "[limits]\ncache_bytes = '64MB'",
            "2: limits.cache_bytes: expected a size such as \"64MiB\", found \"64MB\"\n  hint: a \
             number of bytes, or a string with the unit KiB, MiB or GiB",
        ),
        (
            "[life]\nshutdown_deadline = '0s'",
            "2: life.shutdown_deadline: expected at least 1ms, found \"0s\"\n  hint: a number and \
             a unit of ms, s, m, h or d, also combined as in 1h30m; at most 3650d",
        ),
        (
            "[secrets.web]\npath = 'a/b'\nrefresh = '500ms'",
            "3: secrets.web.refresh: expected at least 1s, found \"500ms\"\n  hint: a number and a \
             unit of ms, s, m, h or d, also combined as in 1h30m; at most 3650d",
        ),
        (
            "[secrets]\nweb = 'a/b'",
            "2: secrets.web: expected a table, found a string\n  hint: write [secrets.web] above \
             its keys",
        ),
        (
            "[secrets.'a/b']\npath = 'a/b'",
            "1: secrets.\"a/b\": \"a/b\" cannot be a name\n  hint: 1 to 128 letters, digits, `.`, \
             `_` and `-`, the first a letter or digit",
        ),
        (
            "[secrets.web]\npath = 'secret/data/'",
            "2: secrets.web.path: expected a path such as secret/data/app\n  hint: mount and path, \
             without a trailing slash, empty, `.` or `..` segments, `?`, `#`, `\\`",
        ),
        (
            "[secrets.web]\npath = 'secret/{data'",
            "2: secrets.web.path: a brace without its partner\n  hint: for the brace itself write \
             `{{` or `}}`",
        ),
    ] {
        let expected = format!("sidekey.toml:{expected}");
        assert_eq!(problems(&format!("{text}{REST}")), expected, "{text}");
    }
}

#[test]
fn each_mistake_of_the_identity_is_named() {
    let load = |text: &str| {
        let environment = environment(&[("APP", "a/../b")], &["VAULT_TOKEN"]);
        load_with(&format!("{text}{REST}"), Flags::default(), environment).unwrap_err().to_string()
    };
    for (entry, expected) in [
        (
            "app = { env = 'UNSET' }",
            "2: identity.app.env: the environment variable \"UNSET\" is not set",
        ),
        (
            "app = { env = 'VAULT_TOKEN' }",
            "2: identity.app.env: the environment variable \"VAULT_TOKEN\" holds a secret\n  hint: \
             an identity becomes part of paths and logs",
        ),
        (
            "app = { env = 'APP' }",
            "2: identity.app: the value cannot be part of a path\n  hint: 1 to 253 letters, \
             digits, `.`, `_` and `-`, the first a letter or digit",
        ),
        (
            "app = { file = '/nowhere/app' }",
            "2: identity.app.file: /nowhere/app cannot be read: No such file or directory (os \
             error 2)",
        ),
        (
            "app = { env = 'APP', file = '/app' }",
            "2: identity.app: expected either `env` or `file`\n  hint: write { env = \"VARIABLE\" \
             } or { file = \"/path\" }, or a plain string",
        ),
        (
            "app = { environ = 'APP' }",
            "2: identity.app: expected either `env` or `file`\n  hint: write { env = \"VARIABLE\" } \
          or { file = \"/path\" }, or a plain string\nsidekey.toml:2: identity.app.environ: \
          unknown key\n  hint: did you mean `env`?",
        ),
    ] {
        assert_eq!(load(&format!("[identity]\n{entry}")), format!("sidekey.toml:{expected}"));
    }
}

/// Syntax errors come with lines, several at once, and with the mistakes on sound lines; what
/// seems to be missing is not reported, as it may be on a line that could not be read.
#[test]
fn syntax_errors_come_with_lines() {
    let text = "[vault]\ntimeout = 'soon'\naddress = https://vault:8200\nadress = 1\n\
                tls_server_name = 'vault\nnamespace = 1\n[secrets.db\npath = 'x'\n";
    assert_eq!(
        problems(text),
        "sidekey.toml:2: vault.timeout: expected a duration such as 90s, 5m or 1h, found \"soon\"\n  \
         hint: a number and a unit of ms, s, m, h or d, also combined as in 1h30m; at most 3650d\n\
         sidekey.toml:3: string values must be quoted, expected literal string\n\
         sidekey.toml:5: invalid literal string, expected `'`\n\
         sidekey.toml:6: vault.namespace: expected a string, found an integer\n\
         sidekey.toml:7: unclosed table, expected `]`"
    );
}

#[test]
fn an_unusable_file_is_the_only_problem() {
    let said = |file: PathBuf| {
        super::super::load(Sources { file: Some(file), ..Sources::default() }).unwrap_err()
    };
    let missing = said(PathBuf::from("/nowhere/sidekey.toml")).to_string();
    let expected = "/nowhere/sidekey.toml: cannot be read: No such file or directory (os error 2)";
    assert_eq!(missing, expected);
    let folder = tempfile::tempdir().unwrap();
    assert!(said(folder.path().to_owned()).to_string().contains("is not a regular file"));
    let binary = folder.path().join("binary");
    std::fs::write(&binary, b"a = 1\n\xff").unwrap();
    assert!(said(binary).to_string().ends_with("is not UTF-8 text from line 2 on"));
}

/// A name beside `"*"` is looked at too.
#[test]
fn a_name_beside_the_star_must_be_declared() {
    let text =
        "[secrets.db]\npath = 'a/b'\n[[callers]]\nname = 'x'\nuid = 1\nallow = ['bd', '*']\n";
    assert_eq!(
        problems(text),
        "sidekey.toml:6: callers[0].allow[0]: no secret \"bd\" is declared\n  hint: did you mean `db`?"
    );
    let allow = &config(&text.replace("bd", "db")).callers[0].allow;
    assert_eq!(*allow, Allow::Everything);
}

#[test]
fn a_mapped_loopback_address_is_refused_for_what_it_is() {
    let said = problems(&format!("[listen]\ntcp = '[::ffff:127.0.0.1]:1'{REST}"));
    assert!(said.contains("is an IPv4 address in the form of an IPv6 address"), "{said}");
    assert!(said.ends_with("hint: write 127.0.0.1:1"), "{said}");
    let said = problems(&format!("[listen]\ntcp = '[::ffff:10.0.0.1]:1'{REST}"));
    assert!(said.contains("can be reached from other hosts"), "{said}");
}
