//! A compose project of its own name, taken down when dropped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::engine::{attempt, docker, image, images};
use crate::support::trials::Component;

/// A copy of a project's folder, and the name under which it runs.
pub struct Project {
    pub name: String,
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Project {
    /// Of `folder` in this repository; nothing is started.
    pub fn of(folder: &str, name: &str) -> Self {
        images();
        let copy = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(".");
        let copied = Command::new("cp").arg("-r").arg(from).arg(copy.path()).status().unwrap();
        assert!(copied.success());
        let _ = std::fs::remove_dir_all(copy.path().join("run"));
        Self { name: format!("{name}{}", std::process::id()), folder: copy, variables: Vec::new() }
    }

    /// With a variable in its environment.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Run by the second Docker Compose, which is a plugin of the engine's command line.
    pub fn by_compose_2(self) -> Self {
        let plugins = self.folder.path().join("run-by/cli-plugins");
        std::fs::create_dir_all(&plugins).unwrap();
        let compose = compose_2().unwrap();
        std::os::unix::fs::symlink(compose, plugins.join("docker-compose")).unwrap();
        let config = plugins.parent().unwrap().to_str().unwrap().to_owned();
        self.with("DOCKER_CONFIG", &config)
    }

    /// A program in the project's folder, with the project's environment.
    pub fn command(&self, program: impl Into<PathBuf>) -> Command {
        let program: PathBuf = program.into();
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("COMPOSE_PROJECT_NAME", &self.name).env("APP_PORT", "");
        command.env("POD_IMAGE", "sidekey-test/busybox").env("SIDEKEY_IMAGE", image());
        command.env("APP_IMAGE", "sidekey-test/app");
        command.env("VAULT_IMAGE", "sidekey-test/vault");
        command.env("POSTGRES_IMAGE", "sidekey-test/postgres");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The project's own `up`.
    pub fn up(&self) {
        let output = self.command(self.folder.path().join("up")).output().unwrap();
        self.succeeded(&output);
    }

    /// The project's own `down`.
    pub fn down(&self) {
        let output = self.command(self.folder.path().join("down")).output().unwrap();
        self.succeeded(&output);
    }

    /// What the engine still has of it.
    pub fn leftovers(&self) -> Vec<String> {
        let kinds: [&[&str]; 3] = [&["ps", "-a"], &["network", "ls"], &["volume", "ls"]];
        kinds.iter().flat_map(|list| self.labelled(list, &[])).collect()
    }

    pub fn compose(&self, args: &[&str]) -> String {
        let output = self.command("docker-compose").args(args).output().unwrap();
        self.succeeded(&output);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn succeeded(&self, output: &Output) {
        if output.status.success() {
            return;
        }
        let logs = self.command("docker-compose").args(["logs", "--no-color"]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        panic!("{}\n{}", text(&output.stderr), text(&logs.stdout));
    }

    /// What the engine has under this project's label. To ask it takes milliseconds, to ask
    /// docker-compose seconds.
    fn labelled(&self, list: &[&str], more: &[&str]) -> Vec<String> {
        let label = format!("label=com.docker.compose.project={}", self.name);
        let listed = attempt("docker", &[list, &["-q", "--filter", &label], more].concat());
        String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()
    }

    /// The container of a service.
    pub fn container(&self, service: &str) -> String {
        let service = format!("label=com.docker.compose.service={service}");
        let found = self.labelled(&["ps", "-a", "--no-trunc"], &["--filter", &service]);
        assert_eq!(found.len(), 1, "{service}: {found:?}");
        found[0].clone()
    }

    /// Where a service's port is published.
    pub fn address(&self, service: &str, port: &str) -> SocketAddr {
        docker(&["port", &self.container(service), port]).parse().unwrap()
    }

    /// Path of a file of the project.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let kinds: [(&[&str], &[&str]); 3] = [
            (&["ps", "-a"], &["rm", "-f", "-v"]),
            (&["network", "ls"], &["network", "rm"]),
            (&["volume", "ls"], &["volume", "rm"]),
        ];
        for (list, remove) in kinds {
            for found in self.labelled(list, &[]) {
                let _ = attempt("docker", &[remove, &[found.as_str()]].concat());
            }
        }
    }
}

/// Where one is named.
pub const COMPOSE_2: Component =
    Component::new("Docker Compose 2 (tests/compose/build.sh)", || compose_2().is_some());

fn compose_2() -> Option<PathBuf> {
    std::env::var_os("COMPOSE_BIN").map(PathBuf::from)
}

/// One place in a file of the project's copy.
pub fn change(project: &Project, file: &str, from: &str, to: &str) {
    let path = project.path(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{file}: {from}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}
