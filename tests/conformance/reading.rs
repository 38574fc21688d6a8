//! What can be read, and how it is served.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::approle::a_password;
use crate::case::{Case, case};
use crate::setup::Setup;
use crate::support::canary::canary;
use crate::support::vault::TestVault as _;
use crate::vault::Vault;

pub const CASES: &[Case] = &[
    case!(kv_version_1),
    case!(kv_version_2),
    case!(versions_of_the_past),
    case!(cubbyhole),
    case!(every_json_type),
    case!(unicode_and_empty_strings),
    case!(bytes_in_base64),
    case!(a_mebibyte),
    case!(three_thousand_fields),
    case!(paths_as_they_are),
];

fn kv_version_1(vault: &Vault) {
    vault.set_up("POST", "sys/mounts/old", json!({ "type": "kv", "options": { "version": "1" } }));
    let password = canary("password");
    // As KV version 2 would have it, to see that it is not taken for that.
    let fields = json!({ "password": password, "data": "d", "metadata": "m", "ttl": "30m" });
    vault.set_up("POST", "old/app", fields.clone());
    let sidecar = Setup::as_root(vault).secret("db", "old/app").start();
    assert_eq!(sidecar.value("db/password"), password);
    let answer = sidecar.get("/secrets/db");
    assert_eq!(answer.json(), fields);
    assert_eq!(answer.header("sidekey-version"), Some("1"));
    assert_eq!(answer.header("sidekey-expires-in"), None, "a ttl in KV version 1 is a hint");
    sidecar.stop();
}

fn kv_version_2(vault: &Vault) {
    a_password(vault);
    let password = a_password(vault);
    let sidecar = Setup::as_root(vault).secret("db", "secret/data/app").start();
    let answer = sidecar.get("/secrets/db");
    assert_eq!(answer.json(), json!({ "user": "alice", "password": password }));
    assert_eq!(answer.header("sidekey-version"), Some("2"));
    assert_eq!(answer.header("sidekey-freshness"), Some("fresh"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    sidecar.stop();
}

fn versions_of_the_past(vault: &Vault) {
    let passwords: Vec<String> = (0..3).map(|_| a_password(vault)).collect();
    let sidecar = Setup::as_root(vault).secret("db", "secret/data/app").start();
    for (version, password) in (1..).zip(&passwords) {
        let answer = sidecar.get(&format!("/secrets/db/password?version={version}"));
        assert_eq!((answer.status, &answer.text()), (200, password));
        assert_eq!(answer.header("sidekey-version"), Some(version.to_string().as_str()));
    }
    assert_eq!(sidecar.value("db/password"), passwords[2]);
    sidecar.stop();
}

/// Any engine's read path will do.
fn cubbyhole(vault: &Vault) {
    let password = canary("password");
    vault.set_up("POST", "cubbyhole/app", json!({ "password": password }));
    let sidecar = Setup::as_root(vault).secret("db", "cubbyhole/app").start();
    assert_eq!(sidecar.value("db/password"), password);
    sidecar.stop();
}

fn every_json_type(vault: &Vault) {
    let fields = json!({
        "text": canary("text"),
        "integer": 42, "large": 9_007_199_254_740_993_i64, "negative": -1, "fraction": 0.5,
        "yes": true, "no": false, "nothing": null,
        "list": [1, "two", { "three": [] }],
        "object": { "nested": { "deeper": canary("deep") } },
        "empty_list": [], "empty_object": {},
    });
    // KV version 2 keeps numbers as floats, version 1 as they are written.
    vault.set_up("POST", "sys/mounts/old", json!({ "type": "kv", "options": { "version": "1" } }));
    vault.set_up("POST", "old/app", fields.clone());
    vault.put("app", fields.clone());
    let setup = Setup::as_root(vault).secret("db", "old/app");
    let sidecar = setup.secret("rounded", "secret/data/app").start();
    assert_eq!(sidecar.get("/secrets/db").json(), fields);
    assert_eq!(sidecar.value("rounded/large"), "9007199254740992");
    for (field, bare) in [
        ("integer", "42"),
        ("large", "9007199254740993"),
        ("negative", "-1"),
        ("fraction", "0.5"),
        ("yes", "true"),
        ("no", "false"),
        ("nothing", "null"),
        ("empty_list", "[]"),
        ("empty_object", "{}"),
    ] {
        assert_eq!(sidecar.value(&format!("db/{field}")), bare, "{field}");
    }
    let list = sidecar.get("/secrets/db/list");
    assert_eq!(
        (list.header("content-type"), list.json()),
        (Some("application/json"), fields["list"].clone())
    );
    assert_eq!(sidecar.get("/secrets/db/object").json(), fields["object"]);
    let text = sidecar.get("/secrets/db/text");
    assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
    sidecar.stop();
}

fn unicode_and_empty_strings(vault: &Vault) {
    let password = format!("{}-pässwörd-密码-🔑-\u{0}\u{7f}\u{2028}\"\\\r\n<&>", canary("unicode"));
    let fields = json!({
        "password": password, "empty": "", "ключ": "значение", "a b/c": "spaced", "": "unnamed",
    });
    vault.put("app", fields.clone());
    let sidecar = Setup::as_root(vault).secret("db", "secret/data/app").start();
    assert_eq!(sidecar.get("/secrets/db").json(), fields);
    assert_eq!(sidecar.value("db/password"), password);
    assert_eq!(sidecar.value("db/empty"), "");
    assert_eq!(sidecar.value("db/%D0%BA%D0%BB%D1%8E%D1%87"), "значение");
    assert_eq!(sidecar.value("db/a%20b%2Fc"), "spaced");
    sidecar.stop();
}

fn bytes_in_base64(vault: &Vault) {
    let mut bytes: Vec<u8> = (0..=255).collect();
    bytes.extend(canary("bytes").bytes());
    vault.put("app", json!({ "keystore": STANDARD.encode(&bytes), "text": canary("no base64") }));
    let sidecar = Setup::as_root(vault).secret("db", "secret/data/app").start();
    let answer = sidecar.get("/secrets/db/keystore?encoding=base64");
    assert_eq!((answer.status, answer.body), (200, bytes.clone()));
    assert_eq!(sidecar.value("db/keystore"), STANDARD.encode(&bytes));
    assert_eq!(sidecar.code("db/text?encoding=base64"), "not_base64");
    sidecar.stop();
}

fn a_mebibyte(vault: &Vault) {
    let line = format!("{}\n", canary("line"));
    let large = line.repeat((1 << 20) / line.len());
    vault.put("app", json!({ "large": large, "small": "s" }));
    let sidecar = Setup::as_root(vault).secret("db", "secret/data/app").start();
    assert_eq!(sidecar.value("db/large"), large);
    assert_eq!(sidecar.get("/secrets/db").json()["large"], large);
    sidecar.stop();
}

fn three_thousand_fields(vault: &Vault) {
    let field = |n: usize| (format!("field_{n}"), json!(canary("field")));
    let fields: Map<String, Value> = (0..3000).map(field).collect();
    vault.put("app", Value::Object(fields.clone()));
    let sidecar = Setup::as_root(vault).secret("db", "secret/data/app").start();
    for name in ["field_0", "field_1499", "field_2999"] {
        assert_eq!(sidecar.value(&format!("db/{name}")), fields[name]);
    }
    assert_eq!(sidecar.get("/secrets/db").json(), Value::Object(fields));
    sidecar.stop();
}

/// Paths are written as they are, without escapes.
fn paths_as_they_are(vault: &Vault) {
    let password = canary("password");
    vault.put("teams/a%20b/%C3%BC+%25/app", json!({ "password": password }));
    let sidecar = Setup::as_root(vault).secret("db", "secret/data/teams/a b/ü+%/app").start();
    assert_eq!(sidecar.value("db/password"), password);
    sidecar.stop();
}
