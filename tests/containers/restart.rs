//! What a killed sidecar leaves behind, and how everything comes back.

use serde_json::Value;

use crate::engine::{inspect, pid, said, succeed};
use crate::project::{Project, change};
use crate::serving::page;
use crate::support::eventually;

/// The application keeps its network; the sidecar's one-use token brings five failed logins; and
/// `up` brings everything back.
pub fn one_command() {
    let project = Project::of("compose", "skr");
    project.up();
    eventually("the page", || page(&project));
    let before = life(&project, "app");
    kill_for_good(&project);
    assert_eq!(life(&project, "app"), before);
    assert!(page(&project).is_some(), "with the connections that it has");

    project.up();
    eventually("the page again", || page(&project));
    project.down();
    assert_eq!(project.leftovers(), Vec::<String>::new());
}

/// The same commands with the second Docker Compose.
pub fn by_compose_2() {
    let project = Project::of("compose", "skc").by_compose_2();
    project.up();
    eventually("the page", || page(&project));
    // Its own mark on what it started: the first one says "1.29.2".
    let labels = &inspect(&project.container("app"))["Config"]["Labels"];
    let version = labels["com.docker.compose.version"].as_str().unwrap();
    assert!(version.trim_start_matches('v').starts_with("2."), "{version}");
    project.up();
    eventually("the page again", || page(&project));
    project.down();
    assert_eq!(project.leftovers(), Vec::<String>::new());
}

/// Where Vault is still the same: a new token and a new sidecar, and the application goes on.
pub fn sidecar_alone() {
    let project = Project::of("compose", "sks");
    // The one who may make tokens ends with `bootstrap`: it makes another beforehand.
    let last = "vault token revoke -self\n";
    let more = "echo \"another: $(vault write -f -wrap-ttl=300s -field=wrapping_token auth/approle/role/app/secret-id)\"\n";
    change(&project, "bootstrap.sh", last, &format!("{more}{last}"));
    let output = project.command(project.path("up")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let another = said.lines().find_map(|line| line.strip_prefix("another: "));
    let another = another.unwrap_or_else(|| panic!("{said}"));
    let first = eventually("the page", || page(&project));
    let before = life(&project, "app");
    kill_for_good(&project);

    std::fs::write(project.path("run/wrapped-secret-id"), another).unwrap();
    project.compose(&["up", "-d", "--no-deps", "--force-recreate", "sidekey"]);
    eventually("other credentials", || page(&project).filter(|page| *page != first));
    assert_eq!(life(&project, "app"), before);
    project.down();
}

/// Which process it is, and since when.
fn life(project: &Project, service: &str) -> (Value, Value) {
    let state = inspect(&project.container(service))["State"].clone();
    (state["Pid"].clone(), state["StartedAt"].clone())
}

/// Its restarts come to their end: each would log in with a token that was used up.
fn kill_for_good(project: &Project) {
    let sidecar = project.container("sidekey");
    succeed("kill", &["-KILL", &pid(&sidecar)]);
    let end = eventually("the end of its restarts", || {
        let told = inspect(&sidecar);
        (told["State"]["Status"] == "exited" && told["RestartCount"] == 5).then_some(told)
    });
    assert_eq!(end["State"]["ExitCode"], 77);
    let log = said("docker", &["logs", &sidecar]).1;
    assert!(log.contains("the wrapping token was used already"), "{log}");
}
