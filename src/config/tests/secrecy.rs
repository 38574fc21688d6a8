//! What is said about a configuration never contains a secret.

use super::*;

/// Secret material in the file is refused without repeating it, wherever it stands.
#[test]
fn secret_values_are_never_repeated() {
    for (text, expected) in [
        (
            "[auth]\nmethod = 'token'\ntoken = 'CANARY'",
            "name a file that holds it with `token_file`",
        ),
        (
            "[auth]\nmethod = 'approle'\nrole_id = 'x'\nsecret_id = 'CANARY'",
            "name a file that holds it with `secret_id_file`",
        ),
        ("[secrets.web]\npath = 'a/b'\npassword = 'CANARY'", "keep it in Vault, or in a file"),
        (
            "[[callers]]\nname = 'x'\nuid = 1\nallow = 'db'\ntoken = 'CANARY'",
            "name a file that holds it with `token_file`, or an environment variable with \
             `token_env`",
        ),
        ("[vault]\ntokens = ['CANARY']", "keep it in Vault, or in a file"),
    ] {
        let said = problems(&format!("{}{REST}", text.replace("CANARY", CANARY)));
        assert!(said.contains("secret material does not stand in this file"), "{said}");
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains(CANARY), "{said}");
    }
    for text in [
        "[auth]\nmethod = 'approle'\nrole_id = ['CANARY']",
        "[auth]\nmethod = 'approle'\nrole_id = 'x'\nsecret_id_file = '''CANARY\n'''",
        "[vault]\naddress = 'https://user:CANARY@vault:8200'",
        "[vault]\naddress = 'user:CANARY@vault:8200'",
        "[vault]\naddress = 'https://user:CANARY@vault:port'",
        "[vault]\nclient_key = '-----BEGIN PRIVATE KEY-----CANARY'",
        "[identity]\napp = 'CANARY+'",
        "[[callers]]\nname = 'x'\nallow = 'db'\ntoken_env = 'CANARY'",
        "[[callers]]\nname = 'x'\nallow = 'db'\ntoken_env = 'canary9f2c'",
        "[secrets]\nweb = 'CANARY'",
        "[secrets.web]\npath = 'CANARY'",
        "[listen]\ntcp = \"\"\"127.0.0.1:80\nCANARY",
        "CANARY",
        "token CANARY",
        "token = CANARY",
        "token = 'CANARY",
        "[auth]\ntoken = \"CANARY\\q\"",
    ] {
        let said = problems(&format!("{}{REST}", text.replace("CANARY", CANARY)));
        assert!(!said.is_empty(), "{text}");
        assert!(!said.contains(CANARY) && !said.contains("canary9f2c"), "{said}");
    }
}

/// A token that no header can carry is named by where it comes from.
#[test]
fn a_token_that_cannot_be_sent_is_refused_without_repeating_it() {
    let unsendable = ["two words", "a\tb", "caf\u{e9}", "nul\0", "a\nb", "\u{7f}"];
    for (n, bad) in unsendable.iter().enumerate() {
        let token = format!("{CANARY}{bad}{CANARY}");
        for name in ["VAULT_TOKEN", "SIDEKEY_TOKEN", "APP_TOKEN"] {
            let mut environment = environment(&[], &["VAULT_TOKEN", "SIDEKEY_TOKEN", "APP_TOKEN"]);
            let secret = Arc::new(SecretBuf::copy_from(token.as_bytes()));
            environment.secrets.insert(name.into(), secret);
            let text = REST.replace("uid = 1", "token_env = 'APP_TOKEN'");
            let error = load_with(&text, Flags::default(), environment).unwrap_err().to_string();
            let place = if name == "APP_TOKEN" { "callers[0].token_env" } else { name };
            assert!(error.contains(&format!("{place}: the token has characters")), "{n} {error}");
            assert_eq!(error.matches("the token has").count(), 1, "{error}");
            assert!(!error.contains(CANARY), "{error}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{token}\n")).unwrap();
        let key = format!("token_file = '{}'", file.path().display());
        for (text, place) in [
            (REST.replace("uid = 1", &key), "callers[0].token_file"),
            (format!("[auth]\n{key}{REST}"), "auth.token_file"),
        ] {
            let error = load_with(&text, Flags::default(), Environment::default()).unwrap_err();
            let error = error.to_string();
            assert!(error.contains(&format!("{place}: the token has characters")), "{error}");
            assert!(!error.contains(CANARY), "{error}");
        }
    }
}
