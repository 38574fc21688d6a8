//! Vaults to put behind a sidecar: the embedded dev server, and the real one.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use sidekey::dev::{DevOptions, DevServer, DevTls};
use tokio::runtime::Runtime;

use super::eventually;
use super::postgres::Postgres;
use super::programs::{built, program};

/// A Vault that a test can set up over its HTTP API.
pub trait TestVault {
    fn url(&self) -> String;
    fn root_token(&self) -> String;

    /// A request with the root token; the answer's status and JSON (`null` when there is none).
    fn admin(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        call(&self.url(), method, path, Some(&self.root_token()), &[], body)
    }

    /// An [`admin`](Self::admin) request that has to succeed.
    fn set_up(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.admin(method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Writes a KV version 2 secret under `secret/`.
    fn put(&self, path: &str, fields: Value) -> Value {
        self.set_up("POST", &format!("secret/data/{path}"), json!({ "data": fields }))
    }

    /// A PKI engine at `pki/`; the certificate of its root, which is made as `root` says.
    fn pki(&self, root: Value) -> String {
        self.set_up("POST", "sys/mounts/pki", json!({ "type": "pki" }));
        let made = self.set_up("POST", "pki/root/generate/internal", root);
        made["data"]["certificate"].as_str().unwrap().to_owned()
    }

    /// A database engine at `database/`, which makes users of `postgres` for these roles.
    fn database(&self, postgres: &Postgres, roles: &str) {
        self.set_up("POST", "sys/mounts/database", json!({ "type": "database" }));
        let url = format!(
            "postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{}/postgres?sslmode=disable",
            postgres.port
        );
        let config = json!({
            "plugin_name": "postgresql-database-plugin",
            "allowed_roles": roles,
            "connection_url": url,
            "username": "admin",
            "password": postgres.password,
        });
        self.set_up("POST", "database/config/postgres", config);
    }
}

/// One HTTP request to a Vault, over plain HTTP or HTTPS without verification.
pub fn call(
    url: &str,
    method: &str,
    path: &str,
    token: Option<&str>,
    headers: &[(&str, &str)],
    body: Value,
) -> (u16, Value) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_danger_accept_invalid_certs(true)
            .build()
            .unwrap();
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = client.request(method, format!("{url}/v1/{path}"));
        if let Some(token) = token {
            request = request.header("X-Vault-Token", token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_null() {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.unwrap_or_else(|e| panic!("{path}: {e}"));
        let status = answer.status().as_u16();
        let body = answer.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    })
}

/// The embedded dev server, on a runtime of its own.
pub struct Dev {
    pub server: DevServer,
    runtime: Runtime,
}

impl Dev {
    pub fn start() -> Self {
        Self::start_with(None)
    }

    pub fn start_tls(tls: DevTls) -> Self {
        Self::start_with(Some(tls))
    }

    fn start_with(tls: Option<DevTls>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap();
        let options = DevOptions {
            root_token: Some(super::canary::canary("root")),
            tls,
            ..DevOptions::default()
        };
        let server = runtime.block_on(DevServer::start(options)).unwrap();
        Self { server, runtime }
    }

    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

impl TestVault for Dev {
    fn url(&self) -> String {
        self.server.url()
    }

    fn root_token(&self) -> String {
        self.server.root_token().to_owned()
    }
}

/// A real `vault server -dev`. Killed when dropped.
pub struct Real {
    child: Child,
    url: String,
    root_token: String,
    _folder: tempfile::TempDir,
    /// The CA file of a server with TLS.
    pub ca_file: Option<PathBuf>,
}

/// The real Vault's binary: `VAULT_BIN`, what `tests/vault/build.sh` built, or one on PATH.
pub fn real_vault() -> Option<PathBuf> {
    let named = std::env::var_os("VAULT_BIN").map(PathBuf::from);
    named.or_else(|| built("vault")).or_else(|| program("vault"))
}

impl Real {
    /// `None` when the machine has no Vault.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// With a certificate of its own making, good for loopback and for `vault.invalid`.
    pub fn start_tls() -> Option<Self> {
        Self::start_with(&["-dev-tls", "-dev-tls-san=vault.invalid"])
    }

    fn start_with(flags: &[&str]) -> Option<Self> {
        let binary = real_vault()?;
        // Whoever runs beside this may take the port first.
        Some(eventually("a real Vault with a port of its own", || Self::attempt(&binary, flags)))
    }

    fn attempt(binary: &Path, flags: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        // A port that is free now; the server takes no descriptor.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let root_token = super::canary::canary("root");
        let mut command = Command::new(binary);
        command
            .args(["server", "-dev", &format!("-dev-root-token-id={root_token}")])
            .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
            .args(flags)
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let tls = flags.contains(&"-dev-tls");
        if tls {
            command.arg(format!("-dev-tls-cert-dir={}", folder.path().display()));
        }
        let mut child = command.spawn().expect("vault starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut said = lines.by_ref().lines().map_while(Result::ok);
        if !said.any(|line| line.contains("Vault server started")) {
            child.wait().expect("an end");
            return None;
        }
        // Keeps the pipe from filling up.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let url = format!("{}://127.0.0.1:{port}", if tls { "https" } else { "http" });
        let ca_file = tls.then(|| folder.path().join("vault-ca.pem"));
        let vault = Self { child, url, root_token, _folder: folder, ca_file };
        vault.wait_until_unsealed(port);
        Some(vault)
    }

    fn wait_until_unsealed(&self, port: u16) {
        eventually("the port of the real Vault", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        eventually("the real Vault", || {
            let (status, _) = call(&self.url, "GET", "sys/health", None, &[], Value::Null);
            (status == 200).then_some(())
        });
        // secret/ is mounted a moment after that.
        eventually("secret/", || {
            let (status, _) = self.admin("GET", "secret/config", Value::Null);
            (status == 200).then_some(())
        });
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl TestVault for Real {
    fn url(&self) -> String {
        self.url.clone()
    }

    fn root_token(&self) -> String {
        self.root_token.clone()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
