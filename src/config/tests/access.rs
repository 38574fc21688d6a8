//! Mistakes in how to log in and in who may ask, and exactly what is said about them.

use super::*;

#[test]
fn each_mistake_of_the_login_is_named() {
    for (text, expected) in [
        (
            "[auth]\nmethod = 'approle'\njwt_file = '/jwt'\nrole_id = 'x'",
            "3: auth.jwt_file: does not belong to the method approle\n  hint: it belongs to \
             kubernetes, jwt",
        ),
        (
            "[auth]\nmethod = 'approle'\nsecret_id_wrapped = true",
            "1: auth.role_id: is missing\n  hint: set `role_id`, or name a file with \
             `role_id_file`\nsidekey.toml:1: auth.secret_id_file: is missing\n  hint: \
             `secret_id_wrapped` says what that file holds",
        ),
        (
            "[auth]\nmethod = 'approle'\nrole_id = 'x'\nrole_id_file = '/x'",
            "4: auth.role_id_file: `role_id` is given too\n  hint: keep one of the two",
        ),
        (
            "[auth]\nmethod = 'approle'\nrole_id_file = '/nowhere/role-id'",
            "3: auth.role_id_file: /nowhere/role-id cannot be read: No such file or directory (os \
             error 2)",
        ),
        (
            "[auth]\nrole = 'x'",
            "1: auth.method: is missing\n  hint: one of token, approle, kubernetes, jwt, cert",
        ),
        (
            "[auth]\nmethod = 'kubernetes'\nmount = 'auth/k8s'",
            "1: auth.role: is missing\n  hint: the role of the Kubernetes login, here or with \
             --role\nsidekey.toml:3: auth.mount: `auth/` is added by itself\n  hint: write \"k8s\"",
        ),
        (
            "[auth]\nmethod = 'jwt'\nmount = 'a//b'",
            "1: auth.jwt_file: is missing\n  hint: the file that holds the token; it is read at \
             every login\nsidekey.toml:3: auth.mount: expected a mount such as jwt, found \"a//b\"",
        ),
        (
            "[auth]\nmethod = 'cert'",
            "1: auth: the method cert needs a client certificate\n  hint: set vault.client_cert \
             and vault.client_key, or VAULT_CLIENT_CERT and VAULT_CLIENT_KEY",
        ),
    ] {
        let expected = format!("sidekey.toml:{expected}");
        assert_eq!(problems(&format!("{text}{REST}")), expected, "{text}");
    }
}

#[test]
fn each_mistake_of_a_caller_is_named() {
    for (caller, expected) in [
        (
            "uid = 1\nallow = 'db'",
            "3: callers[0].name: is missing\n  hint: it names the caller in the audit log",
        ),
        (
            "name = 'a\\nb'\nuid = 1\nallow = 'db'",
            "4: callers[0].name: \"a\\\\nb\" cannot be a name\n  hint: 1 to 128 letters, digits, \
             `.`, `_` and `-`, the first a letter or digit",
        ),
        (
            "name = 'app'\nuid = 1",
            "3: callers[0].allow: the caller may read nothing\n  hint: allow = [\"db\"] with names \
             of secrets, or [\"*\"] for all of them",
        ),
        (
            "name = 'app'\nuid = 1\nallow = []",
            "6: callers[0].allow: the caller may read nothing\n  hint: allow = [\"db\"] with names \
             of secrets, or [\"*\"] for all of them",
        ),
        (
            "name = 'app'\nuid = []\nallow = 'db'",
            "5: callers[0].uid: an empty list matches nobody\n  hint: leave `uid` out to go by the \
             token alone",
        ),
        (
            "name = 'app'\nuid = [1, -1]\nallow = 'db'",
            "5: callers[0].uid[1]: expected a whole number from 0 to 4294967295, found -1",
        ),
        (
            "name = 'app'\nuid = 'root'\nallow = 'db'",
            "5: callers[0].uid: expected a whole number from 0 to 4294967295, found a string\n  \
             hint: a user's number: `id -u NAME` prints it, in the application's image",
        ),
        (
            "name = 'app'\ntoken_env = 'UNSET'\nallow = 'db'",
            "5: callers[0].token_env: the environment variable is not set\n  hint: it is read \
             once, when the process starts",
        ),
        (
            "name = 'app'\ntoken_env = 'VAULT_TOKEN'\ntoken_file = '/t'\nallow = 'db'",
            "5: callers[0].token_env: `token_file` is given too\n  hint: keep one of the two",
        ),
        (
            "name = 'a'\nuid = 1\nallow = 'db'\n[[callers]]\nname = 'a'\nuid = 2\nallow = 'db'",
            "8: callers[1].name: a is the name of another caller\n  hint: a caller with several \
             uids takes a list: uid = [1, 2]",
        ),
    ] {
        let text = format!("[secrets.db]\npath = 'a/b'\n[[callers]]\n{caller}");
        assert_eq!(problems(&text), format!("sidekey.toml:{expected}"), "{caller}");
    }
}
