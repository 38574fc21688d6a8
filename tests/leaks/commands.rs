//! Secrets in the wrong place of a configuration or a command line: named, never repeated.

use crate::support::canary::{assert_clean, canary};
use crate::support::sidecar::binary;

fn run(args: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = binary().args(args).envs(environment.iter().copied()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn inline_secrets_in_a_configuration_are_refused_unquoted() {
    let secret = canary("inline");
    let rest = "[secrets.db]\npath = \"secret/data/app\"\n[[callers]]\nname = \"app\"\nuid = [1000]\nallow = [\"db\"]\n";
    for wrong in [
        format!("[auth]\ntoken = \"{secret}\"\n{rest}"),
        format!("[auth]\nmethod = \"approle\"\nrole_id = \"r\"\nsecret_id = \"{secret}\"\n{rest}"),
        format!("[auth]\nmethod = \"approle\"\nrole_id = [\"{secret}\"]\n{rest}"),
        format!("[auth]\nmethod = \"kubernetes\"\nrole = \"r\"\njwt = \"{secret}\"\n{rest}"),
        format!("[vault]\ntoken = \"{secret}\"\n{rest}"),
        format!("[vault]\naddress = \"https://user:{secret}@vault:8200\"\n{rest}"),
        format!("[vault]\naddress = \"https://vault:8200/?token={secret}\"\n{rest}"),
        format!("[vault]\naddress = \"{secret}\"\n{rest}"),
        format!("[vault]\nclient_key = [\"{secret}\"]\n{rest}"),
        format!("{rest}token = \"{secret}\"\n"),
        format!("{rest}token_env = \"{secret}\"\n"),
        format!("{rest}password = \"{secret}\"\n"),
        format!("[secrets.x]\npath = \"{secret}\"\n{rest}"),
        format!("[secrets.x]\nvalue = \"{secret}\"\n{rest}"),
        format!(
            "[secrets.x]\npath = \"secret/data/x\"\nfields = {{ password = \"{secret}\" }}\n{rest}"
        ),
        format!("[secrets]\nx = \"{secret}\"\n{rest}"),
        format!("token = {secret}\n{rest}"),
        format!("token = \"{secret}\n{rest}"),
        format!("token = '''{secret}\n"),
        format!("{rest}token = {{ \"{secret}\"\n"),
        format!("= \"{secret}\"\n"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sidekey.toml");
        std::fs::write(&file, &wrong).unwrap();
        let file = file.to_str().unwrap();
        for args in [&["check", "--config", file][..], &["serve", "--config", file]] {
            let (status, said) = run(args, &[("VAULT_TOKEN", &canary("root"))]);
            assert_eq!(status, Some(78), "{said}");
            assert_clean(&format!("what is said of\n{}", wrong.replace(&secret, "…")), &said);
        }
    }
}

#[test]
fn secrets_in_the_wrong_place_of_a_command_line_are_not_repeated() {
    let secret = canary("typed");
    let at = |text: &str| text.replace('?', &secret);
    for (args, status) in [
        (&["serve", "--secret", "?"][..], 78),
        (&["serve", "--secret", "db=?"], 78),
        (&["serve", "--secret", "db=a/b", "--vault-addr", "https://user:?@vault"], 78),
        (&["serve", "--secret", "db=a/b", "--token=?"], 64),
        (&["dev", "--secret", "?"], 64),
        (&["dev", "--secret", "db=?"], 64),
        (&["dev", "--secret", "db.password:?"], 64),
        (&["dev", "--secret", "no name.password=?"], 64),
        (&["get", "db", "--token=?"], 64),
        (&["get", "db", "--addr", "http://user:?@127.0.0.1:1"], 64),
    ] {
        let args: Vec<_> = args.iter().map(|arg| at(arg)).collect();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let (code, said) = run(&args, &[]);
        assert_eq!(code, Some(status), "{said}");
        assert_clean(&args.join(" ").replace(&secret, "…"), &said);
    }
}

#[test]
fn tokens_that_no_header_can_carry_are_not_shown() {
    let broken = format!("{}\u{1}\n", canary("broken"));
    let (status, said) =
        run(&["get", "db", "--addr", "127.0.0.1:1"], &[("SIDEKEY_TOKEN", &broken)]);
    assert!(matches!(status, Some(1 | 64)), "{said}");
    assert_clean("get", &said);
    let environment = [
        ("VAULT_TOKEN", broken.as_str()),
        ("SIDEKEY_TOKEN", &broken),
        ("VAULT_ADDR", "http://127.0.0.1:9"),
    ];
    let check = ["check", "--online", "--secret", "db=secret/data/app"];
    let (status, said) = run(&check, &environment);
    assert!(matches!(status, Some(69 | 77 | 78)), "{status:?} {said}");
    assert_clean("check", &said);
}
