//! `/proc/self/status`: <https://man7.org/linux/man-pages/man5/proc_pid_status.5.html>.

/// Who the process is and what it may. `None` for what is not told: a sandbox that imitates
/// `/proc` (`gVisor`) leaves lines out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    /// The effective user.
    pub(super) uid: Option<u32>,
    /// The effective group.
    pub(super) gid: Option<u32>,
    /// Every capability that it has or could still get.
    pub(super) capabilities: Option<u64>,
    /// 0 for none, 1 strict, 2 a filter.
    pub(super) seccomp: Option<u32>,
    /// The text is that of a Linux: an imitation shows its own filter, and not the one that the
    /// host has around it.
    pub(super) genuine: bool,
}

/// Each line by itself.
pub(super) fn parse(text: &str) -> Status {
    let line = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':').map(str::trim))
    };
    // Real, effective, saved, file system.
    let effective = |key| line(key)?.split_whitespace().nth(1)?.parse().ok();
    let set = |key| line(key).and_then(|hex| u64::from_str_radix(hex, 16).ok());
    // The ambient ones are among those that are permitted: nothing is lost without their line.
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd"];
    let ambient = set("CapAmb").unwrap_or_default();
    Status {
        uid: effective("Uid"),
        gid: effective("Gid"),
        capabilities: sets.into_iter().map(set).try_fold(ambient, |all, set| Some(all | set?)),
        seccomp: line("Seccomp").and_then(|mode| mode.parse().ok()),
        // In every Linux since 4.10.
        genuine: line("NoNewPrivs").is_some(),
    }
}

/// The names of the capabilities in `set`, by number:
/// <https://man7.org/linux/man-pages/man7/capabilities.7.html>.
pub(super) fn names(set: u64) -> Vec<String> {
    const NAMES: [&str; 41] = [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    ];
    let held = (0..64).filter(|bit| set >> bit & 1 == 1);
    let name = |bit: usize| NAMES.get(bit).map_or_else(|| bit.to_string(), ToString::to_string);
    held.map(name).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A Docker container with `--cap-drop ALL` and a user of its own.
    pub(in super::super) const HARDENED: &str = "Name:\tsidekey\nUmask:\t0022\nState:\tR (running)\n\
        Uid:\t65532\t65532\t65532\t65532\nGid:\t65532\t65532\t65532\t65532\n\
        CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
        CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n\
        Seccomp_filters:\t1\n";

    /// The lines that gVisor's kernel writes (`pkg/sentry/fsimpl/proc`), with `--cap-drop ALL`.
    pub(in super::super) const GVISOR: &str = "Name:\tsidekey\nState:\tR (running)\nTgid:\t1\n\
        Pid:\t1\nPPid:\t0\nTracerPid:\t0\nFDSize:\t64\nVmSize:\t9000 kB\nVmRSS:\t4000 kB\n\
        VmData:\t400 kB\nThreads:\t3\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n\
        CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nSeccomp:\t0\nMems_allowed:\t1\n\
        Mems_allowed_list:\t0\n";

    #[test]
    fn a_hardened_container() {
        let expected = Status {
            uid: Some(65_532),
            gid: Some(65_532),
            capabilities: Some(0),
            seccomp: Some(2),
            genuine: true,
        };
        assert_eq!(parse(HARDENED), expected);
    }

    #[test]
    fn what_could_still_be_gained_counts() {
        let text = HARDENED.replace("CapBnd:\t0000000000000000", "CapBnd:\t00000000a80425fb");
        assert_eq!(parse(&text).capabilities, Some(0xa804_25fb));
        assert_eq!(names(1 << 13 | 1 << 21), ["NET_RAW", "SYS_ADMIN"]);
        assert_eq!(names(1 << 63), ["63"]);
    }

    #[test]
    fn the_effective_user_counts() {
        let text = HARDENED.replace("Uid:\t65532\t65532", "Uid:\t1000\t0");
        assert_eq!(parse(&text).uid, Some(0));
    }

    #[test]
    fn a_missing_line_leaves_the_others_alone() {
        let without = |key: &str| {
            let kept = HARDENED.lines().filter(|line| !line.starts_with(&format!("{key}:")));
            parse(&kept.collect::<Vec<_>>().join("\n"))
        };
        let whole = parse(HARDENED);
        assert_eq!(without("Uid"), Status { uid: None, ..whole.clone() });
        assert_eq!(without("Gid"), Status { gid: None, ..whole.clone() });
        assert_eq!(without("CapBnd"), Status { capabilities: None, ..whole.clone() });
        assert_eq!(without("CapAmb"), whole);
        assert_eq!(without("Seccomp"), Status { seccomp: None, ..whole.clone() });
        assert_eq!(without("NoNewPrivs"), Status { genuine: false, ..whole });
    }

    #[test]
    fn an_imitation_tells_what_it_tells() {
        let expected = Status {
            uid: None,
            gid: None,
            capabilities: Some(0),
            seccomp: Some(0),
            genuine: false,
        };
        assert_eq!(parse(GVISOR), expected);
    }
}
