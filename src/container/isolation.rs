//! Items about what is shared with the host: namespaces, mounts, devices, sockets.

use super::items::{judged, listed, operators};
use super::{Finding, Remedy, Seen, mounts};

/// What an engine puts under `/dev` of every container.
const DEVICES: [&str; 17] = [
    "null",
    "zero",
    "full",
    "random",
    "urandom",
    "tty",
    "console",
    "ptmx",
    "pts",
    "shm",
    "mqueue",
    "fd",
    "stdin",
    "stdout",
    "stderr",
    "core",
    "termination-log",
];

/// Small programs that stand above the main one and reap what it leaves.
const INITS: [&str; 6] = ["docker-init", "tini", "catatonit", "dumb-init", "pause", "podman-init"];

pub(super) fn all(seen: &Seen) -> Vec<Finding> {
    let mut findings =
        vec![processes(seen), network(seen), devices(seen), users(seen), sockets(seen)];
    findings.extend(mounts(seen));
    for (item, title, kind, remedy) in NAMESPACES {
        findings.push(match seen.is_first(kind) {
            Some(first) => {
                judged(item, title, !first, if first { "the host's" } else { "its own" }, remedy)
            }
            None => operators(item, title, remedy),
        });
    }
    findings
}

const NAMESPACES: [(&str, &str, &str, Remedy); 3] = [
    (
        "5.16",
        "no host processes",
        "pid",
        Remedy { compose: "pid: leave the line out", manifest: "hostPID: false" },
    ),
    ("5.17", "no host IPC", "ipc", Remedy { compose: "ipc: private", manifest: "hostIPC: false" }),
    (
        "5.20",
        "no host names (UTS)",
        "uts",
        Remedy { compose: "uts: leave the line out", manifest: "hostNetwork: false" },
    ),
];

fn processes(seen: &Seen) -> Finding {
    let known = |name: &&String| *name != "sidekey" && !INITS.contains(&name.as_str());
    let others: Vec<_> = seen.processes.iter().filter(known).collect();
    judged(
        "5.3",
        "one main process, out of sight of others",
        others.is_empty(),
        format!("others in view: {}", listed(&others)),
        Remedy {
            compose: "pid: leave the line out, and one program for each container",
            manifest: "shareProcessNamespace: false",
        },
    )
}

fn network(seen: &Seen) -> Finding {
    let host = seen.host_network();
    judged(
        "5.10",
        "no host network",
        host.is_none(),
        host.map_or_else(|| "a network of its own".into(), |how| how.to_string()),
        Remedy {
            compose: "network_mode: leave out `host`; sidecar and application join one network: \"service:pod\"",
            manifest: "hostNetwork: false",
        },
    )
}

fn mounts(seen: &Seen) -> Vec<Finding> {
    let mounts = mounts::parse(&seen.mountinfo);
    let points = |wanted: &dyn Fn(&mounts::Mount) -> bool| -> Vec<String> {
        mounts.iter().filter(|mount| wanted(mount)).map(|mount| mount.point.clone()).collect()
    };
    let of_host = points(&|mount| {
        mount.is_host_folder(&seen.mounted_folders)
            || mount.shared && mount.point != "/" && !mount.is_virtual()
    });
    let writable = points(&|mount| mount.is_writable_volume(seen.kubernetes));
    let read_only = mounts.iter().rfind(|mount| mount.point == "/").map(|root| !root.writable);
    let remedy = Remedy {
        compose: "read_only: true",
        manifest: "securityContext: { readOnlyRootFilesystem: true }",
    };
    let title = "read-only root file system";
    vec![
        judged(
            "5.6",
            "no folder of the host, none shared back",
            of_host.is_empty(),
            listed(&of_host),
            Remedy {
                compose: "volumes: single files, `read_only: true`, propagation rprivate",
                manifest: "volumes: configMap and projected alone; no hostPath, no mountPropagation",
            },
        ),
        match read_only {
            Some(yes) => judged("5.13", title, yes, if yes { "yes" } else { "writable" }, remedy),
            None => operators("5.13", title, remedy),
        },
        judged(
            "A1",
            "no volume that a secret could be left on",
            writable.is_empty(),
            listed(&writable),
            Remedy {
                compose: "volumes: nothing writable; the sidecar writes no file",
                manifest: "volumeMounts: with `readOnly: true`; the sidecar writes no file",
            },
        ),
    ]
}

fn devices(seen: &Seen) -> Finding {
    let others: Vec<_> =
        seen.devices.iter().filter(|name| !DEVICES.contains(&name.as_str())).collect();
    judged(
        "5.18",
        "no host devices",
        others.is_empty(),
        listed(&others),
        Remedy {
            compose: "devices: leave it out",
            manifest: "no hostPath under /dev, not privileged",
        },
    )
}

/// Few engines are set up so, and no service or pod is worse than its neighbours without it: the
/// host's is no flaw.
fn users(seen: &Seen) -> Finding {
    let remedy = Remedy {
        compose: "on the host: userns-remap in the engine's daemon.json",
        manifest: "hostUsers: false (Kubernetes 1.33, where the node can)",
    };
    let title = "user numbers of its own";
    match seen.is_first("user") {
        Some(false) => judged("5.30", title, true, "a user namespace of its own", remedy),
        Some(true) => Finding { found: "the host's".into(), ..operators("5.30", title, remedy) },
        None => operators("5.30", title, remedy),
    }
}

fn sockets(seen: &Seen) -> Finding {
    judged(
        "5.31",
        "no engine socket",
        seen.engine_sockets.is_empty(),
        listed(&seen.engine_sockets),
        Remedy {
            compose: "volumes: without docker.sock and its like, and without /run",
            manifest: "volumes: without hostPath to the engine's socket",
        },
    )
}
