//! A PostgreSQL of our own: a cluster in a temporary folder, on loopback alone.

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::canary::canary;
use crate::support::{eventually, in_ci};

/// Stopped when dropped.
pub struct Postgres {
    server: Child,
    programs: PathBuf,
    pub port: u16,
    pub password: String,
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
    let found = folders.into_iter().rev().find(whole);
    assert!(found.is_some() || !in_ci(), "CI without PostgreSQL: apt-get install postgresql");
    found
}

/// It refuses to run as root: then as the user that the package made.
fn server_program(program: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null()).current_dir("/");
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

fn package_user() -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find_map(|line| line.strip_prefix("postgres:"))?;
    let fields: Vec<_> = line.split(':').collect();
    Some((fields[1].parse().unwrap(), fields[2].parse().unwrap()))
}

impl Postgres {
    pub fn start() -> Self {
        let programs = programs().expect("PostgreSQL: apt-get install postgresql");
        let folder = tempfile::tempdir().unwrap();
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| {
            use std::os::unix::fs::MetadataExt as _;
            own.uid() == 0
        });
        let user = if is_root { package_user() } else { None };
        let password = canary("postgres");
        let (data, secret) = (folder.path().join("data"), folder.path().join("password"));
        std::fs::write(&secret, &password).unwrap();
        if let Some((uid, gid)) = user {
            for path in [folder.path(), &secret] {
                std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
            }
        }
        let made = server_program(&programs.join("initdb"), user)
            .args(["--no-sync", "--auth=scram-sha-256", "--username=admin", "--encoding=UTF8"])
            .arg(format!("--pwfile={}", secret.display()))
            .arg(format!("--pgdata={}", data.display()))
            .status()
            .unwrap();
        assert!(made.success(), "initdb: {made}");
        // A port that is free now; the server takes no descriptor.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = server_program(&programs.join("postgres"), user)
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", "", "-F"])
            .spawn()
            .unwrap();
        let postgres = Self { server, programs, port, password, _folder: folder };
        eventually("PostgreSQL", || postgres.ask("admin", &postgres.password, "select 1").ok());
        postgres
    }

    /// Logs in and asks one thing; the answer, or what went wrong.
    pub fn ask(&self, user: &str, password: &str, query: &str) -> Result<String, String> {
        let said = Command::new(self.programs.join("psql"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", user])
            .args(["-d", "postgres", "-XAtw", "-c", query])
            .env_clear()
            .env("PGPASSWORD", password)
            .env("PGCONNECT_TIMEOUT", "10")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if said.status.success() { Ok(text(&said.stdout)) } else { Err(text(&said.stderr)) }
    }

    /// As the administrator.
    pub fn admin(&self, query: &str) -> String {
        self.ask("admin", &self.password, query).unwrap()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // "Fast shutdown", so that its own children end too.
        let _ = Command::new("kill").args(["-s", "INT", &self.server.id().to_string()]).status();
        let _ = self.server.wait();
    }
}
