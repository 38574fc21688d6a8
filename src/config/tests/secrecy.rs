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
