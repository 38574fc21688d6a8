//! The project's own compose file, from `./up` to `docker-compose down`.

use serde_json::Value;

use crate::attacks::{self, Victim};
use crate::engine::{self, docker, inspect, pid, succeed};
use crate::inside::{ask, ask_at};
use crate::project::Project;
use crate::support::client::request;
use crate::support::eventually;

/// The user that sidekey.toml lets in.
const APP: u32 = 10_001;

/// One life of the project, in order.
pub fn compose_project() {
    let project = Project::of("compose", "skt");
    project.up();
    let first = eventually("the page", || page(&project));
    assert!(first.contains("PostgreSQL") && first.contains("v-approle-app-"), "{first}");
    no_secret_is_configured(&project);
    told_of_its_hardening(&project);

    let old = password(&project);
    rotation_reaches_the_application(&project, &first);
    let new = password(&project);
    assert_ne!(old, new);

    let services = ["sidekey", "app"].map(|service| project.container(service));
    let victim =
        Victim { secrets: vec![old, new], containers: services.to_vec(), project: &project.name };
    assert_eq!(attacks::host_administrator(&victim), Vec::<String>::new(), "A1");
    assert_eq!(attacks::volumes(&victim), Vec::<String>::new(), "A3");
    attacks::neighbour(&project);
    attacks::forged_request(&project, &victim.secrets);
    attacks::container_in_the_same_pod(&project);
    attacks::stolen_credentials(&project);

    project.compose(&["down"]);
    assert_eq!(attacks::leftovers(&victim), Vec::<String>::new(), "A2");
}

/// The page, once the database let the application in.
fn page(project: &Project) -> Option<String> {
    let answer = request(project.address("sidekey", "8080"), "GET", "/", &[]);
    // Go sends short answers with a length.
    (answer.status == 200).then(|| answer.text())
}

fn password(project: &Project) -> String {
    let (status, body) = ask(&pid(&project.container("sidekey")), APP, "GET /secrets/db/password");
    assert_eq!(status, 200, "{body}");
    body
}

/// What `docker inspect` tells of the two containers: settings, and no volume.
fn no_secret_is_configured(project: &Project) {
    for service in ["sidekey", "app"] {
        let told = inspect(&project.container(service));
        for mount in told["Mounts"].as_array().unwrap() {
            assert_eq!(
                (&mount["Type"], &mount["RW"]),
                (&Value::from("bind"), &Value::from(false)),
                "{mount}"
            );
        }
        assert_eq!(told["HostConfig"]["ReadonlyRootfs"], true);
        assert_eq!(told["HostConfig"]["CapDrop"][0], "ALL");
        assert_eq!(told["HostConfig"]["RestartPolicy"]["MaximumRetryCount"], 5);
    }
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
    let log = project.compose(&["logs", "--no-color", "sidekey"]);
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
    docker(&["rm", &container]);
    // The engine adds empty mount points.
    let engines = ["dev/", "etc/", "proc/", "sys/", ".dockerenv"];
    let ours: Vec<_> =
        files.lines().filter(|file| !engines.iter().any(|e| file.starts_with(e))).collect();
    assert_eq!(ours, ["sidekey"]);
    let help = docker(&["run", "--rm", &image, "--help"]);
    assert!(help.contains("serve") && !help.contains("  dev "), "{help}");
}
