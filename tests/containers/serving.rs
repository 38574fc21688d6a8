//! The project's own compose file, from `./up` to `./down`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::attacks::{self, Victim};
use crate::engine::{self, docker, inspect, pid, succeed};
use crate::fetcher::Fetcher;
use crate::inside::{ask, ask_at};
use crate::project::Project;
use crate::support::client::request;
use crate::support::eventually;

/// The user that sidekey.toml lets in.
const APP: u32 = 10_001;

/// All that run on.
const SERVICES: [&str; 5] = ["sidekey", "app", "pod", "vault", "postgres"];

/// One life of the project, in order.
pub fn compose_project() {
    let project = Project::of("compose", "skt");
    let volumes = anonymous_volumes();
    project.up();
    let first = eventually("the page", || page(&project));
    assert!(first.contains("PostgreSQL") && first.contains("v-approle-app-"), "{first}");
    a_bare_up_changes_nothing(&project);
    no_secret_is_configured(&project);
    told_of_its_hardening(&project);

    let old = password(&project);
    rotation_reaches_the_application(&project, &first);
    let new = password(&project);
    assert_ne!(old, new);

    let services = SERVICES.map(|service| project.container(service));
    let victim =
        Victim { secrets: vec![old, new], containers: services.to_vec(), project: &project.name };
    assert_eq!(attacks::host_administrator(&victim), Vec::<String>::new(), "A1");
    assert_eq!(attacks::malicious_project(&victim), Vec::<String>::new(), "A3");
    neighbours_are_refused(&victim.containers[2]);
    forged_requests_find_no_secret(&victim);
    other_users_in_the_pod_are_unknown(&victim.containers[2]);
    stolen_credentials_end(&project);

    project.down();
    assert_eq!(project.leftovers(), Vec::<String>::new());
    assert!(!project.path("run").exists());
    assert_eq!(attacks::leftovers(&victim), Vec::<String>::new(), "A2");
    // Those of other cases end with their containers.
    eventually("the end of all volumes", || anonymous_volumes().is_subset(&volumes).then_some(()));
}

/// Volumes that an image declared and nobody named.
fn anonymous_volumes() -> BTreeSet<String> {
    let listed = docker(&["volume", "ls", "-q"]);
    listed.lines().filter(|name| name.len() == 64).map(str::to_owned).collect()
}

/// As an operator does it who changed one service.
fn a_bare_up_changes_nothing(project: &Project) {
    let containers = || SERVICES.map(|service| project.container(service));
    let before = containers();
    project.compose(&["up", "-d"]);
    assert_eq!(containers(), before);
}

/// The page, once the database let the application in.
pub fn page(project: &Project) -> Option<String> {
    let answer = request(project.address("pod", "8080"), "GET", "/", &[]);
    // Go sends short answers with a length.
    (answer.status == 200).then(|| answer.text())
}

fn password(project: &Project) -> String {
    let (status, body) = ask(&pid(&project.container("sidekey")), APP, "GET /secrets/db/password");
    assert_eq!(status, 200, "{body}");
    body
}

/// What `docker inspect` tells of every container: settings, limits, and no volume.
fn no_secret_is_configured(project: &Project) {
    // `run --rm` is over; made again, and not started.
    project.compose(&["up", "--no-start", "bootstrap"]);
    for service in SERVICES.into_iter().chain(["bootstrap"]) {
        let told = inspect(&project.container(service));
        let (host, config) = (&told["HostConfig"], &told["Config"]);
        for mount in told["Mounts"].as_array().unwrap() {
            let kind = (&mount["Type"], &mount["RW"]);
            assert_eq!(kind, (&Value::from("bind"), &Value::from(false)), "{service}: {mount}");
        }
        assert!(config["User"].as_str().is_some_and(|user| !user.is_empty()), "{service}");
        assert_eq!(host["ReadonlyRootfs"], true, "{service}");
        assert_eq!(host["CapDrop"][0], "ALL", "{service}");
        assert_eq!(host["SecurityOpt"][0], "no-new-privileges:true", "{service}");
        assert_eq!(host["IpcMode"], "private", "{service}");
        assert_eq!(host["RestartPolicy"]["MaximumRetryCount"], 5, "{service}");
        for limit in ["Memory", "NanoCpus", "PidsLimit"] {
            assert!(host[limit].as_i64().is_some_and(|limit| limit > 0), "{service}: {limit}");
        }
        assert_eq!(host["MemorySwap"], host["Memory"], "{service}");
        let limits = host["Ulimits"].as_array().unwrap();
        assert!(limits.contains(&json!({ "Name": "core", "Hard": 0, "Soft": 0 })), "{service}");
        // One does nothing, and the other ends.
        let idle = ["pod", "bootstrap"].contains(&service);
        assert_eq!(config["Healthcheck"].is_null(), idle, "{service}");
    }
    docker(&["rm", &project.container("bootstrap")]);
    // The bootstrap credential was used up at the start: whoever reads it now has nothing.
    let wrapped = std::fs::read_to_string(project.path("run/wrapped-secret-id")).unwrap();
    let unwrap = [
        "exec",
        "-e",
        "VAULT_ADDR=http://127.0.0.1:8200",
        &project.container("vault"),
        "vault",
        "unwrap",
        wrapped.trim(),
    ];
    let (status, said) = engine::said("docker", &unwrap);
    assert!(status != 0 && said.contains("wrapping token is not valid"), "{said}");
}

/// The audit at the start: a line in the log, and a metric.
fn told_of_its_hardening(project: &Project) {
    let log = engine::said("docker", &["logs", &project.container("sidekey")]).1;
    assert!(log.contains("\"message\":\"container hardened\""), "{log}");
    let sidecar = pid(&project.container("sidekey"));
    let (_, metrics) = ask_at(&sidecar, APP, "127.0.0.1:7434", "GET /metrics");
    for line in [
        "sidekey_hardening{item=\"5.13\",verdict=\"ok\"} 1",
        "sidekey_hardening{item=\"5.15\",verdict=\"operator\"} 1",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
    assert!(!metrics.contains("verdict=\"flaw\""), "{metrics}");
}

/// Other credentials, while the application runs on.
fn rotation_reaches_the_application(project: &Project, first: &str) {
    let app = project.container("app");
    let before = inspect(&app)["State"].clone();
    let (status, said) = ask(&pid(&project.container("sidekey")), APP, "POST /secrets/db/refresh");
    assert_eq!(status, 200, "{said}");
    eventually("another login in the page", || page(project).filter(|page| page != first));
    let after = inspect(&app)["State"].clone();
    assert_eq!((&before["Pid"], &before["StartedAt"]), (&after["Pid"], &after["StartedAt"]));
}

/// A4: the application's port alone is there for others.
fn neighbours_are_refused(pod: &str) {
    assert_eq!(open_to_others(&pid(pod)), [8080].into());
    for neighbour in attacks::Neighbour::of(pod) {
        let (status, page) = neighbour.ask(8080, "GET /");
        assert_eq!(status, 200, "the neighbour reaches the page: {page}");
        for port in [7433, 7434] {
            let (status, said) = neighbour.ask(port, "GET /");
            assert!(status == 0 && said.contains("refused"), "{port}: {said}");
        }
        let options = ["run", "--rm", "--user", "10001", "--network", &neighbour.network];
        let (status, said) =
            engine::said("docker", &[&options[..], &get(&engine::image())].concat());
        assert!(status != 0 && said.contains("no sidecar answers"), "{said}");
    }
}

/// The TCP ports of a network namespace that are not on loopback, by the kernel's tables.
fn open_to_others(pid: &str) -> BTreeSet<u16> {
    let tables = ["tcp", "tcp6"].map(|table| format!("/proc/{pid}/net/{table}"));
    let tables = tables.map(|path| std::fs::read_to_string(path).unwrap());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let port = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, state) = (words.next().unwrap(), words.nth(1).unwrap());
        let (address, port) = local.split_once(':').unwrap();
        // 127.0.0.0/8, the last byte first, and ::1.
        let loopback = address.len() == 8 && address.ends_with("7F")
            || address == "00000000000000000000000001000000";
        let listens = state == "0A";
        (listens && !loopback).then(|| u16::from_str_radix(port, 16).unwrap())
    };
    lines.filter_map(port).collect()
}

/// A5: nothing listens for TCP but health and metrics, which hold no secret.
fn forged_requests_find_no_secret(victim: &Victim<'_>) {
    let app = &victim.containers[1];
    let path = "GET /secrets/db/password";
    let (status, said) = attacks::forged_request(app, "127.0.0.1:7433", path);
    assert!(status == 0 && said.contains("refused"), "{said}");
    for what in ["GET /metrics", "GET /readyz", path] {
        let (_, said) = attacks::forged_request(app, "127.0.0.1:7434", what);
        let found = victim.secrets.iter().any(|secret| said.contains(secret));
        assert!(!said.is_empty() && !found, "{what}");
    }
    let fetcher = Fetcher::beside(&victim.containers[2]);
    let (status, said) = fetcher.fetch("http://127.0.0.1:8080/");
    assert!(status == 200 && said.contains("PostgreSQL"), "what it can reach it tells: {said}");
    let (_, said) = fetcher.fetch("http://127.0.0.1:7433/secrets/db/password");
    assert!(said.contains("refused"), "{said}");
    for what in ["metrics", "readyz", "secrets/db/password"] {
        let (status, said) = fetcher.fetch(&format!("http://127.0.0.1:7434/{what}"));
        let found = victim.secrets.iter().any(|secret| said.contains(secret));
        assert!(status == 200 && !said.is_empty() && !found, "{what}");
    }
}

/// A6: by the kernel's word. The same tool serves the user who may.
fn other_users_in_the_pod_are_unknown(pod: &str) {
    let image = engine::image();
    for user in ["10002:10002", "0:0", "65532:65532"] {
        let (status, said) = attacks::in_the_same_pod(pod, user, &get(&image));
        assert!(status != 0 && said.contains("caller_unknown"), "{user}: {said}");
    }
    let (status, said) = attacks::in_the_same_pod(pod, "10001:10001", &get(&image));
    assert_eq!(status, 0, "{said}");
}

/// A8: they are good while the sidecar runs, and of no use once it stopped.
fn stolen_credentials_end(project: &Project) {
    let sidecar = pid(&project.container("sidekey"));
    let field = |name: &str| ask(&sidecar, APP, &format!("GET /secrets/db/{name}")).1;
    let (user, password) = (field("username"), field("password"));
    let postgres = project.container("postgres");
    let login = || attacks::login(&postgres, &user, &password);
    assert_eq!(login(), (0, "1\n".into()), "the thief gets in while they are good");
    docker(&["stop", &project.container("app"), &project.container("sidekey")]);
    let (status, said) = login();
    assert!(status != 0 && said.contains("authentication failed"), "{said}");
}

/// `sidekey get` in a container of its own.
fn get(image: &str) -> [&str; 5] {
    [image, "get", "--addr", "unix:@sidekey", "db/password"]
}

/// One file, no shell, a user by number, small.
pub fn image() {
    let image = engine::image();
    let told = inspect(&image);
    assert_eq!(told["Config"]["User"], "65532:65532");
    assert_eq!(told["Config"]["Healthcheck"]["Test"][1], "/sidekey");
    assert!(told["Size"].as_u64().unwrap() < 12_000_000, "{}", told["Size"]);
    assert_eq!(told["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    let labels = told["Config"]["Labels"].as_object().unwrap();
    for label in ["title", "description", "licenses", "version", "revision", "created"] {
        assert!(labels.contains_key(&format!("org.opencontainers.image.{label}")), "{label}");
    }
    let container = docker(&["create", &image]);
    let list = "docker export \"$1\" | tar -t";
    let files = succeed("sh", &["-c", list, "sh", &container]);
    let binary = "docker cp \"$1\":/sidekey - | tar -xO | grep -c -a -F .dep-v0";
    assert_ne!(succeed("sh", &["-c", binary, "sh", &container]), "0", "its crates are listed");
    docker(&["rm", &container]);
    // The engine adds empty mount points.
    let engines = ["dev/", "etc/", "proc/", "sys/", ".dockerenv"];
    let ours: Vec<_> =
        files.lines().filter(|file| !engines.iter().any(|e| file.starts_with(e))).collect();
    assert_eq!(ours, ["sidekey"]);
    let help = docker(&["run", "--rm", &image, "--help"]);
    assert!(help.contains("serve") && !help.contains("  dev "), "{help}");
}
