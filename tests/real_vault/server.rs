//! A real Vault that keeps what it has on disk, and comes back sealed; and one that comes back
//! with nothing. What both hold is the same.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::canary::canary;
use crate::support::eventually;
use crate::support::vault::{TestVault, call, real_vault};

/// Killed when dropped.
pub struct Server {
    child: Child,
    port: u16,
    root_token: String,
    /// The key to unseal it; a dev server needs none.
    key: Option<String>,
    folder: TempDir,
}

impl Server {
    /// A dev server: all in memory.
    pub fn in_memory() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, root_token) = (free_port(), canary("root"));
        let child = start_in_memory(port, &root_token, folder.path());
        let server = Self { child, port, root_token, key: None, folder };
        server.wait_for("serving", 200);
        server.furnish();
        server
    }

    /// On disk, initialized and unsealed.
    pub fn on_disk() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let child = start_on_disk(port, folder.path());
        let mut server = Self { child, port, root_token: String::new(), key: None, folder };
        server.wait_for("not initialized", 501);
        let shares = json!({ "secret_shares": 1, "secret_threshold": 1 });
        let (status, made) = call(&server.url(), "PUT", "sys/init", None, &[], shares);
        assert_eq!(status, 200, "{made}");
        made["root_token"].as_str().unwrap().clone_into(&mut server.root_token);
        server.key = Some(made["keys"][0].as_str().unwrap().to_owned());
        server.unseal();
        let kv = json!({ "type": "kv", "options": { "version": "2" } });
        server.set_up("POST", "sys/mounts/secret", kv);
        server.furnish();
        server
    }

    /// Killed and started again: on disk sealed, in memory with nothing in it.
    pub fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let folder = self.folder.path();
        if self.key.is_some() {
            self.child = start_on_disk(self.port, folder);
            self.wait_for("sealed", 503);
        } else {
            self.child = start_in_memory(self.port, &self.root_token, folder);
            self.wait_for("serving", 200);
        }
    }

    pub fn unseal(&self) {
        let key = json!({ "key": self.key });
        let (status, said) = call(&self.url(), "PUT", "sys/unseal", None, &[], key);
        assert_eq!(status, 200, "{said}");
        self.wait_for("unsealed", 200);
    }

    /// `SIGSTOP`, `SIGCONT`.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    fn wait_for(&self, what: &str, health: u16) {
        eventually("the port of the real Vault", || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
        eventually(&format!("the real Vault to be {what}"), || {
            let (status, _) = call(&self.url(), "GET", "sys/health", None, &[], Value::Null);
            (status == health).then_some(())
        });
    }

    /// An AppRole whose tokens may read `secret/`, and live an hour.
    pub fn furnish(&self) {
        eventually("secret/", || {
            let (status, _) = self.admin("GET", "secret/config", Value::Null);
            (status == 200).then_some(())
        });
        let rules = "path \"secret/*\" { capabilities = [\"read\"] }";
        self.set_up("PUT", "sys/policies/acl/app", json!({ "policy": rules }));
        self.set_up("POST", "sys/auth/approle", json!({ "type": "approle" }));
        let role = json!({ "token_policies": ["app"], "token_ttl": "1h" });
        self.set_up("POST", "auth/approle/role/app", role);
        self.set_up("POST", "auth/approle/role/app/role-id", json!({ "role_id": ROLE_ID }));
        let secret_id = json!({ "secret_id": secret_id() });
        self.set_up("POST", "auth/approle/role/app/custom-secret-id", secret_id);
    }
}

pub const ROLE_ID: &str = "8d0a7c2e-0f6e-4f0f-9c44-ac5a8e0ac33d";

/// The same for every server, also after a restart.
pub fn secret_id() -> String {
    format!("{}-secret-id", crate::support::canary::MARK)
}

impl TestVault for Server {
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn root_token(&self) -> String {
        self.root_token.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free now; the server takes no descriptor.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn program(home: &Path) -> Command {
    let mut command = Command::new(real_vault().expect("tests/vault/build.sh builds it"));
    command.env("HOME", home).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn start_in_memory(port: u16, root_token: &str, home: &Path) -> Child {
    program(home)
        .args(["server", "-dev", "-dev-no-store-token"])
        .arg(format!("-dev-root-token-id={root_token}"))
        .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
        .spawn()
        .expect("vault starts")
}

fn start_on_disk(port: u16, home: &Path) -> Child {
    let data = home.join("data");
    let config = home.join("vault.hcl");
    let text = format!(
        "storage \"file\" {{ path = \"{}\" }}\n\
         listener \"tcp\" {{ address = \"127.0.0.1:{port}\"\n tls_disable = true }}\n\
         api_addr = \"http://127.0.0.1:{port}\"\ndisable_mlock = true\n",
        data.display()
    );
    std::fs::write(&config, text).unwrap();
    program(home).arg("server").arg(format!("-config={}", config.display())).spawn().unwrap()
}
