//! `Debug`, `Display` and the chain of sources, of what holds secrets or errors about them.

use std::collections::BTreeMap;
use std::sync::Arc;

use sidekey::config::{self, AuthMethod, Environment, Flags, Sources, TokenSource};
use sidekey::memory::SecretBuf;
use sidekey::secret::{EtagKey, Format, render};
use sidekey::vault;

use crate::support::canary::{assert_clean, canary};

fn shown(what: &str, value: &impl std::fmt::Debug) {
    assert_clean(what, &format!("{value:?} {value:#?}"));
}

fn secret(what: &str) -> Arc<SecretBuf> {
    Arc::new(SecretBuf::copy_from(canary(what).as_bytes()))
}

#[test]
fn buffers_show_their_length() {
    let buffer = secret("buffer");
    shown("SecretBuf", &buffer);
    assert!(format!("{buffer:?}").contains("redacted"));
    shown("TokenSource", &TokenSource::Environment(secret("token")));
    shown("AuthMethod", &AuthMethod::Token(TokenSource::Environment(secret("token"))));
}

#[test]
fn secrets_and_what_becomes_of_them_show_names() {
    let key = EtagKey::random().unwrap();
    let data = serde_json::json!({ "password": canary("field"), "n\u{0}l": canary("nul") });
    let secret = render(&data.to_string(), &key, Some(3), None).unwrap();
    shown("Secret", &secret);
    shown("EtagKey", &key);
    shown("formatted", &secret.formatted(Format::Yaml));
    let refused =
        render(&serde_json::json!({ "a": "\0", "b": canary("b") }).to_string(), &key, None, None);
    let refused = refused.unwrap().formatted(Format::Env).unwrap_err();
    shown("Unrepresentable", &refused);
    assert_clean("Unrepresentable", &refused.to_string());
    for broken in ["[\"?\"]", "{\"?\":1,\"?\":2}", "{\"a\":\"?", "?", "{\"a\":\"\\ud800?\"}"] {
        let error = render(&broken.replace('?', &canary("broken")), &key, None, None).unwrap_err();
        shown("RenderError", &error);
        assert_clean("RenderError", &error.to_string());
    }
}

#[test]
fn errors_of_vault_hold_nothing_that_it_said() {
    let key = EtagKey::random().unwrap();
    for status in [200, 204, 404] {
        for body in
            ["?", "{\"data\":\"?\"}", "{\"errors\":[\"?\"]}", "{\"data\":{\"?\":1,\"?\":1}}"]
        {
            let body = body.replace('?', &canary("body"));
            if let Err(failure) = vault::understand(status, body.as_bytes(), &key) {
                shown("Failure", &failure);
                assert_clean("Failure", &failure.to_string());
            }
        }
    }
}

#[test]
fn configurations_show_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidekey.toml");
    let toml = format!(
        "[auth]\nmethod = \"approle\"\nrole_id = \"{}\"\nsecret_id_file = \"/run/secret-id\"\n\
         [secrets.db]\npath = \"secret/data/app\"\n\
         [[callers]]\nname = \"app\"\ntoken_env = \"APP\"\nallow = [\"*\"]\n",
        canary("role-id")
    );
    std::fs::write(&file, toml).unwrap();
    let secrets =
        ["VAULT_TOKEN", "SIDEKEY_TOKEN", "APP"].map(|name| (name.to_owned(), secret(name)));
    let other = BTreeMap::from([("PGPASSWORD".to_owned(), canary("somebody else's"))]);
    let environment = Environment { values: other, secrets: secrets.into(), home: None };
    shown("Environment", &environment);
    let sources = Sources { file: Some(file), flags: Flags::default(), environment };
    shown("Sources", &sources);
    let loaded = config::load(sources).unwrap();
    shown("Loaded", &loaded);
    shown("Config", &loaded.config);
    for caller in &loaded.config.callers {
        shown("CallerRule", caller);
    }
    for warning in &loaded.warnings {
        assert_clean("a warning", warning);
    }
    assert!(format!("{:?}", loaded.config).contains("redacted"));
}
