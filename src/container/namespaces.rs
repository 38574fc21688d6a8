//! Which namespaces are the host's, whether this is a container, and whose network it is in.

use super::Seen;

/// The kernel gives the first namespace of a kind a fixed inode number
/// (`include/linux/proc_ns.h`, `include/uapi/linux/nsfs.h`).
const FIRST: [(&str, u64); 6] = [
    ("ipc", 0xEFFF_FFFF),
    ("uts", 0xEFFF_FFFE),
    ("user", 0xEFFF_FFFD),
    ("pid", 0xEFFF_FFFC),
    ("cgroup", 0xEFFF_FFFB),
    // From Linux 6.18 on; before, it is a number like any other.
    ("net", 0xEFFF_FFF9),
];

/// Network interfaces that a node has and a container has not.
const OF_A_NODE: [&str; 11] = [
    "docker0",
    "podman0",
    "cni0",
    "cni-podman0",
    "cbr0",
    "kube-ipvs0",
    "kube-bridge",
    "flannel.1",
    "cilium_host",
    "nodelocaldns",
    "virbr0",
];
/// The node's ends of the cables to its containers.
const CABLES: [&str; 3] = ["veth", "cali", "lxc"];

/// Engines, as they name control groups.
const ENGINES: [&str; 6] = ["docker", "kubepods", "libpod", "containerd", "crio", "lxc"];

/// Whether an engine gave a control group this name: its own, alone or at the start of a unit of
/// containers, such as `kubepods-burstable.slice` or `cri-containerd-5f0c.scope`. A service that
/// is merely named after one is none: `docker-cleanup.service`.
fn is_engines(name: &str) -> bool {
    let name = name.strip_prefix("cri-").unwrap_or(name);
    let rest = ENGINES.iter().find_map(|engine| name.strip_prefix(engine));
    rest.is_some_and(|rest| {
        let unit = matches!(name.rsplit('.').next(), Some("scope" | "slice"));
        match rest.chars().next() {
            None => true,
            Some('-' | '.') if unit => true,
            _ => rest == "_parent" || rest.starts_with(".payload"),
        }
    })
}

/// How the host's network was recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostNetwork {
    /// The kernel's own mark of its first network namespace.
    First,
    /// An interface that only a node has: also true of a node that is itself a container.
    Interface(String),
}

impl std::fmt::Display for HostNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::First => f.write_str("this is the kernel's first network namespace"),
            Self::Interface(name) => write!(f, "the interface {name} belongs to a node"),
        }
    }
}

impl Seen {
    /// Whether the namespace of this kind is the host's. `None` when it cannot be seen.
    pub(super) fn is_first(&self, kind: &str) -> Option<bool> {
        let (_, first) = FIRST.iter().find(|(name, _)| *name == kind)?;
        self.namespaces.get(kind).map(|inode| inode == first)
    }

    /// The sign by which a container or pod was recognised.
    ///
    /// A namespace of its own for processes, IPC or control groups, which every engine makes
    /// unless told otherwise; Kubernetes' variables; a control group with an engine's name.
    /// Marker files such as `/.dockerenv` do not count: the file systems of virtual machines
    /// are made from images too. Under WSL, a laptop, only that of control groups counts: each of
    /// its distributions has the others for itself.
    ///
    /// Not recognised: a container that shares all of these with its host, outside of
    /// Kubernetes. Taken for one: a desktop sandbox with namespaces of its own.
    pub fn in_container(&self) -> Option<String> {
        if self.kubernetes {
            return Some("KUBERNETES_SERVICE_HOST is set".into());
        }
        // 4:memory:/docker/5f0c or, in version 2, 0::/docker/5f0c
        let path = |line: &str| line.splitn(3, ':').nth(2).map(str::to_owned);
        let named = |line: &&str| path(line).is_some_and(|path| path.split('/').any(is_engines));
        if let Some(line) = self.cgroup.lines().find(named) {
            return Some(format!("control group {line}"));
        }
        let wsl = self.kernel.to_lowercase().contains("microsoft");
        let kinds: &[&str] = if wsl { &["cgroup"] } else { &["pid", "ipc", "cgroup"] };
        let own = kinds.iter().find(|kind| self.is_first(kind) == Some(false));
        own.map(|kind| format!("a {kind} namespace of its own"))
    }

    /// Whether loopback is that of a whole host, and how that is known.
    ///
    /// The kernel shows some settings, and from Linux 6.18 on a fixed inode number, in its
    /// first network namespace alone. Where the host is itself a container (a node of `kind`),
    /// interfaces give it away.
    ///
    /// Not recognised: a host that is itself a container, without any of these interfaces.
    /// Taken for one: a pod that is a virtual machine of its own (Kata containers).
    pub fn host_network(&self) -> Option<HostNetwork> {
        if self.first_network_setting || self.is_first("net") == Some(true) {
            return Some(HostNetwork::First);
        }
        let of_a_node = |name: &&String| {
            OF_A_NODE.contains(&name.as_str()) || CABLES.iter().any(|start| name.starts_with(start))
        };
        self.interfaces.iter().find(of_a_node).cloned().map(HostNetwork::Interface)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(inodes: &[(&'static str, u64)], interfaces: &[&str]) -> Seen {
        Seen {
            namespaces: inodes.iter().copied().collect(),
            interfaces: interfaces.iter().map(ToString::to_string).collect(),
            ..Seen::default()
        }
    }

    const HOST: [(&str, u64); 4] = [
        ("pid", 4_026_531_836),
        ("ipc", 4_026_531_839),
        ("cgroup", 4_026_531_835),
        ("net", 4_026_531_833),
    ];
    const OWN: [(&str, u64); 4] = [
        ("pid", 4_026_532_300),
        ("ipc", 4_026_532_301),
        ("cgroup", 4_026_532_302),
        ("net", 4_026_532_303),
    ];

    #[test]
    fn a_laptop_and_a_virtual_machine_are_no_containers() {
        assert_eq!(seen(&HOST, &["lo", "eth0", "docker0"]).in_container(), None);
        let mut wsl = seen(&OWN, &["lo", "eth0"]);
        wsl.kernel = "5.15.153.1-microsoft-standard-WSL2".into();
        assert_eq!(wsl.in_container(), Some("a cgroup namespace of its own".into()), "an engine's");
        wsl.namespaces.insert("cgroup", 4_026_531_835);
        assert_eq!(wsl.in_container(), None);
        let mut session = seen(&HOST, &["lo"]);
        session.cgroup = "0::/user.slice/user-1000.slice/session-2.scope".into();
        assert_eq!(session.in_container(), None);
    }

    #[test]
    fn a_container_is_recognised_by_any_sign() {
        for kind in ["pid", "ipc", "cgroup"] {
            let mut namespaces = HOST.to_vec();
            namespaces.retain(|(name, _)| *name != kind);
            namespaces.push((kind, 4_026_532_300));
            let sign = seen(&namespaces, &["lo"]).in_container();
            assert_eq!(sign, Some(format!("a {kind} namespace of its own")));
        }
        for line in [
            "0::/kubepods.slice/pod5f",
            "0::/kubepods-burstable-pod5f.slice/cri-containerd-5f.scope",
            "0::/system.slice/docker-5f.scope",
            "0::/machine.slice/libpod-5f.scope",
            "0::/lxc.payload.web",
            "4:memory:/docker/5f",
        ] {
            let seen = Seen { cgroup: line.into(), ..seen(&HOST, &["lo"]) };
            assert!(seen.in_container().is_some(), "{line}");
        }
        for line in [
            "0::/system.slice/docker-cleanup.service",
            "0::/system.slice/docker.service",
            "0::/system.slice/my-docker-tool.scope",
            "0::/user.slice/dockerize",
        ] {
            let seen = Seen { cgroup: line.into(), ..seen(&HOST, &["lo"]) };
            assert_eq!(seen.in_container(), None, "{line}");
        }
        let pod = Seen { kubernetes: true, ..seen(&HOST, &["lo"]) };
        assert!(pod.in_container().is_some());
    }

    #[test]
    fn the_host_network_by_the_kernels_marks() {
        assert_eq!(seen(&OWN, &["lo", "eth0"]).host_network(), None);
        assert_eq!(seen(&HOST, &["lo", "eth0"]).host_network(), Some(HostNetwork::First));
        let setting = Seen { first_network_setting: true, ..seen(&OWN, &["lo", "eth0"]) };
        assert_eq!(setting.host_network(), Some(HostNetwork::First));
    }

    #[test]
    fn the_network_of_a_node_that_is_a_container_itself() {
        for name in ["cni0", "veth31af", "cali5f0c", "docker0"] {
            let expected = Some(HostNetwork::Interface(name.into()));
            assert_eq!(seen(&OWN, &["lo", "eth0", name]).host_network(), expected);
        }
    }
}
