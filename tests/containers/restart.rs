//! What a killed sidecar leaves behind, and how everything comes back.

use crate::engine::{inspect, pid, said, succeed};
use crate::project::Project;
use crate::serving::page;
use crate::support::eventually;

/// The application keeps its network; the sidecar's one-use token brings five failed logins; and
/// `up` brings everything back.
pub fn one_command() {
    let project = Project::of("compose", "skr");
    project.up();
    eventually("the page", || page(&project));
    let [sidecar, app] = ["sidekey", "app"].map(|service| project.container(service));
    let before = inspect(&app)["State"].clone();

    succeed("kill", &["-KILL", &pid(&sidecar)]);
    let end = eventually("the end of its restarts", || {
        let told = inspect(&sidecar);
        (told["State"]["Status"] == "exited" && told["RestartCount"] == 5).then_some(told)
    });
    assert_eq!(end["State"]["ExitCode"], 77);
    let log = said("docker", &["logs", &sidecar]).1;
    assert!(log.contains("the wrapping token was used already"), "{log}");
    let after = inspect(&app)["State"].clone();
    assert_eq!((&before["Pid"], &before["StartedAt"]), (&after["Pid"], &after["StartedAt"]));
    assert!(page(&project).is_some(), "with the connections that it has");

    project.up();
    eventually("the page again", || page(&project));
    project.down();
    assert_eq!(project.leftovers(), Vec::<String>::new());
}
