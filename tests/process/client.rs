//! `sidekey get` and `sidekey health`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;

use serde_json::json;

use crate::exit::run;
use crate::serve;
use crate::support::canary::canary;
use crate::support::client;
use crate::support::sidecar::{Builder, binary};
use crate::support::vault::{Dev, TestVault};

#[test]
fn get_prints_the_value_alone() {
    let served = serve(&[]);
    let addr = format!("http://{}", served.sidecar.addr());
    let environment = [("SIDEKEY_ADDR", addr.as_str()), ("SIDEKEY_TOKEN", &served.token)];
    let (status, out, err) = run(&["get", "db/password"], &environment);
    assert_eq!((status, out, err.as_str()), (0, served.password.clone(), ""));

    let (status, out, err) = run(&["get", "db"], &environment);
    assert_eq!((status, err.as_str()), (0, ""));
    let whole: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(whole, json!({ "user": "alice", "password": served.password }));
    for (format, line) in [
        ("json", format!("\"password\":\"{}\"", served.password)),
        ("env", format!("password={}\n", served.password)),
        ("yaml", format!("password: \"{}\"\n", served.password)),
        ("properties", format!("password={}\n", served.password)),
    ] {
        let (status, out, err) = run(&["get", "db", "--format", format], &environment);
        assert_eq!((status, err.as_str()), (0, ""), "{format}");
        assert!(out.contains(&line), "{format} has no {line}");
    }
    let flag = ["get", "--addr", &served.sidecar.addr().to_string(), "db/user"];
    let (status, out, _) = run(&flag, &[("SIDEKEY_TOKEN", &served.token)]);
    assert_eq!((status, out.as_str()), (0, "alice"));
    served.sidecar.stop();
}

#[test]
fn get_says_on_stderr_why_there_is_no_value() {
    let served = serve(&[]);
    let addr = format!("http://{}", served.sidecar.addr());
    let wrong = canary("wrong");
    for (what, token, code) in [
        ("db/nothing", Some(served.token.as_str()), "404 unknown_field"),
        ("nothing", Some(&served.token), "404 unknown_name"),
        ("db", Some(&wrong), "401 caller_unknown"),
        ("db", None, "401 caller_unknown"),
        ("../metrics", Some(&served.token), "404"),
    ] {
        let mut environment = vec![("SIDEKEY_ADDR", addr.as_str())];
        environment.extend(token.map(|token| ("SIDEKEY_TOKEN", token)));
        let (status, out, err) = run(&["get", what], &environment);
        assert_eq!((status, out.as_str()), (1, ""), "{what}: {err}");
        assert!(err.starts_with(&format!("error: {what}: {code}")), "{what}: {err}");
        assert_eq!(err.contains("hint: set SIDEKEY_TOKEN"), token.is_none(), "{err}");
        let is_wrong = token == Some(&wrong);
        assert_eq!(err.contains("hint: SIDEKEY_TOKEN is not the token"), is_wrong, "{err}");
    }
    let gone = served.sidecar.addr().to_string();
    served.sidecar.stop();
    let (status, out, err) = run(&["get", "db", "--addr", &gone], &[]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains(&format!("no sidecar answers at {gone}")), "{err}");
}

/// What is no value of a sidecar's is not printed as one.
#[test]
fn get_says_that_somebody_else_answers() {
    let served = serve(&[]);
    let token = [("SIDEKEY_TOKEN", served.token.as_str())];
    let vault = served.vault.url().replace("http://", "");
    let (status, out, err) = run(&["get", "db/user", "--addr", &vault, "--wait", "1m"], &token);
    assert_eq!((status, out.as_str()), (1, ""), "{err}");
    assert!(err.contains(&format!("{vault} is not where a sidecar serves secrets")), "{err}");
    let health = served.sidecar.health_addr().to_string();
    let (status, out, err) = run(&["get", "db/user", "--addr", &health], &token);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("this is the health listener"), "{err}");

    // Answers 200 to everything; and one that speaks something else.
    for words in ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "220 mail\r\n"] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let stranger = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(words.as_bytes()).unwrap();
        });
        let (status, out, err) = run(&["get", "db/user", "--addr", &addr], &token);
        assert_eq!((status, out.as_str()), (1, ""), "{err}");
        assert!(err.contains(&addr) && err.contains("sidecar"), "{err}");
        stranger.join().unwrap();
    }
    served.sidecar.stop();
}

#[test]
fn get_says_how_to_write_what_it_does_not_take() {
    for (arguments, hint) in [
        (&["db", "--addr", "http://localhost:7433"][..], "write http://127.0.0.1:7433"),
        (&["db/"], "expected NAME or NAME/FIELD"),
        (&[""], "expected NAME or NAME/FIELD"),
    ] {
        let (status, out, err) = run(&[&["get"], arguments].concat(), &[]);
        assert_eq!((status, out.as_str()), (64, ""), "{err}");
        assert!(err.contains(hint), "{err}");
    }
    let served = serve(&[]);
    let addr = served.sidecar.addr().to_string();
    let token = [("SIDEKEY_TOKEN", served.token.as_str())];
    let (status, _, err) = run(&["get", "web/cert.pem", "--addr", &addr], &token);
    assert_eq!(status, 1);
    assert!(err.contains("hint: --certificate asks for a certificate"), "{err}");
    served.sidecar.stop();
}

#[test]
fn get_asks_an_abstract_socket_where_the_uid_is_enough() {
    let vault = Dev::start();
    let password = canary("password");
    vault.put("app", json!({ "password": password }));
    let name = format!("@sidekey-get-{}", std::process::id());
    let uid = std::fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m));
    let toml = format!(
        "[listen]\nunix = \"{name}\"\n[health]\nlisten = \"127.0.0.1:0\"\n\
         [secrets.db]\npath = \"secret/data/app\"\n\
         [[callers]]\nname = \"me\"\nuid = [{}]\nallow = [\"db\"]\n",
        uid.unwrap()
    );
    let sidecar = Builder::serve()
        .config(&toml)
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .start();
    let addr = format!("unix:{name}");
    let (status, out, err) = run(&["get", "db/password"], &[("SIDEKEY_ADDR", &addr)]);
    assert_eq!((status, out, err.as_str()), (0, password.clone(), ""));
    assert_eq!(run(&["get", "--addr", &name, "db/password"], &[]).1, password);
    let answer = client::get_unix(&name, "/secrets/db/password", &[]);
    assert_eq!((answer.status, answer.text()), (200, password));
    sidecar.stop();
    let (status, out, err) = run(&["get", "--addr", &name, "db/password"], &[]);
    assert_eq!((status, out.as_str()), (1, ""), "{err}");
}

#[test]
fn get_waits_for_a_sidecar_that_is_not_there_yet() {
    let name = format!("@sidekey-wait-{}", std::process::id());
    let token = canary("caller");
    let mut asker = binary()
        .args(["get", "--wait", "60s", "--addr", &name, "db/password"])
        .env("SIDEKEY_TOKEN", &token)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut progress = String::new();
    BufReader::new(asker.stderr.take().unwrap()).read_line(&mut progress).unwrap();
    assert!(progress.starts_with("waiting up to "), "{progress}");
    assert!(progress.contains(&format!("no sidecar answers at {name}")), "{progress}");

    let vault = Dev::start();
    let password = canary("password");
    vault.put("app", json!({ "password": password }));
    let sidecar = Builder::serve()
        .args(&["--secret", "db=secret/data/app", "--listen", &name])
        .args(&["--health-listen", "127.0.0.1:0"])
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("SIDEKEY_TOKEN", &token)
        .start();
    let answer = asker.wait_with_output().unwrap();
    assert_eq!((answer.status.code(), answer.stdout), (Some(0), password.into_bytes()));
    sidecar.stop();
}

#[test]
fn get_watch_prints_every_change_on_a_line() {
    let served = serve(&[]);
    let mut watcher = binary()
        .args(["get", "--watch", "--addr", &served.sidecar.addr().to_string(), "db/password"])
        .env("SIDEKEY_TOKEN", &served.token)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watcher.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), served.password);
    let second = canary("second");
    served.vault.put("app", json!({ "password": second }));
    let bearer = format!("Bearer {}", served.token);
    let headers = [("Authorization", bearer.as_str())];
    let addr = served.sidecar.addr();
    assert_eq!(client::request(addr, "POST", "/secrets/db/refresh", &headers).status, 200);
    assert_eq!(lines.next().unwrap().unwrap(), second);
    watcher.kill().unwrap();
    watcher.wait().unwrap();
    served.sidecar.stop();
}

#[test]
fn what_is_asked_wrongly_is_said() {
    let served = serve(&[]);
    let addr = served.sidecar.addr().to_string();
    for probe in [&["health", "--addr", &addr][..], &["health", "--ready", "--addr", &addr]] {
        let (status, out, err) = run(probe, &[]);
        assert_eq!((status, out.as_str()), (1, ""), "{err}");
        assert!(err.contains("secrets are served there") && !err.contains('{'), "{err}");
    }
    let (status, _, err) = run(&["get", "--wait", "5", "db"], &[]);
    assert_eq!(status, 64, "{err}");
    assert!(err.contains("for seconds write 5s"), "{err}");
    served.sidecar.stop();
}

#[test]
fn health_follows_readiness() {
    let vault = Dev::start();
    let sidecar = Builder::serve()
        .args(&["--secret", "db=secret/data/app"])
        .on_free_ports()
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root_token())
        .env("SIDEKEY_TOKEN", &canary("caller"))
        .spawn();
    let addr = sidecar.health_addr().to_string();
    sidecar.wait_for("cannot read the secret");
    let environment = [("SIDEKEY_HEALTH_ADDR", addr.as_str())];
    assert_eq!(run(&["health"], &environment), (0, String::new(), String::new()));
    let (status, out, err) = run(&["health", "--ready"], &environment);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("503") && err.contains("\"pending\":[\"db\"]"), "{err}");

    vault.put("app", json!({ "password": canary("password") }));
    // The refresh is a minute away: somebody asks for it.
    let caller = sidecar.addr();
    crate::support::eventually("readiness", || {
        let _ = client::request(caller, "GET", "/secrets", &[]);
        (run(&["health", "--ready"], &environment).0 == 0).then_some(())
    });
    assert_eq!(run(&["health", "--ready", "--addr", &addr], &[]).0, 0);
    sidecar.stop();
    let (status, _, err) = run(&["health"], &environment);
    assert_eq!(status, 1, "{err}");
}
