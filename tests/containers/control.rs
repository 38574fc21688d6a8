//! The same attacks on a project that shares a volume and serves a file: there they work, so that
//! finding nothing elsewhere means something.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::attacks::{self, Neighbour, Victim};
use crate::engine::{attempt, docker};
use crate::fetcher::Fetcher;
use crate::project::Project;
use crate::support::canary::canary;
use crate::support::eventually;

const PATH: &str = "GET /password";

/// Every attack has to succeed.
pub fn attacked() {
    let secret = canary("password");
    let project = Project::of("tests/containers/control", "skc").with("PASSWORD", &secret);
    project.compose(&["up", "-d"]);
    let [helper, app, postgres] = ["helper", "app", "postgres"].map(|name| project.container(name));
    deliver(&helper, &secret);
    eventually("the helper's URL", || {
        (attacks::forged_request(&app, "127.0.0.1:7433", PATH).0 == 200).then_some(())
    });
    let containers = vec![helper.clone(), app.clone()];
    let victim = Victim { secrets: vec![secret.clone()], containers, project: &project.name };

    let found = attacks::host_administrator(&victim);
    assert!(found.iter().any(|place| place.ends_with("/_data/password")), "A1: {found:?}");
    assert!(found.iter().any(|place| place.ends_with("/root/secrets/password")), "A1: {found:?}");
    assert_eq!(attacks::malicious_project(&victim), victim.secrets, "A3");
    let neighbours = Neighbour::of(&helper);
    assert_eq!(neighbours.len(), 1);
    for neighbour in neighbours {
        assert_eq!(neighbour.ask(7433, PATH), (200, secret.clone()), "A4");
    }
    let forged = attacks::forged_request(&app, "127.0.0.1:7433", PATH);
    assert_eq!(forged, (200, secret.clone()), "A5");
    let fetched = Fetcher::beside(&helper).fetch("http://127.0.0.1:7433/password");
    assert_eq!(fetched, (200, secret.clone()), "A5, through the application");
    let fetch = ["sidekey-test/busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:7433/password"];
    for user in ["10002:10002", "0:0", "65532:65532"] {
        assert_eq!(attacks::in_the_same_pod(&helper, user, &fetch), (0, secret.clone()), "A6");
    }
    let login = || attacks::login(&postgres, "app", &secret);
    eventually("the database", || (login().0 == 0).then_some(()));
    docker(&["stop", &app, &helper]);
    assert_eq!(login(), (0, "1\n".into()), "A8");

    project.compose(&["down"]);
    let left = attacks::leftovers(&victim);
    assert!(left.iter().any(|place| place.ends_with("/_data/password")), "A2: {left:?}");
}

/// Writes the secret as a helper does that fetched it: not from its arguments or environment.
fn deliver(container: &str, secret: &str) {
    let mut write = Command::new("docker");
    write.args(["exec", "-i", container, "/bin/sh", "-c", "cat >/secrets/password"]);
    let mut write = write.stdin(Stdio::piped()).spawn().unwrap();
    write.stdin.take().unwrap().write_all(secret.as_bytes()).unwrap();
    assert!(write.wait().unwrap().success());
    let there = attempt("docker", &["exec", container, "test", "-s", "/secrets/password"]);
    assert!(there.status.success());
}
