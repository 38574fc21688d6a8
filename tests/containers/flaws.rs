//! Containers that are started badly on purpose, one flaw at a time.

use crate::engine::{docker, image, said, succeed};
use crate::support::canary::canary;
use crate::support::eventually;

/// A container as it should be started.
const GOOD: [&str; 12] = [
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=64m",
    "--memory-swap=64m",
    "--cpus=0.5",
    "--pids-limit=64",
    "--ulimit=memlock=8388608:8388608",
    "--ipc=private",
    "--network=none",
    "--user=65532:65532",
    "--rm",
];

/// A flaw, the item that finds it, and how to make it.
pub struct Case {
    pub name: &'static str,
    item: &'static str,
    without: &'static str,
    with: &'static [&'static str],
}

const fn case(
    name: &'static str,
    item: &'static str,
    without: &'static str,
    with: &'static [&'static str],
) -> Case {
    Case { name, item, without, with }
}

pub const CASES: [Case; 22] = [
    case("root", "4.1", "--user", &["--user=0:0"]),
    case("a_kept_capability", "5.4", "", &["--cap-add=NET_RAW"]),
    case("default_capabilities", "5.4", "--cap-drop", &[]),
    case("privileged", "5.5", "", &["--privileged"]),
    case("a_folder_of_the_host", "5.6", "", &["--volume=/etc:/host:ro"]),
    case("a_folder_below_the_hosts", "5.6", "", &["--volume=/etc/ssl:/host:ro"]),
    case("memory_at_a_shared_place", "A1", "", &["--tmpfs=/run/secrets"]),
    case("the_host_network", "5.10", "--network", &["--network=host"]),
    case("no_memory_limit", "5.11", "--memory", &[]),
    case("no_processor_limit", "5.12", "--cpus", &[]),
    case("a_writable_root", "5.13", "--read-only", &[]),
    case("the_host_processes", "5.16", "", &["--pid=host"]),
    case("other_processes", "5.3", "", &["--pid=host"]),
    case("the_host_ipc", "5.17", "--ipc", &["--ipc=host"]),
    case("a_device", "5.18", "", &["--device=/dev/kmsg"]),
    case("too_little_lockable_memory", "5.19", "--ulimit", &["--ulimit=memlock=65536:65536"]),
    case("the_host_names", "5.20", "", &["--uts=host"]),
    case("no_seccomp", "5.21", "", &["--security-opt=seccomp=unconfined"]),
    case("new_privileges", "5.25", "--security-opt", &[]),
    case("no_limit_of_processes", "5.28", "--pids-limit", &[]),
    case("a_writable_volume", "A1", "", &["--volume=/data"]),
    case("the_engine_socket", "5.31", "", &["--volume=/var/run/docker.sock:/var/run/docker.sock"]),
];

fn options(case: &Case) -> Vec<&'static str> {
    let dropped = |option: &&&str| !case.without.is_empty() && option.starts_with(case.without);
    let kept = GOOD.iter().filter(|option| !dropped(option)).copied();
    kept.chain(case.with.iter().copied()).collect()
}

fn audit(options: &[&str]) -> (i32, String) {
    let image = image();
    said("docker", &[&["run"], options, &[image.as_str(), "check", "--hardening=strict"]].concat())
}

pub fn none() {
    let (status, report) = audit(&GOOD);
    assert_eq!(status, 0, "{report}");
    assert!(!report.contains("FLAW") && report.contains(" 0 flaws, "), "{report}");
}

/// What no manifest can say is no flaw in a pod: `require_hardening` has to let it start.
pub fn of_a_pod() {
    let kept =
        |option: &&str| !["--ulimit", "--pids", "--cpus"].iter().any(|o| option.starts_with(o));
    let options: Vec<_> = GOOD.into_iter().filter(kept).collect();
    let pod = [
        "--env=KUBERNETES_SERVICE_HOST=10.0.0.1",
        "--ulimit=memlock=65536:65536",
        "--cpu-shares=5",
    ];
    let (status, report) = audit(&[&options[..], &pod].concat());
    assert_eq!(status, 0, "{report}");
    for item in ["5.19", "5.28"] {
        assert!(report.lines().any(|line| line.starts_with(&format!("you  {item}"))), "{report}");
    }
    // The containers of a pod share memory under any name.
    let (status, report) = audit(&[&options[..], &pod, &["--tmpfs=/run/x"]].concat());
    assert!(status == 71 && report.contains("FLAW A1 "), "{report}");
}

/// The image trusts nobody by itself, and says so.
pub fn no_authority() {
    let (image, token) = (image(), format!("SIDEKEY_TOKEN={}", canary("caller")));
    let mut serve = serve(&image, &token);
    for word in &mut serve {
        *word = word.strip_prefix("http://127.0.0.1:1").map_or(*word, |_| "https://127.0.0.1:1");
    }
    let (status, said) = said("docker", &[&["run"], &GOOD[..], &serve].concat());
    assert_eq!(status, 78, "{said}");
    assert!(said.contains("no certificate authority here: set vault.ca_cert"), "{said}");
}

/// The flaw is found under its number, with a remedy, and is an exit status.
pub fn found(case: &Case) {
    let (status, report) = audit(&options(case));
    assert_eq!(status, 71, "{report}");
    let start = format!("FLAW {:5} ", case.item);
    let mut lines = report.lines().skip_while(|line| !line.starts_with(&start));
    assert!(lines.next().is_some(), "{} is not among the flaws of\n{report}", case.item);
    assert!(lines.next().is_some_and(|line| line.starts_with("           compose: ")), "{report}");
    assert!(lines.next().is_some_and(|line| line.starts_with("           pod:     ")), "{report}");
}

/// What the sidecar mounted there, the host would have too.
pub fn shared_mount() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    succeed("mount", &["--bind", path, path]);
    succeed("mount", &["--make-shared", path]);
    let mount =
        format!("--mount=type=bind,readonly,source={path},target=/x,bind-propagation=rshared");
    let (status, report) = audit(&[&GOOD[..], &[&mount]].concat());
    succeed("umount", &[path]);
    assert_eq!(status, 71, "{report}");
    assert!(report.contains("FLAW 5.6 ") && report.contains(" 1 flaws, "), "{report}");
}

fn serve<'a>(image: &'a str, token: &'a str) -> Vec<&'a str> {
    vec![
        "--env",
        token,
        "--env",
        "VAULT_TOKEN=none",
        "--env",
        "SIDEKEY_LOG_FORMAT=json",
        image,
        "serve",
        "--secret",
        "db=secret/data/app",
        "--vault-addr",
        "http://127.0.0.1:1",
        "--listen",
        "127.0.0.1:0",
        "--health-listen",
        "off",
    ]
}

pub fn host_network() {
    let (image, token) = (image(), format!("SIDEKEY_TOKEN={}", canary("caller")));
    let serve = serve(&image, &token);
    for options in [&["--network=host"][..], &["--network=host", "--pid=host", "--uts=host"]] {
        let (status, said) = said("docker", &[&["run", "--rm"], options, &serve].concat());
        assert_eq!(status, 71, "{said}");
        assert!(said.contains("the network is the host's"), "{said}");
        assert!(said.contains("--unsafe-host-network"), "{said}");
    }
    let allowed =
        [&["run", "-d", "--network=host"][..], &serve, &["--unsafe-host-network"]].concat();
    let container = docker(&allowed);
    let log = || said("docker", &["logs", &container]).1;
    eventually("its listener", || log().contains("\"listening\"").then_some(()));
    assert!(log().contains("loopback is the host's"), "{}", log());
    docker(&["rm", "-f", &container]);
}

pub fn insisting() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidekey.toml");
    std::fs::write(&file, "[container]\nrequire_hardening = true\n").unwrap();
    std::os::unix::fs::chown(&file, Some(65_532), Some(65_532)).unwrap();
    let (image, token) = (image(), format!("SIDEKEY_TOKEN={}", canary("caller")));
    let mount = format!("--volume={}:/sidekey.toml:ro", file.display());
    let bad: Vec<_> = GOOD.into_iter().filter(|option| *option != "--read-only").collect();
    let serve = [&serve(&image, &token)[..], &["--config", "/sidekey.toml"]].concat();
    let (status, said) = said("docker", &[&["run", &mount], &bad[..], &serve].concat());
    assert_eq!(status, 71, "{said}");
    assert!(said.contains("not hardened: 5.13 read-only root file system;"), "{said}");
}
