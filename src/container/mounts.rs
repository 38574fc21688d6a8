//! `/proc/self/mountinfo`: <https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>.

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// What of the file system is mounted.
    pub(super) root: String,
    /// Where.
    pub(super) point: String,
    /// Mounted for writing, and the file system can be written to.
    pub(super) writable: bool,
    /// Mounts below it appear on the host too, and the other way round.
    pub(super) shared: bool,
    /// Neither programs of other users nor devices count on it: engines say so of what they mount
    /// by themselves, and the kubelet of no volume.
    pub(super) restrained: bool,
    /// The kind of file system.
    pub(super) kind: String,
}

/// Those that hold no files of anybody.
const VIRTUAL: [&str; 14] = [
    "proc",
    "sysfs",
    "tmpfs",
    "devtmpfs",
    "devpts",
    "mqueue",
    "cgroup",
    "cgroup2",
    "securityfs",
    "bpf",
    "debugfs",
    "tracefs",
    "hugetlbfs",
    "nsfs",
];

/// Engines mount these by themselves, from files that hold no secret.
const USUAL: [&str; 8] = [
    "/",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/dev/termination-log",
    "/run/.containerenv",
    "/sbin/docker-init",
    "/run/podman-init",
];

/// Folders of a host that no sidecar needs. Volumes and projects may lie below these.
const SENSITIVE: [&str; 22] = [
    "/",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sys",
    "/usr",
    "/var",
    "/var/lib",
    "/var/log",
    "/var/run",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/kubelet",
    "/etc/kubernetes",
];

/// Those below which no folder is needed either; single files are settings.
const SYSTEM: [&str; 11] = [
    "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sys", "/usr", "/var/log",
    "/var/run",
];

/// What the kernel and engines mount in every container.
const KERNELS: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Where a service has memory-backed places of its own.
const PRIVATE: [&str; 3] = ["/run", "/tmp", "/var/tmp"];

/// `folder` itself, or something in it.
fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Mount {
    pub(super) fn is_virtual(&self) -> bool {
        VIRTUAL.contains(&self.kind.as_str())
    }

    fn is_usual(&self) -> bool {
        USUAL.contains(&self.point.as_str())
    }

    /// Made for this container alone. The containers of a pod share memory-backed volumes, which
    /// may be mounted anywhere; elsewhere such a volume is usual at `/run/secrets` alone, where
    /// podman mounts one for each container too.
    fn is_private(&self, kubernetes: bool) -> bool {
        let point = self.point.as_str();
        if !self.is_virtual() {
            return false;
        }
        if KERNELS.iter().any(|folder| is_in(point, folder)) {
            return true;
        }
        if kubernetes {
            return self.restrained && PRIVATE.contains(&point);
        }
        PRIVATE.iter().any(|folder| is_in(point, folder))
            && (!is_in(point, "/run/secrets") || self.root.ends_with("/userdata/run/secrets"))
    }

    /// A folder of the host itself, and not a volume. `folders` are the mount points that are
    /// folders.
    pub(super) fn is_host_folder(&self, folders: &[String]) -> bool {
        let root = self.root.as_str();
        let hidden = |home| is_in(root, home) && root.contains("/.");
        let below = SYSTEM.iter().any(|folder| is_in(root, folder))
            || ["/home", "/root"].into_iter().any(hidden);
        let whole = SENSITIVE.contains(&root);
        !self.is_usual() && !self.is_virtual() && (whole || below && folders.contains(&self.point))
    }

    /// A place where files can be left for others to find.
    pub(super) fn is_writable_volume(&self, kubernetes: bool) -> bool {
        self.writable && !self.is_usual() && !self.is_private(kubernetes)
    }

    pub(super) fn is_engine_socket(&self) -> bool {
        let last = |path: &str| {
            path.rsplit('/').next().is_some_and(|name| {
                let name = name.strip_suffix(".sock").unwrap_or_default();
                matches!(
                    name,
                    "docker" | "podman" | "containerd" | "crio" | "cri-dockerd" | "buildkitd"
                )
            })
        };
        last(&self.root) || last(&self.point)
    }
}

/// All mounts; lines that are not understood are left out.
pub(super) fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(mount).collect()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn mount(line: &str) -> Option<Mount> {
    let (own, file_system) = line.split_once(" - ")?;
    let mut own = own.split(' ').skip(3);
    let (root, point, options) = (own.next()?, own.next()?, own.next()?);
    let shared = own.any(|tag| tag.starts_with("shared:"));
    let mut file_system = file_system.split(' ');
    let (kind, of_file_system) = (file_system.next()?, file_system.nth(1)?);
    let read_only = |options: &str| options.split(',').any(|option| option == "ro");
    Some(Mount {
        root: unescaped(root),
        point: unescaped(point),
        writable: !read_only(options) && !read_only(of_file_system),
        shared,
        restrained: ["nosuid", "nodev"].iter().all(|word| options.split(',').any(|o| o == *word)),
        kind: kind.to_owned(),
    })
}

/// Blanks and the like stand as `\040`.
fn unescaped(text: &str) -> String {
    let replaced = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    replaced.into_iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Docker 20.10, `--read-only`, nothing mounted.
    pub(in super::super) const HARDENED: &str = "\
640 492 0:53 / / ro,relatime - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
641 640 0:55 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
642 640 0:56 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
643 642 0:57 / /dev/pts rw,nosuid,noexec,relatime - devpts devpts rw,gid=5,mode=620,ptmxmode=666
644 640 0:58 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro
646 642 0:54 / /dev/mqueue rw,nosuid,nodev,noexec,relatime - mqueue mqueue rw
647 642 0:59 / /dev/shm rw,nosuid,nodev,noexec,relatime - tmpfs shm rw,size=65536k
648 640 254:0 /var/lib/docker/containers/5f/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/vda rw
649 640 254:0 /var/lib/docker/containers/5f/hosts /etc/hosts rw,relatime - ext4 /dev/vda rw
509 641 0:55 /bus /proc/bus ro,nosuid,nodev,noexec,relatime - proc proc rw
";

    fn one(line: &str) -> Mount {
        mount(line).unwrap()
    }

    #[test]
    fn the_usual_mounts_are_nothing_to_worry_about() {
        let mounts = parse(HARDENED);
        assert_eq!(mounts.len(), 10);
        assert!(!mounts[0].writable);
        for mount in mounts {
            assert!(!mount.is_host_folder(std::slice::from_ref(&mount.point)), "{mount:?}");
            assert!([true, false].iter().all(|kubernetes| !mount.is_writable_volume(*kubernetes)));
            assert!(!mount.shared && !mount.is_engine_socket(), "{mount:?}");
        }
    }

    #[test]
    fn folders_of_the_host_are_told_from_volumes() {
        let judged = |line: &str| {
            let mount = one(line);
            (
                mount.is_host_folder(std::slice::from_ref(&mount.point)),
                mount.is_writable_volume(false),
            )
        };
        assert_eq!(judged("1 2 254:0 /etc /host ro,relatime - ext4 /dev/vda rw"), (true, false));
        let whole = "1 2 254:0 / /host rw,relatime shared:1 - ext4 /dev/vda rw";
        assert_eq!((judged(whole), one(whole).shared), ((true, true), true));
        for volume in [
            "/var/lib/docker/volumes/x/_data",
            "/var/lib/kubelet/pods/5f/volumes/kubernetes.io~configmap/settings",
            "/home/me/project/run",
        ] {
            let line = format!("1 2 254:0 {volume} /x ro - ext4 /dev/vda rw");
            assert_eq!(judged(&line), (false, false), "{volume}");
        }
        let volume = "1 2 254:0 /var/lib/docker/volumes/x/_data /x rw - ext4 /dev/vda rw";
        assert_eq!(judged(volume), (false, true));
        let token = "1 2 0:9 / /var/run/secrets/tokens ro - tmpfs tmpfs rw";
        assert_eq!(judged(token), (false, false));
    }

    #[test]
    fn folders_below_those_of_the_system_are_the_hosts_and_files_are_settings() {
        for root in ["/etc/ssh", "/usr/local/bin", "/var/log/pods", "/root/.ssh", "/home/me/.kube"]
        {
            let mount = one(&format!("1 2 254:0 {root} /x ro - ext4 /dev/vda rw"));
            assert!(mount.is_host_folder(&["/x".into()]), "{root}");
            assert!(!mount.is_host_folder(&[]), "{root} is a file");
        }
        let other = one("1 2 254:0 /etcetera /x ro - ext4 /dev/vda rw");
        assert!(!other.is_host_folder(&["/x".into()]));
    }

    #[test]
    fn memory_shared_under_a_name_of_its_own_is_a_volume() {
        let tmpfs = |point: &str, options: &str, kubernetes| {
            one(&format!("1 2 0:9 / {point} {options} - tmpfs tmpfs rw"))
                .is_writable_volume(kubernetes)
        };
        for private in ["/tmp", "/run", "/run/lock"] {
            assert!(!tmpfs(private, "rw,relatime", false), "{private}");
            assert!(tmpfs(private, "rw,relatime", true), "{private} may be a volume of the pod");
        }
        // As CRI-O and podman mount them.
        assert!(!tmpfs("/tmp", "rw,nosuid,nodev,noexec,relatime", true));
        assert!(tmpfs("/run/x", "rw,nosuid,nodev,noexec,relatime", true));
        for kubernetes in [true, false] {
            assert!(!tmpfs("/dev/shm", "rw,relatime", kubernetes));
            for shared in ["/secrets", "/tmpdata", "/run/secrets", "/run/secrets/db"] {
                assert!(tmpfs(shared, "rw,relatime", kubernetes), "{shared}");
            }
        }
        let podmans = one("1 2 0:9 /x/userdata/run/secrets /run/secrets rw - tmpfs tmpfs rw");
        assert!(!podmans.is_writable_volume(false));
    }

    #[test]
    fn sockets_of_engines_by_either_name() {
        assert!(one("1 2 0:24 /docker.sock /tmp/d rw - tmpfs tmpfs rw").is_engine_socket());
        assert!(
            one("1 2 0:24 /x /run/containerd/containerd.sock rw - tmpfs tmpfs rw")
                .is_engine_socket()
        );
        assert!(!one("1 2 0:24 /x /run/app.sock rw - tmpfs tmpfs rw").is_engine_socket());
    }

    #[test]
    fn names_with_blanks_and_lines_that_make_no_sense() {
        assert_eq!(one("1 2 0:24 /a\\040b /c rw - tmpfs tmpfs rw").root, "/a b");
        assert!(parse("\nnonsense\n1 2 - x\n").is_empty());
    }
}
