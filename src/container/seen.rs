//! What the kernel shows of the surroundings, read once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::cgroup::{self, Limits};
use super::mounts;

/// Sockets through which whoever reaches them commands the engine.
const ENGINE_SOCKETS: [&str; 8] = [
    "docker.sock",
    "podman/podman.sock",
    "containerd/containerd.sock",
    "crio/crio.sock",
    "cri-dockerd.sock",
    "docker/containerd/containerd.sock",
    "k3s/containerd/containerd.sock",
    "buildkit/buildkitd.sock",
];

const SHELLS: [&str; 4] = ["/bin/sh", "/bin/bash", "/bin/busybox", "/usr/bin/apt"];

/// Texts of `/proc` and `/sys`, as they are; what could not be read is `None` or empty.
///
/// None of it is secret.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
pub struct Seen {
    pub(super) status: String,
    /// The label of `AppArmor` or `SELinux`.
    pub(super) label: Option<String>,
    /// Whether the kernel enforces either of them.
    pub(super) mac: bool,
    pub(super) mountinfo: String,
    /// Mount points that are folders.
    pub(super) mounted_folders: Vec<String>,
    pub(super) cgroup: String,
    pub(super) limits: Limits,
    pub(super) ulimits: String,
    pub(super) core_pattern: Option<String>,
    pub(super) swaps: Option<String>,
    pub(super) ptrace_scope: Option<String>,
    pub(super) kernel: String,
    /// Inode numbers by kind: `net`, `pid`, `ipc` and so on.
    pub(super) namespaces: BTreeMap<&'static str, u64>,
    /// A setting that the kernel shows in the first network namespace alone.
    pub(super) first_network_setting: bool,
    pub(super) interfaces: Vec<String>,
    pub(super) devices: Vec<String>,
    /// Names of all processes in view.
    pub(super) processes: Vec<String>,
    pub(super) engine_sockets: Vec<String>,
    pub(super) shells: Vec<&'static str>,
    /// `PR_SET_NO_NEW_PRIVS` was on before the process set it for itself.
    pub(super) no_new_privileges: bool,
    /// The platform put Kubernetes' variables into the environment.
    pub(super) kubernetes: bool,
}

impl Seen {
    /// Reads it all. To be called before the sandbox closes, which takes most of it out of view.
    ///
    /// `no_new_privileges` is what the process was started with, `kubernetes` whether
    /// `KUBERNETES_SERVICE_HOST` is set.
    pub fn read(no_new_privileges: bool, kubernetes: bool) -> Self {
        let cgroup = text("/proc/self/cgroup").unwrap_or_default();
        let mountinfo = text("/proc/self/mountinfo").unwrap_or_default();
        let label =
            text("/proc/self/attr/apparmor/current").or_else(|| text("/proc/self/attr/current"));
        let apparmor = text("/sys/module/apparmor/parameters/enabled");
        let mac = apparmor.is_some_and(|enabled| enabled.trim() == "Y")
            || label.as_ref().is_some_and(|label| !label.is_empty());
        Self {
            status: text("/proc/self/status").unwrap_or_default(),
            label,
            mac,
            engine_sockets: engine_sockets(&mountinfo),
            mounted_folders: mounted_folders(&mountinfo),
            mountinfo,
            limits: cgroup::read(&cgroup),
            cgroup,
            ulimits: text("/proc/self/limits").unwrap_or_default(),
            core_pattern: text("/proc/sys/kernel/core_pattern"),
            swaps: text("/proc/swaps"),
            ptrace_scope: text("/proc/sys/kernel/yama/ptrace_scope"),
            kernel: text("/proc/sys/kernel/osrelease").unwrap_or_default(),
            namespaces: namespaces(),
            first_network_setting: Path::new("/proc/sys/net/core/netdev_max_backlog").exists(),
            interfaces: names("/sys/class/net"),
            devices: names("/dev"),
            processes: processes(),
            shells: SHELLS.into_iter().filter(|shell| Path::new(shell).exists()).collect(),
            no_new_privileges,
            kubernetes,
        }
    }
}

fn text(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim_end_matches(['\n', '\0']).to_owned())
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn processes() -> Vec<String> {
    let numbers = names("/proc").into_iter().filter(|n| n.bytes().all(|c| c.is_ascii_digit()));
    numbers.filter_map(|number| text(&format!("/proc/{number}/comm"))).collect()
}

fn namespaces() -> BTreeMap<&'static str, u64> {
    let kinds = ["net", "pid", "ipc", "uts", "cgroup", "mnt", "user"];
    let inode = |kind| {
        let link = fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
        // net:[4026531833]
        link.to_str()?.split_once(":[")?.1.strip_suffix(']')?.parse().ok()
    };
    kinds.into_iter().filter_map(|kind| Some((kind, inode(kind)?))).collect()
}

fn mounted_folders(mountinfo: &str) -> Vec<String> {
    let points = mounts::parse(mountinfo).into_iter().map(|mount| mount.point);
    points.filter(|point| Path::new(point).is_dir()).collect()
}

/// At their usual places, and in whatever was mounted.
fn engine_sockets(mountinfo: &str) -> Vec<String> {
    let mounts = mounts::parse(mountinfo);
    let mut found: Vec<_> =
        mounts.iter().filter(|m| m.is_engine_socket()).map(|m| m.point.clone()).collect();
    let folders = ["/run", "/var/run"].into_iter().map(str::to_owned);
    let mounted = mounts.iter().filter(|mount| !mount.is_virtual() || mount.kind == "tmpfs");
    let mounted = mounted.flat_map(|mount| {
        let point = mount.point.trim_end_matches('/');
        [point.to_owned(), format!("{point}/run"), format!("{point}/var/run")]
    });
    for folder in folders.chain(mounted) {
        let sockets = ENGINE_SOCKETS.iter().map(|socket| format!("{folder}/{socket}"));
        found.extend(sockets.filter(|socket| Path::new(socket).exists()));
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_is_understood() {
        let seen = Seen::read(false, false);
        assert!(seen.status.contains("CapBnd:"));
        assert!(seen.namespaces.contains_key("net"), "{:?}", seen.namespaces);
        assert!(!seen.processes.is_empty() && !seen.interfaces.is_empty());
        assert!(!mounts::parse(&seen.mountinfo).is_empty());
    }
}
