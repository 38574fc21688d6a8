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

/// Folders of a host that no sidecar needs, whole or in part.
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

/// In private or memory-backed places that engines make for every container.
const PRIVATE: [&str; 6] = ["/dev", "/proc", "/sys", "/run", "/tmp", "/var/tmp"];

impl Mount {
    pub(super) fn is_virtual(&self) -> bool {
        VIRTUAL.contains(&self.kind.as_str())
    }

    fn is_usual(&self) -> bool {
        USUAL.contains(&self.point.as_str())
    }

    fn is_private(&self) -> bool {
        let below = |folder: &str| {
            let rest = self.point.strip_prefix(folder);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.is_virtual() && PRIVATE.iter().any(|folder| below(folder))
    }

    /// A folder of the host itself, and not a volume.
    pub(super) fn is_host_folder(&self) -> bool {
        !self.is_usual() && !self.is_virtual() && SENSITIVE.contains(&self.root.as_str())
    }

    /// A place where files can be left for others to find.
    pub(super) fn is_writable_volume(&self) -> bool {
        self.writable && !self.is_usual() && !self.is_private()
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
            assert!(!mount.is_host_folder() && !mount.is_writable_volume(), "{mount:?}");
            assert!(!mount.shared && !mount.is_engine_socket(), "{mount:?}");
        }
    }

    #[test]
    fn folders_of_the_host_are_told_from_volumes() {
        let etc = one("1 2 254:0 /etc /host ro,relatime - ext4 /dev/vda rw");
        assert!(etc.is_host_folder() && !etc.is_writable_volume());
        let whole = one("1 2 254:0 / /host rw,relatime shared:1 - ext4 /dev/vda rw");
        assert!(whole.is_host_folder() && whole.is_writable_volume() && whole.shared);
        let volume = one("1 2 254:0 /var/lib/docker/volumes/x/_data /x rw - ext4 /dev/vda rw");
        assert!(!volume.is_host_folder() && volume.is_writable_volume());
        let config = one("1 2 254:0 /srv/sidekey.toml /etc/sidekey.toml ro - ext4 /dev/vda rw");
        assert!(!config.is_host_folder() && !config.is_writable_volume());
        let token = one("1 2 0:9 / /var/run/secrets/tokens ro - tmpfs tmpfs rw");
        assert!(!token.is_host_folder() && !token.is_writable_volume());
    }

    #[test]
    fn memory_shared_under_a_name_of_its_own_is_a_volume() {
        assert!(one("1 2 0:9 / /secrets rw,relatime - tmpfs tmpfs rw").is_writable_volume());
        for private in ["/tmp", "/run", "/run/lock", "/dev/shm"] {
            let line = format!("1 2 0:9 / {private} rw,relatime - tmpfs tmpfs rw");
            assert!(!one(&line).is_writable_volume(), "{private}");
        }
        assert!(one("1 2 0:9 / /tmpdata rw - tmpfs tmpfs rw").is_writable_volume());
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
