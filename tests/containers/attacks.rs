//! The attacks of the published analyses, each as it is done. The same functions run against
//! the compose project, where they find nothing, and against a project that shares a volume.

use crate::engine::{docker, inspect, pid, said, search, search_engine};
use crate::inside::ask_at;
use crate::project::Project;

/// Whom to attack, and what for.
pub struct Victim<'a> {
    pub secrets: Vec<String>,
    pub containers: Vec<String>,
    pub project: &'a str,
}

/// A1: root on the host reads what the engine keeps, the containers' file systems with every
/// volume and tmpfs, their environments and what `docker inspect` tells. Returns the places.
pub fn host_administrator(victim: &Victim<'_>) -> Vec<String> {
    let mut places = leftovers(victim);
    for container in &victim.containers {
        let pid = pid(container);
        let told = inspect(container).to_string();
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment);
        let root = format!("/proc/{pid}/root/");
        // The engine wrote it there, for each network anew.
        let name = std::fs::read_to_string(format!("{root}etc/hostname")).unwrap();
        places.extend(search(&victim.secrets, &root, name.trim(), "/etc/hostname"));
        for secret in &victim.secrets {
            places.extend(told.contains(secret).then(|| "docker inspect".to_owned()));
            places.extend(environment.contains(secret).then(|| "environment".to_owned()));
        }
    }
    places
}

/// A2: what is left on the host's disk; the engine's whole folder is searched.
pub fn leftovers(victim: &Victim<'_>) -> Vec<String> {
    search_engine(&victim.secrets)
}

/// A3: another compose project declares as its own what the engine says that the victim's has,
/// and a volume of the usual name, and reads it under any user. Returns what it read.
pub fn malicious_project(victim: &Victim<'_>) -> Vec<String> {
    let filter = format!("label=com.docker.compose.project={}", victim.project);
    let listed = docker(&["volume", "ls", "-q", "--filter", &filter]);
    let mut volumes: Vec<_> = listed.lines().map(str::to_owned).collect();
    volumes.extend(victim.containers.iter().flat_map(|container| mounted(container)));
    volumes.push(format!("{}_secrets", victim.project));
    volumes.sort();
    volumes.dedup();
    let read = |volume: String| {
        let thief = Project::of("tests/containers/thief", "skm").with("VOLUME", &volume);
        let output = thief.command("docker-compose").args(["run", "--rm", "-T", "thief"]).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let missing = said.contains("could not be found") || said.contains("not found");
        assert!(output.status.success() || missing, "{volume}: {said}");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    volumes.into_iter().filter_map(read).collect()
}

/// The named volumes of a container.
fn mounted(container: &str) -> Vec<String> {
    let told = inspect(container);
    let mounts = told["Mounts"].as_array().unwrap().iter();
    mounts.filter_map(|mount| mount["Name"].as_str().map(str::to_owned)).collect()
}

/// Another container on the bridge of one of the victim's networks.
pub struct Neighbour {
    pub network: String,
    address: String,
    container: String,
    pid: String,
}

impl Neighbour {
    /// A4: one on each network of `victim`.
    pub fn of(victim: &str) -> Vec<Self> {
        let told = inspect(victim);
        let networks = told["NetworkSettings"]["Networks"].as_object().unwrap().iter();
        let start = |(network, settings): (&String, &serde_json::Value)| {
            let options = ["run", "-d", "--rm", "--init", "--network", network];
            let command = ["sidekey-test/busybox", "sleep", "600"];
            let container = docker(&[&options[..], &command].concat());
            let pid = pid(&container);
            let address = settings["IPAddress"].as_str().unwrap().to_owned();
            Self { network: network.clone(), address, container, pid }
        };
        networks.map(start).collect()
    }

    /// Asks the victim's address on the bridge.
    pub fn ask(&self, port: u16, what: &str) -> (u16, String) {
        ask_at(&self.pid, 10_001, &format!("{}:{port}", self.address), what)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = crate::engine::attempt("docker", &["rm", "-f", &self.container]);
    }
}

/// A5: the application is tricked into fetching an address, in its own network and as its own
/// user.
pub fn forged_request(app: &str, place: &str, what: &str) -> (u16, String) {
    ask_at(&pid(app), 10_001, place, what)
}

/// A6: another container in the same network namespace, as a user of choice.
pub fn in_the_same_pod(victim: &str, user: &str, command: &[&str]) -> (i32, String) {
    let network = format!("container:{victim}");
    said("docker", &[&["run", "--rm", "--network", &network, "--user", user], command].concat())
}

/// A8: credentials that were stolen are used at the database.
pub fn login(postgres: &str, user: &str, password: &str) -> (i32, String) {
    let password = format!("PGPASSWORD={password}");
    let psql = ["psql", "-h", "127.0.0.1", "-U", user, "-d", "app", "-Atc", "select 1"];
    said("docker", &[&["exec", "-e", &password, postgres][..], &psql].concat())
}
