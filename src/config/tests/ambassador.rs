//! `[adapters.ambassador.NAME]`.

use super::super::{AmbassadorProtocol, AmbassadorSpec, HeaderForm};
use super::{REST, config, load_file, problems};

const API: &str = "[adapters.ambassador.api]\nlisten = '127.0.0.1:9001'\nprotocol = 'http'\n\
                   destination = 'https://api.example.com'\nsecret = 'db'\n\
                   credential = 'bearer'\nallow = ['app']\n";
const DB: &str = "[adapters.ambassador.db]\nlisten = '@db'\nprotocol = 'postgres'\n\
                  destination = 'db.internal'\nsecret = 'db'\nallow = 'app'\n";

fn spec(text: &str) -> AmbassadorSpec {
    config(&format!("{text}{REST}")).ambassadors.remove(0)
}

#[test]
fn defaults() {
    let api = spec(API);
    assert_eq!(api.destination.authority(), "api.example.com:443");
    assert!(api.destination.tls.is_some());
    let AmbassadorProtocol::Http(header) = api.protocol else { panic!("not http") };
    assert_eq!(header.name, "authorization");
    let form = HeaderForm::Field { prefix: "Bearer ".into(), field: "token".into() };
    assert_eq!(header.value, form);

    let db = spec(DB);
    assert_eq!(db.destination.authority(), "db.internal:5432");
    assert!(db.destination.tls.is_some());
    let local = spec(&DB.replace("db.internal", "[::1]:5433"));
    assert_eq!(local.destination.authority(), "[::1]:5433");
    assert!(local.destination.tls.is_none(), "on loopback");
}

#[test]
fn a_credential_in_the_clear_is_said_aloud() {
    let warnings = |text: &str| load_file(&format!("{text}{REST}")).unwrap().warnings.join("\n");
    assert!(warnings(&API.replace("https:", "http:")).contains("travels unencrypted"));
    assert!(warnings(&DB.replace("secret", "tls = false\nsecret")).contains("unencrypted"));
    assert!(
        !warnings(&API.replace("https://api.example.com", "http://127.0.0.1:1")).contains("unenc")
    );
}

#[test]
fn each_mistake_is_named() {
    for (from, to, expected) in [
        (
            "'127.0.0.1:9001'",
            "'0.0.0.0:9001'",
            "2: adapters.ambassador.api.listen: 0.0.0.0:9001 can be reached",
        ),
        (
            "'127.0.0.1:9001'",
            "'127.0.0.1:7433'",
            "2: adapters.ambassador.api.listen: 127.0.0.1:7433 is listened on already",
        ),
        (
            "'127.0.0.1:9001'",
            "'127.0.0.1:7434'",
            "2: adapters.ambassador.api.listen: 127.0.0.1:7434 is listened on already",
        ),
        (
            "'http'",
            "'htpp'",
            "3: adapters.ambassador.api.protocol: unknown protocol \"htpp\"\n  hint: did you mean `http`?",
        ),
        (
            "https://api",
            "https://canary-9f2c@api",
            "4: adapters.ambassador.api.destination: a user name or password has no place",
        ),
        (
            "example.com",
            "example.com/v1",
            "4: adapters.ambassador.api.destination: expected scheme, host and port alone",
        ),
        (
            "https:",
            "ftp:",
            "4: adapters.ambassador.api.destination: expected a URL that starts with",
        ),
        (
            "'db'",
            "'bd'",
            "5: adapters.ambassador.api.secret: no secret \"bd\" is declared\n  hint: did you mean `db`?",
        ),
        ("'bearer'", "'token'", "6: adapters.ambassador.api.credential: unknown form \"token\""),
        ("'bearer'", "'header'", "adapters.ambassador.api.header: is missing"),
        (
            "'bearer'",
            "'bearer'\nheader = 'Host'",
            "7: adapters.ambassador.api.header: \"Host\" cannot carry a credential",
        ),
        (
            "'bearer'",
            "'bearer'\ndatabase = 'x'",
            "7: adapters.ambassador.api.database: the key is PostgreSQL's",
        ),
        (
            "'bearer'",
            "'bearer'\nmethods = ['get']",
            "7: adapters.ambassador.api.methods[0]: \"get\" is not a method\n  hint: written in capitals",
        ),
        (
            "'bearer'",
            "'bearer'\nmethods = []",
            "7: adapters.ambassador.api.methods: an empty list lets nothing through",
        ),
        (
            "'bearer'",
            "'bearer'\npaths = ['/v1/*', '/v1*']",
            "7: adapters.ambassador.api.paths[1]: \"/v1*\": `*` stands for a whole segment",
        ),
        (
            "'bearer'",
            "'bearer'\npaths = '/a/../b'",
            "7: adapters.ambassador.api.paths: \"/a/../b\": no request with such a path",
        ),
        (
            "'bearer'",
            "'bearer'\ntls = true",
            "7: adapters.ambassador.api.tls: the destination's scheme says it",
        ),
        (
            "['app']",
            "['ap']",
            "7: adapters.ambassador.api.allow[0]: no caller \"ap\" is declared\n  hint: did you mean `app`?",
        ),
        ("['app']", "[]", "7: adapters.ambassador.api.allow: nobody may use it"),
        (
            "allow",
            "alow",
            "7: adapters.ambassador.api.alow: unknown key\n  hint: did you mean `allow`?",
        ),
    ] {
        assert!(API.contains(from), "{from}");
        let found = problems(&format!("{}{REST}", API.replacen(from, to, 1)));
        assert!(found.contains(expected), "{to}: {found}");
        assert!(!found.contains(super::CANARY), "{found}");
    }
}

#[test]
fn all_that_is_missing_is_said_at_once() {
    let found = problems(&format!("[adapters.ambassador.api]\n{REST}"));
    for key in ["listen", "protocol", "destination", "secret", "allow"] {
        assert!(found.contains(&format!("adapters.ambassador.api.{key}: ")), "{key} in {found}");
    }
}

#[test]
fn two_listeners_need_two_addresses() {
    let second = API.replace(".api]", ".other]");
    let found = problems(&format!("{API}{second}{REST}"));
    assert!(
        found
            .contains("9: adapters.ambassador.other.listen: 127.0.0.1:9001 is listened on already"),
        "{found}"
    );
}

#[test]
fn postgres_callers_go_by_uid_alone() {
    let rest = REST.replace("uid = 1", "uid = 1\ntoken_file = '/t'");
    let found = problems(&format!("{DB}{rest}"));
    assert!(
        found.contains("adapters.ambassador.db.allow: the caller app has to show a token"),
        "{found}"
    );
}

#[test]
fn methods_and_paths_are_for_http_alone() {
    let limited = spec(&format!("{API}methods = 'GET'\npaths = ['/v1/*', '/health']\n")).scope;
    assert_eq!(limited.methods, Some(vec![http::Method::GET]));
    assert_eq!(limited.paths.map(|paths| paths.len()), Some(2));
    assert!(!spec(API).scope.is_limited());
    let found = problems(&format!("{DB}paths = ['/v1']\n{REST}"));
    assert!(found.contains("adapters.ambassador.db.paths: the key is HTTP's"), "{found}");
}
