//! A real PostgreSQL of the test's own, that asks for the password in each way there is.

use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use tempfile::TempDir;

use super::canary::canary;
use super::tls::Authority;
use super::{eventually, is_root};

/// By the database that is asked for, how the server asks for the password.
const HBA: &str = "\
host postgres all 127.0.0.0/8 scram-sha-256
host scram all 127.0.0.0/8 scram-sha-256
host md5 all 127.0.0.0/8 md5
hostssl clear all 127.0.0.0/8 password
host plain all 127.0.0.0/8 password
hostssl bound all 127.0.0.0/8 scram-sha-256
hostssl certified all 127.0.0.0/8 cert
hostssl twice all 127.0.0.0/8 scram-sha-256 clientcert=verify-ca
host refused all 127.0.0.0/8 reject
";

/// It listens here too: once it is stopped, nobody else takes the port at this address.
pub const ALONE: &str = "127.0.0.77";

/// Stopped when dropped.
pub struct Postgres {
    server: Mutex<Child>,
    programs: PathBuf,
    pub port: u16,
    /// Of `admin`.
    pub password: String,
    /// Whom it is certified by.
    pub ca_file: PathBuf,
    /// The certificate of somebody else.
    pub other_ca_file: PathBuf,
    _folder: TempDir,
}

/// Where `initdb`, `postgres` and `psql` are: Debian keeps them by version.
pub fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&on_path));
    let whole =
        |folder: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|p| folder.join(p).is_file());
    folders.into_iter().rev().find(whole)
}

/// It refuses to run as root: then as the user that the package made.
pub fn package_user() -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find_map(|line| line.strip_prefix("postgres:"))?;
    let fields: Vec<_> = line.split(':').collect();
    Some((fields[1].parse().unwrap(), fields[2].parse().unwrap()))
}

fn server_program(program: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null()).current_dir("/");
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

impl Postgres {
    pub fn start() -> Self {
        Self::trusting(Authority::new("nobody's").pem().as_bytes())
    }

    /// One that takes client certificates of this authority.
    pub fn trusting(client_ca: &[u8]) -> Self {
        let programs = programs().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let user = is_root().then(package_user).flatten();
        let own = |path: &Path| {
            if let Some((uid, gid)) = user {
                chown(path, Some(uid), Some(gid)).unwrap();
            }
        };
        let write = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            own(&path);
            path
        };
        own(folder.path());
        let password = canary("postgres");
        let secret = write("password", password.as_bytes());
        let data = folder.path().join("data");
        let made = server_program(&programs.join("initdb"), user)
            .args(["--no-sync", "--auth=scram-sha-256", "--username=admin", "--encoding=UTF8"])
            .arg(format!("--pwfile={}", secret.display()))
            .arg(format!("--pgdata={}", data.display()))
            .status()
            .unwrap();
        assert!(made.success(), "initdb: {made}");
        let authority = Authority::new("postgres test");
        let tls = authority.server();
        write("server.pem", &tls.cert_chain);
        write("server.key", &tls.key);
        let hba = write("hba", HBA.as_bytes());
        let client_ca = write("clients.pem", client_ca);
        let ca_file = write("ca.pem", authority.pem().as_bytes());
        let other_ca_file = write("other.pem", Authority::new("another").pem().as_bytes());
        // A port that is free now; the server takes no descriptor.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let setting = |name: &str, value: &Path| format!("{name}={}", value.display());
        let server = server_program(&programs.join("postgres"), user)
            .arg("-D")
            .arg(&data)
            .args([
                "-p",
                &port.to_string(),
                "-h",
                &format!("127.0.0.1,{ALONE}"),
                "-k",
                "",
                "-F",
                "-c",
                "ssl=on",
            ])
            .args(["-c", &setting("hba_file", &hba)])
            .args(["-c", &setting("ssl_cert_file", &folder.path().join("server.pem"))])
            .args(["-c", &setting("ssl_ca_file", &client_ca)])
            .args(["-c", &setting("ssl_key_file", &folder.path().join("server.key"))])
            .spawn()
            .unwrap();
        let postgres = Self {
            server: Mutex::new(server),
            programs,
            port,
            password,
            ca_file,
            other_ca_file,
            _folder: folder,
        };
        eventually("PostgreSQL", || postgres.try_admin("select 1").ok());
        for database in ["scram", "md5", "clear", "plain", "bound", "refused", "certified", "twice"]
        {
            postgres.admin(&format!("create database {database}"));
        }
        postgres
    }

    /// A role that can log in; its password is kept as the server's `md5` method needs it, or not.
    pub fn role(&self, name: &str, password: &str, md5: bool) {
        let kept = if md5 { "md5" } else { "scram-sha-256" };
        self.admin(&format!(
            "set password_encryption = '{kept}'; create role {name} login password '{password}'"
        ));
    }

    /// As the administrator, at the server itself.
    pub fn admin(&self, query: &str) -> String {
        self.try_admin(query).unwrap()
    }

    fn try_admin(&self, query: &str) -> Result<String, String> {
        self.ask("admin", &self.password, query)
    }

    /// Logs in at the server itself and asks one thing; the answer, or what went wrong.
    pub fn ask(&self, user: &str, password: &str, query: &str) -> Result<String, String> {
        let mut psql = self.psql(self.port, user, "postgres", query);
        psql.env("PGPASSWORD", password);
        said(psql)
    }

    /// "Fast shutdown", so that its own children end too.
    pub fn stop(&self) {
        let mut server = self.server.lock().unwrap();
        if server.try_wait().is_ok_and(|ended| ended.is_none()) {
            let pid = server.id().to_string();
            let _ = Command::new("kill").args(["-s", "INT", &pid]).status();
        }
        let _ = server.wait();
    }

    /// `psql` without a password.
    pub fn psql(&self, port: u16, user: &str, database: &str, query: &str) -> Command {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", user, "-d", database])
            .args(["-XAtw", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-c", query])
            .env_clear()
            .env("PGCONNECT_TIMEOUT", "20");
        psql
    }
}

/// Its output, or what it complained about.
pub fn said(mut command: Command) -> Result<String, String> {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}
