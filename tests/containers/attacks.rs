//! The attacks of the published analyses, each as it is done. The same functions run against
//! the compose project, where they find nothing, and against a project that shares a volume.

use std::process::Stdio;

use crate::engine::{attempt, docker, image, inspect, pid, said, search};
use crate::inside::{ask, ask_at};
use crate::project::Project;
use crate::support::canary::canary;

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
        for secret in &victim.secrets {
            places.extend(search(secret, &[format!("/proc/{pid}/root/")]));
            places.extend(told.contains(secret).then(|| "docker inspect".to_owned()));
            places.extend(environment.contains(secret).then(|| "environment".to_owned()));
        }
    }
    places
}

/// A2: what is left on the host's disk; the engine's whole folder is searched.
pub fn leftovers(victim: &Victim<'_>) -> Vec<String> {
    let root = docker(&["info", "-f", "{{.DockerRootDir}}"]);
    victim.secrets.iter().flat_map(|secret| search(secret, std::slice::from_ref(&root))).collect()
}

/// A3: volumes of the project that another project can declare as its own.
pub fn volumes(victim: &Victim<'_>) -> Vec<String> {
    let filter = format!("label=com.docker.compose.project={}", victim.project);
    docker(&["volume", "ls", "-q", "--filter", &filter]).lines().map(str::to_owned).collect()
}

/// A4: another container on the same bridge asks every address and the abstract socket.
pub fn neighbour(project: &Project) {
    let told = inspect(&project.container("sidekey"));
    for (network, settings) in told["NetworkSettings"]["Networks"].as_object().unwrap() {
        let address = settings["IPAddress"].as_str().unwrap();
        let image = "sidekey-test/busybox";
        let neighbour =
            docker(&["run", "-d", "--rm", "--init", "--network", network, image, "sleep", "600"]);
        let from = pid(&neighbour);
        let fetch = |port: u16| ask_at(&from, 10_001, &format!("{address}:{port}"), "GET /");
        let (status, page) = fetch(8080);
        assert_eq!(status, 200, "the neighbour reaches the page: {page}");
        for port in [7433, 7434] {
            let (status, said) = fetch(port);
            assert!(status == 0 && said.contains("refused"), "{address}:{port}: {said}");
        }
        docker(&["rm", "-f", &neighbour]);
        let (status, said) = get_secret(&["--network", network], "10001:10001");
        assert!(status != 0 && said.contains("no sidecar answers"), "{said}");
    }
}

/// A5: the application is tricked into fetching an address, in its own network and as its own
/// user. Nothing listens for TCP but health and metrics, which hold no secret.
pub fn forged_request(project: &Project, secrets: &[String]) {
    let app = pid(&project.container("app"));
    let fetch = |place: &str, what: &str| ask_at(&app, 10_001, place, what);
    let (status, said) = fetch("127.0.0.1:7433", "GET /secrets/db/password");
    assert!(status == 0 && said.contains("refused"), "{said}");
    for what in ["GET /metrics", "GET /readyz", "GET /secrets/db/password"] {
        let (_, said) = fetch("127.0.0.1:7434", what);
        assert!(!said.is_empty() && !secrets.iter().any(|secret| said.contains(secret)), "{what}");
    }
}

/// A6: another container in the same network namespace.
pub fn container_in_the_same_pod(project: &Project) {
    let network = format!("container:{}", project.container("sidekey"));
    for user in ["10002:10002", "0:0", "65532:65532"] {
        let (status, said) = get_secret(&["--network", &network], user);
        assert!(status != 0 && said.contains("caller_unknown"), "{user}: {said}");
    }
    // The same tool, as the user who may.
    let (status, said) = get_secret(&["--network", &network], "10001:10001");
    assert_eq!(status, 0, "{said}");
}

/// `sidekey get` in a container of its own.
fn get_secret(options: &[&str], user: &str) -> (i32, String) {
    let image = image();
    let what = [&image, "get", "--addr", "unix:@sidekey", "db/password"];
    said("docker", &[&["run", "--rm", "--user", user], options, &what].concat())
}

/// A8: credentials that were stolen are of no use once the sidecar stopped.
pub fn stolen_credentials(project: &Project) {
    let sidecar = pid(&project.container("sidekey"));
    let field = |name: &str| ask(&sidecar, 10_001, &format!("GET /secrets/db/{name}")).1;
    let (user, password) = (field("username"), format!("PGPASSWORD={}", field("password")));
    let postgres = project.container("postgres");
    let login = || {
        let psql = ["psql", "-h", "127.0.0.1", "-U", &user, "-d", "app", "-Atc", "select 1"];
        said("docker", &[&["exec", "-e", &password, &postgres][..], &psql].concat())
    };
    assert_eq!(login(), (0, "1\n".into()), "the thief gets in while they are good");
    project.compose(&["stop", "app", "sidekey"]);
    let (status, said) = login();
    assert!(status != 0 && said.contains("authentication failed"), "{said}");
}

/// The same attacks where a volume is shared: they work, so that finding nothing means
/// something.
pub fn control_project() {
    let project = Project::of("tests/containers/control", "skc");
    let secret = canary("password");
    project.compose(&["up", "-d"]);
    let helper = project.container("helper");
    deliver(&helper, &secret);
    let containers = vec![helper, project.container("app")];
    let victim = Victim { secrets: vec![secret.clone()], containers, project: &project.name };

    let found = host_administrator(&victim);
    assert!(found.iter().any(|place| place.ends_with("/_data/password")), "A1: {found:?}");
    assert!(found.iter().any(|place| place.ends_with("/root/secrets/password")), "A1: {found:?}");
    let volumes = volumes(&victim);
    assert_eq!(volumes, [format!("{}_secrets", project.name)]);

    // A3, and A6: anybody who can name the volume reads it, under any user.
    let mount = format!("{}:/stolen", volumes[0]);
    let read = [
        "run",
        "--rm",
        "--user",
        "4711",
        "-v",
        &mount,
        "sidekey-test/busybox",
        "cat",
        "/stolen/password",
    ];
    assert_eq!(docker(&read), secret);

    project.compose(&["down"]);
    assert!(!leftovers(&victim).is_empty(), "A2");
}

/// Writes the secret as a helper does that fetched it: not from its arguments or environment.
fn deliver(container: &str, secret: &str) {
    use std::io::Write as _;
    let mut write = std::process::Command::new("docker");
    write.args(["exec", "-i", container, "/bin/sh", "-c", "cat >/secrets/password"]);
    let mut write = write.stdin(Stdio::piped()).spawn().unwrap();
    write.stdin.take().unwrap().write_all(secret.as_bytes()).unwrap();
    assert!(write.wait().unwrap().success());
    assert!(
        attempt("docker", &["exec", container, "test", "-s", "/secrets/password"]).status.success()
    );
}
