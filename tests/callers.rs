//! Caller rules before a real second user: uids by the kernel's word, tokens, allow lists.
//!
//! Another user takes root to make: without it the cases show as ignored, and with `CI=true`
//! they fail.
#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a failed expectation fails")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;

use libtest_mimic::Arguments;
use serde_json::json;
use support::canary::canary;
use support::client::{self, Response};
use support::eventually;
use support::sidecar::{Builder, Sidecar};
use support::trials::{Case, ROOT, of_cases};
use support::vault::{Dev, TestVault as _};

/// Who may ask.
const APP: u32 = 4_201;
/// Who may not.
const STRANGER: u32 = 4_202;

/// The program, where every user can run it.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

const CASES: [Case; 9] = [
    ("uid_over_tcp", &[ROOT], uid_over_tcp),
    ("uid_over_the_unix_socket", &[ROOT], uid_over_the_unix_socket),
    ("uid_of_a_list", &[ROOT], uid_of_a_list),
    ("uid_and_token_are_both_asked_for", &[ROOT], uid_and_token_are_both_asked_for),
    ("token_file_is_read_again", &[ROOT], token_file_is_read_again),
    ("token_file_that_is_emptied", &[ROOT], token_file_that_is_emptied),
    ("allow_lists", &[ROOT], allow_lists),
    ("names_stay_hidden", &[ROOT], names_stay_hidden),
    ("first_matching_rule_that_allows", &[ROOT], first_matching_rule_that_allows),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // Another user may not be able to reach the folder that the program was built in. Copied
    // before any thread starts a process, which would keep the copy open for writing.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = folder.path().join("sidekey");
    std::fs::copy(env!("CARGO_BIN_EXE_sidekey"), &program).unwrap();
    PROGRAM.set(program).unwrap();
    libtest_mimic::run(&arguments, of_cases(&CASES)).exit_code()
}

/// A sidecar with the secrets `db` and `api`.
struct Scene {
    sidecar: Sidecar,
    unix: String,
    db: String,
    api: String,
    _vault: Dev,
}

/// What `sidekey get` came to.
#[derive(Debug, PartialEq)]
enum Got {
    Value(String),
    Refused(String),
}

fn refused(code: &str) -> Got {
    Got::Refused(code.to_owned())
}

impl Scene {
    /// With these `[[callers]]`.
    fn new(rules: &str) -> Self {
        Self::with(Builder::serve(), rules)
    }

    fn with(builder: Builder, rules: &str) -> Self {
        let vault = Dev::start();
        let (db, api) = (canary("db"), canary("api"));
        vault.put("db", json!({ "password": db }));
        vault.put("api", json!({ "key": api }));
        let unix = format!("@sidekey-test-{}", vault.server.addr());
        let config = format!(
            "[vault]\naddress = \"{}\"\nmax_requests_per_second = 100\n\
             [listen]\ntcp = \"127.0.0.1:0\"\nunix = \"{unix}\"\n\
             [health]\nlisten = \"127.0.0.1:0\"\n\
             [secrets.db]\npath = \"secret/data/db\"\n[secrets.api]\npath = \"secret/data/api\"\n\
             {rules}",
            vault.url()
        );
        let sidecar = builder.config(&config).env("VAULT_TOKEN", &vault.root_token()).start();
        Self { sidecar, unix, db, api, _vault: vault }
    }

    /// `sidekey get` as `uid`, over TCP.
    fn get(&self, uid: u32, what: &str, token: Option<&str>) -> Got {
        get_at(&format!("http://{}", self.sidecar.addr()), uid, what, token)
    }

    /// The same over the unix socket.
    fn get_unix(&self, uid: u32, what: &str, token: Option<&str>) -> Got {
        get_at(&format!("unix:{}", self.unix), uid, what, token)
    }

    /// As this process's user, root, with a bearer token.
    fn bearer(&self, path: &str, token: &str) -> Response {
        client::get(self.sidecar.addr(), path, token)
    }

    fn db(&self) -> Got {
        Got::Value(self.db.clone())
    }

    fn api(&self) -> Got {
        Got::Value(self.api.clone())
    }
}

/// `sidekey get` as `uid`.
fn get_at(addr: &str, uid: u32, what: &str, token: Option<&str>) -> Got {
    let mut command = Command::new(PROGRAM.get().unwrap());
    command.env_clear().current_dir("/").stdin(Stdio::null());
    command.uid(uid).gid(uid).args(["get", "--addr", addr, what]);
    if let Some(token) = token {
        command.env("SIDEKEY_TOKEN", token);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    if output.status.success() {
        return Got::Value(String::from_utf8(output.stdout).unwrap());
    }
    // error: db/password: 401 caller_unknown: …
    assert!(output.stdout.is_empty());
    let code = said.split([' ', ':', '\n']).find(|word| word.contains('_'));
    Got::Refused(code.unwrap_or(&said).to_owned())
}

fn uid_over_tcp() {
    let rules = format!("[[callers]]\nname = \"app\"\nuid = {APP}\nallow = [\"db\"]\n");
    let scene = Scene::new(&rules);
    assert_eq!(scene.get(APP, "db/password", None), scene.db());
    assert_eq!(scene.get(STRANGER, "db/password", None), refused("caller_unknown"));
    assert_eq!(scene.get(0, "db/password", None), refused("caller_unknown"), "not even root");
    let said = scene.sidecar.stop();
    assert!(said.contains(&format!("\"uid\":{APP},\"name\":\"db\"")), "{said}");
    assert!(said.contains(&format!("\"uid\":{STRANGER},")), "{said}");
}

fn uid_over_the_unix_socket() {
    let rules = format!("[[callers]]\nname = \"app\"\nuid = {APP}\nallow = [\"db\"]\n");
    let scene = Scene::new(&rules);
    assert_eq!(scene.get_unix(APP, "db/password", None), scene.db());
    assert_eq!(scene.get_unix(STRANGER, "db/password", None), refused("caller_unknown"));
    assert_eq!(scene.get_unix(0, "db/password", None), refused("caller_unknown"), "not even root");
    scene.sidecar.stop();
}

fn uid_of_a_list() {
    let rules = format!("[[callers]]\nname = \"apps\"\nuid = [{APP}, 0]\nallow = [\"db\"]\n");
    let scene = Scene::new(&rules);
    for uid in [APP, 0] {
        assert_eq!(scene.get(uid, "db/password", None), scene.db());
        assert_eq!(scene.get_unix(uid, "db/password", None), scene.db());
    }
    assert_eq!(scene.get(STRANGER, "db/password", None), refused("caller_unknown"));
    scene.sidecar.stop();
}

fn uid_and_token_are_both_asked_for() {
    let token = canary("caller");
    let builder = Builder::serve();
    let file = builder.file("token", &token);
    let rules = format!(
        "[[callers]]\nname = \"app\"\nuid = {APP}\ntoken_file = \"{file}\"\nallow = [\"*\"]\n"
    );
    let scene = Scene::with(builder, &rules);
    let wrong = canary("wrong");
    assert_eq!(scene.get(APP, "db/password", Some(&token)), scene.db());
    assert_eq!(scene.get_unix(APP, "db/password", Some(&token)), scene.db());
    for (uid, token) in
        [(APP, None), (APP, Some(&wrong)), (STRANGER, Some(&token)), (STRANGER, None)]
    {
        let token = token.map(String::as_str);
        assert_eq!(scene.get(uid, "db/password", token), refused("caller_unknown"));
        assert_eq!(scene.get_unix(uid, "db/password", token), refused("caller_unknown"));
    }
    scene.sidecar.stop();
}

/// A rule by token alone; returns its token and the token's file.
fn by_token(limits: &str) -> (Scene, String, String) {
    let token = canary("caller");
    let builder = Builder::serve();
    let file = builder.file("token", &format!("{token}\n"));
    let rule = format!("[[callers]]\nname = \"app\"\ntoken_file = \"{file}\"\nallow = [\"db\"]\n");
    (Scene::with(builder, &format!("{limits}\n{rule}")), token, file)
}

const MANY_REFUSALS: &str = "[limits]\nrefusals_per_second = 10000\n";

fn token_file_is_read_again() {
    let (scene, old, file) = by_token(MANY_REFUSALS);
    assert_eq!(scene.bearer("/secrets/db/password", &old).status, 200);
    let new = canary("rotated");
    std::fs::write(&file, &new).unwrap();
    eventually("the new token", || {
        (scene.bearer("/secrets/db/password", &new).status == 200).then_some(())
    });
    assert_eq!(scene.bearer("/secrets/db/password", &old).code(), "caller_unknown");
    // As Kubernetes does it: another file in its place.
    let third = canary("renamed");
    let beside = format!("{file}.next");
    std::fs::write(&beside, &third).unwrap();
    std::fs::rename(&beside, &file).unwrap();
    eventually("the third token", || {
        (scene.bearer("/secrets/db/password", &third).status == 200).then_some(())
    });
    assert_eq!(scene.bearer("/secrets/db/password", &new).code(), "caller_unknown");
    scene.sidecar.stop();
}

fn token_file_that_is_emptied() {
    let (scene, token, file) = by_token(MANY_REFUSALS);
    assert_eq!(scene.bearer("/secrets/db/password", &token).status, 200);
    std::fs::write(&file, "").unwrap();
    eventually("no token", || {
        let answer = scene.bearer("/secrets/db/password", &token);
        (answer.status == 401).then(|| assert_eq!(answer.code(), "caller_unknown"))
    });
    let event = scene.sidecar.wait_for("token file unusable, rule matches nobody");
    assert_eq!((&event["caller"], &event["file"]), (&json!("app"), &json!(file)));
    for nothing in ["", " "] {
        assert_eq!(scene.bearer("/secrets/db/password", nothing).code(), "caller_unknown");
    }
    std::fs::write(&file, &token).unwrap();
    eventually("the token again", || {
        (scene.bearer("/secrets/db/password", &token).status == 200).then_some(())
    });
    scene.sidecar.wait_for("token file usable again");
    scene.sidecar.stop();
}

fn allow_lists() {
    let rules = format!(
        "[[callers]]\nname = \"app\"\nuid = {APP}\nallow = [\"db\"]\n\
         [[callers]]\nname = \"admin\"\nuid = {STRANGER}\nallow = [\"*\"]\n"
    );
    let scene = Scene::new(&rules);
    assert_eq!(scene.get(APP, "db/password", None), scene.db());
    assert_eq!(scene.get(APP, "api/key", None), refused("caller_denied"));
    assert_eq!(scene.get_unix(APP, "api/key", None), refused("caller_denied"));
    assert_eq!(scene.get(STRANGER, "db/password", None), scene.db());
    assert_eq!(scene.get(STRANGER, "api/key", None), scene.api());
    assert_eq!(scene.get(STRANGER, "nothing/key", None), refused("unknown_name"));
    scene.sidecar.stop();
}

/// Who may not read a name cannot learn whether there is one.
fn names_stay_hidden() {
    let (scene, token, _) = by_token("");
    let ask = |path: &str| scene.bearer(path, &token);
    let (there, nowhere) = (ask("/secrets/api"), ask("/secrets/nowhere"));
    assert_eq!((there.status, there.code()), (403, "caller_denied".into()));
    let unremarkable = |answer: &Response| {
        let headers = answer.headers.iter().filter(|(name, _)| name != "date").cloned();
        (answer.status, answer.text(), headers.collect::<Vec<_>>())
    };
    assert_eq!(unremarkable(&there), unremarkable(&nowhere));
    for path in ["/secrets/api/key", "/secrets/api/nothing", "/secrets/nowhere/key"] {
        assert_eq!(unremarkable(&ask(path)), unremarkable(&there), "{path}");
    }
    let listed = ask("/secrets").json();
    let names = listed["secrets"].as_array().unwrap().iter().map(|secret| &secret["name"]);
    assert_eq!(names.collect::<Vec<_>>(), ["db"]);
    scene.sidecar.stop();
}

fn first_matching_rule_that_allows() {
    let token = canary("caller");
    let builder = Builder::serve();
    let file = builder.file("token", &token);
    let rules = format!(
        "[[callers]]\nname = \"user\"\nuid = {APP}\nallow = [\"db\"]\n\
         [[callers]]\nname = \"token\"\ntoken_file = \"{file}\"\nallow = [\"api\"]\n"
    );
    let scene = Scene::with(builder, &rules);
    assert_eq!(scene.get(APP, "db/password", Some(&token)), scene.db());
    assert_eq!(scene.get(APP, "api/key", Some(&token)), scene.api());
    assert_eq!(scene.get(APP, "api/key", None), refused("caller_denied"));
    assert_eq!(scene.get(STRANGER, "api/key", Some(&token)), scene.api());
    assert_eq!(scene.get(STRANGER, "db/password", Some(&token)), refused("caller_denied"));
    scene.sidecar.stop();
}
