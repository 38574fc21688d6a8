//! A sidecar before a case's Vault.

use std::fmt::Write as _;

use crate::support::canary::{assert_clean, canary};
use crate::support::client::{self, Response};
use crate::support::sidecar::{Builder, Sidecar};
use crate::support::vault::TestVault as _;
use crate::support::{eventually, eventually_or};
use crate::vault::Vault;

/// A sidecar to be: a configuration in parts.
pub struct Setup {
    builder: Builder,
    vault: String,
    auth: String,
    secrets: String,
    /// What must not stand in the log.
    hidden: Vec<String>,
}

/// It serves.
pub struct Running {
    pub sidecar: Sidecar,
    token: String,
    hidden: Vec<String>,
}

impl Setup {
    pub fn new(vault: &Vault) -> Self {
        Self::at(&vault.url())
    }

    /// With this address of Vault.
    pub fn at(url: &str) -> Self {
        let vault = format!("address = \"{url}\"\nmax_requests_per_second = 100\n");
        let (auth, secrets, hidden) = Default::default();
        Self { builder: Builder::serve(), vault, auth, secrets, hidden }
    }

    /// With root's token from `VAULT_TOKEN`.
    pub fn as_root(vault: &Vault) -> Self {
        Self::new(vault).env("VAULT_TOKEN", &vault.root_token())
    }

    /// A line of `[vault]`.
    pub fn vault(mut self, line: &str) -> Self {
        let _ = writeln!(self.vault, "{line}");
        self
    }

    /// The lines of `[auth]`.
    pub fn auth(mut self, lines: &str) -> Self {
        let _ = writeln!(self.auth, "{lines}");
        self
    }

    /// A required secret.
    pub fn secret(self, name: &str, path: &str) -> Self {
        self.secret_with(name, path, "")
    }

    /// A secret that nobody fetches before it is asked for.
    pub fn lazy(self, name: &str, path: &str) -> Self {
        self.secret_with(name, path, "required = false")
    }

    /// A required secret that is read again every second.
    pub fn refreshed(self, name: &str, path: &str) -> Self {
        self.secret_with(name, path, "refresh = \"1s\"")
    }

    fn secret_with(mut self, name: &str, path: &str, more: &str) -> Self {
        let _ = writeln!(self.secrets, "[secrets.{name}]\npath = \"{path}\"\n{more}");
        self
    }

    /// A certificate, with these lines of its section.
    pub fn certificate(mut self, name: &str, lines: &str) -> Self {
        let _ = writeln!(self.secrets, "[certificates.{name}]\n{lines}");
        self
    }

    /// A line of `[limits]`, once.
    pub fn limits(mut self, line: &str) -> Self {
        let _ = writeln!(self.secrets, "[limits]\n{line}");
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.env(name, value);
        self
    }

    /// A file beside the configuration; returns its path.
    pub fn file(&self, name: &str, content: &str) -> String {
        self.builder.file(name, content)
    }

    /// A file whose content must not stand in the log.
    pub fn credential(&mut self, name: &str, content: &str) -> String {
        self.hidden.push(content.to_owned());
        self.builder.file(name, content)
    }

    /// The folder of its files is the user's home.
    pub fn at_home(mut self) -> Self {
        let home = self.builder.folder().to_str().unwrap().to_owned();
        self.builder = self.builder.env("HOME", &home);
        self
    }

    fn spawn(self) -> Running {
        let Self { builder, vault, auth, secrets, hidden } = self;
        let config = format!(
            "[vault]\n{vault}\n[auth]\n{auth}\n{secrets}\n\
             [listen]\ntcp = \"127.0.0.1:0\"\n[health]\nlisten = \"127.0.0.1:0\"\n\
             [life]\nstartup_deadline = \"3s\"\n"
        );
        let token = canary("caller");
        let sidecar = builder.config(&config).env("SIDEKEY_TOKEN", &token).spawn();
        Running { sidecar, token, hidden }
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Running {
        let mut running = self.spawn();
        let ready = eventually("ready, or an end", || {
            let ready = running.said("ready") > 0;
            (ready || running.sidecar.has_ended()).then_some(ready)
        });
        assert!(ready, "ended:\n{}", running.sidecar.stderr());
        running
    }

    /// Starts it, and has it end with this status. Returns what it said.
    pub fn ends_with(self, code: i32) -> String {
        let mut running = self.spawn();
        let status = running.sidecar.wait();
        let said = running.sidecar.stderr();
        assert_eq!(status.code(), Some(code), "{said}");
        running.assert_hidden();
        said
    }

    /// Starts it, and has Vault refuse the login. Returns what it said.
    pub fn refused(self) -> String {
        self.ends_with(77)
    }
}

impl Running {
    pub fn get(&self, path: &str) -> Response {
        self.sidecar.get(path, &self.token)
    }

    /// The bare value of `NAME/FIELD`.
    pub fn value(&self, field: &str) -> String {
        let answer = self.get(&format!("/secrets/{field}"));
        assert_eq!(answer.status, 200, "{field}: {}\n{}", answer.text(), self.sidecar.stderr());
        answer.text()
    }

    /// The problem code of `GET /secrets/…`.
    pub fn code(&self, what: &str) -> String {
        self.get(&format!("/secrets/{what}")).code()
    }

    /// Has `name` read again now.
    pub fn refresh(&self, name: &str) -> Response {
        self.post(&format!("/secrets/{name}/refresh"))
    }

    pub fn post(&self, path: &str) -> Response {
        let bearer = format!("Bearer {}", self.token);
        client::request(self.sidecar.addr(), "POST", path, &[("Authorization", &bearer)])
    }

    /// The caller's.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// How often the log has this message so far.
    pub fn said(&self, message: &str) -> usize {
        self.sidecar.events().iter().filter(|event| event["message"] == message).count()
    }

    pub fn logins(&self) -> usize {
        self.said("logged in to Vault")
    }

    /// Waits until the log has `message` that often.
    pub fn wait_for(&self, message: &str, times: usize) {
        let what = || format!("{message:?}, {times} times, in\n{}", self.sidecar.stderr());
        eventually_or(what, || (self.said(message) >= times).then_some(()));
    }

    /// SIGTERM and a clean end; returns the log.
    pub fn stop(self) -> String {
        let Self { sidecar, hidden, .. } = self;
        let said = sidecar.stop();
        assert_absent(&hidden, &said);
        said
    }

    fn assert_hidden(&self) {
        let said = self.sidecar.stderr();
        assert_clean("stderr", &said);
        assert_absent(&self.hidden, &said);
    }
}

fn assert_absent(hidden: &[String], said: &str) {
    for secret in hidden {
        assert!(!said.contains(secret.trim()), "a credential stands in stderr");
    }
}
