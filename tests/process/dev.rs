//! `sidekey dev`: what it prints works when pasted.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::support::canary::canary;
use crate::support::client;
use crate::support::sidecar::binary;
use crate::support::vault::call;

/// One at a time: all would like the usual port for health.
static ONE: Mutex<()> = Mutex::new(());

struct Running {
    child: Child,
    welcome: String,
    _one: MutexGuard<'static, ()>,
}

impl Running {
    /// Waits for the last line of the welcome.
    fn start(args: &[&str], token: Option<&str>) -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut command = binary();
        command.arg("dev").args(args);
        if !args.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.envs(token.map(|token| ("SIDEKEY_TOKEN", token)));
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut welcome = String::new();
        while !welcome.contains("Ctrl-C") {
            welcome.push_str(&lines.next().expect("the whole welcome").unwrap());
            welcome.push('\n');
        }
        Self { child, welcome, _one: one }
    }

    /// The words of the printed curl line, as a shell would have them.
    fn curl(&self) -> Vec<String> {
        let line = self.welcome.lines().find(|line| line.trim().starts_with("curl ")).unwrap();
        let words = line.trim().replace("curl", "printf '%s\\n'");
        let output = Command::new("sh").args(["-c", &words]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// Makes the printed request; `token` stands for what the shell would fill in.
    fn paste(&self, token: Option<&str>) -> client::Response {
        let words = self.curl();
        assert_eq!(words[0], "-H");
        let (name, value) = words[1].split_once(": ").unwrap();
        let value = token.map_or(value.to_owned(), |token| format!("Bearer {token}"));
        let (addr, path) = words[2].strip_prefix("http://").unwrap().split_once('/').unwrap();
        let path = format!("/{path}");
        client::request(addr.parse().unwrap(), "GET", &path, &[(name, &value)])
    }

    fn interrupt(self) -> String {
        self.end("INT")
    }

    fn end(mut self, signal: &str) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0));
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_printed_request_works() {
    let running = Running::start(&[], None);
    let answer = running.paste(None);
    assert_eq!((answer.status, answer.text().as_str()), (200, "correct horse battery staple"));

    // And so does its Vault.
    let export = running.welcome.lines().find(|line| line.contains("export VAULT_ADDR=")).unwrap();
    let setting = |name: &str| {
        let value = export.split_whitespace().find_map(|word| word.strip_prefix(name));
        value.unwrap().to_owned()
    };
    let (url, root) = (setting("VAULT_ADDR="), setting("VAULT_TOKEN="));
    let read = call(&url, "GET", "secret/data/example", Some(&root), &[], serde_json::Value::Null);
    assert_eq!(read.1["data"]["data"]["username"], "alice");
    running.interrupt();
}

#[test]
fn seeds_are_served_and_said_nowhere() {
    let (password, user, token) = (canary("password"), canary("user"), canary("caller"));
    let args = [
        "--secret",
        &format!("db.password={password}"),
        "--secret",
        &format!("db.user={user}"),
        "--secret",
        "web.key=x=y z",
    ];
    let running = Running::start(&args, Some(&token));
    assert_eq!(running.paste(Some(&token)).text(), password);
    let words = running.curl();
    let addr = words[2].trim_start_matches("http://").split('/').next().unwrap();
    let addr = addr.parse().unwrap();
    assert_eq!(client::get(addr, "/secrets/db/user", &token).text(), user);
    assert_eq!(client::get(addr, "/secrets/web/key", &token).text(), "x=y z");
    assert_eq!(client::get(addr, "/secrets/example", &token).status, 404);
    crate::support::canary::assert_clean("the welcome", &running.welcome);
    crate::support::canary::assert_clean("stderr", &running.interrupt());
}

#[test]
fn an_example_certificate_is_there() {
    let dev = Running::start(&[], None);
    let secret = dev.curl();
    let line = dev.welcome.lines().filter(|line| line.trim().starts_with("curl ")).nth(1).unwrap();
    assert!(line.ends_with("/certificates/localhost/bundle.pem"), "{line}");
    let (name, value) = secret[1].split_once(": ").unwrap();
    let addr = secret[2].strip_prefix("http://").unwrap().split_once('/').unwrap().0;
    let path = "/certificates/localhost/bundle.pem";
    let bundle = client::request(addr.parse().unwrap(), "GET", path, &[(name, value)]);
    assert_eq!(bundle.status, 200, "{}", bundle.text());
    assert!(bundle.text().starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert!(bundle.text().contains("-----BEGIN CERTIFICATE-----\n"));
    dev.interrupt();
}

#[test]
fn health_is_where_it_is_wanted() {
    let said = Running::start(&["--health-listen", "off"], None).interrupt();
    assert!(!said.contains("health and metrics"), "{said}");
    let said = Running::start(&["--health-listen", "127.83.0.3:0"], None).interrupt();
    assert!(said.contains("127.83.0.3:"), "{said}");
}

/// A terminal that is closed sends it, and there is no configuration to reload.
#[test]
fn a_hangup_stops_it() {
    let said = Running::start(&[], None).end("HUP");
    assert!(said.contains("stopped") && !said.contains("reload"), "{said}");
}

/// Pasted as it stands, whatever is in the field's name.
#[test]
fn the_printed_request_survives_a_shell() {
    let field = "a b'c\"$d`e\\f/g?h#i%25&é;*[~]{x,y}";
    let token = canary("caller");
    let running = Running::start(&["--secret", &format!("db.{field}=found")], Some(&token));
    let line = running.welcome.lines().map(str::trim).find(|line| line.starts_with("curl "));
    let line = line.unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{line} --silent --noproxy '*'")]).env("SIDEKEY_TOKEN", &token);
    let output = shell.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "found", "{line} {output:?}");
    running.interrupt();

    let name = "@it's $HOME";
    let running = Running::start(&["--listen", name, "--secret", "db.a b=found"], Some(&token));
    let line = running.welcome.lines().map(str::trim).find(|line| line.starts_with("curl "));
    let words = line.unwrap().replace("curl", "printf '%s\\n'");
    let output = Command::new("sh").args(["-c", &words]).output().unwrap();
    let words = String::from_utf8(output.stdout).unwrap();
    assert!(words.contains("\nit's $HOME\nhttp://localhost/secrets/db/a%20b\n"), "{words}");
    running.interrupt();
}
