//! Limits of control groups, version 2 or 1.

use std::fs;

/// The texts of the limits, as the kernel has them; `None` where none could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes or `max`.
    pub(super) memory: Option<String>,
    /// Version 2: bytes of swap, or `max`.
    pub(super) swap: Option<String>,
    /// Version 1: bytes of memory and swap together.
    pub(super) memory_and_swap: Option<String>,
    /// Microseconds in a period (version 2: `max 100000`), -1 or `max` for no limit.
    pub(super) cpu_quota: Option<String>,
    /// Version 1: from 2, 1024 for nothing chosen.
    pub(super) cpu_shares: Option<String>,
    /// Version 2: from 1 to 10000, 100 for nothing chosen.
    pub(super) cpu_weight: Option<String>,
    /// Number or `max`.
    pub(super) processes: Option<String>,
}

/// A limit, as far as it can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Unseen,
    Absent,
    At(u64),
}

/// A share of the processors, relative to the neighbors'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    Chosen(u32),
    Unchosen,
    /// Chosen or not: it cannot be told.
    Either(u32),
}

/// Version 1 has no word for "no limit": it is a number near the largest.
const NO_LIMIT: u64 = 1 << 60;

impl Limit {
    /// Of a text such as `67108864`, `max` or `20000 100000`.
    pub(super) fn of(text: Option<&String>) -> Self {
        match text.and_then(|text| text.split_whitespace().next()) {
            None => Self::Unseen,
            Some(word) => match word.parse() {
                Ok(number) if number < NO_LIMIT => Self::At(number),
                _ => Self::Absent,
            },
        }
    }
}

impl Limits {
    /// How much may be swapped out.
    pub(super) fn swap(&self) -> Limit {
        let together = Limit::of(self.memory_and_swap.as_ref());
        match (Limit::of(self.swap.as_ref()), together, Limit::of(self.memory.as_ref())) {
            (Limit::Unseen, Limit::At(together), Limit::At(memory)) => {
                Limit::At(together.saturating_sub(memory))
            }
            (Limit::Unseen, Limit::Absent, _) => Limit::Absent,
            (swap, ..) => swap,
        }
    }

    /// The share of the processors. `None` when it cannot be seen.
    ///
    /// Where nothing is requested, Kubernetes sets the least that there is; the kernel's own
    /// number is there what a request of just that size comes to.
    pub(super) fn cpu_share(&self, kubernetes: bool) -> Option<Share> {
        let (text, kernels, least) = match (&self.cpu_weight, &self.cpu_shares) {
            (Some(weight), _) => (weight, 100, 1),
            (None, Some(shares)) => (shares, 1024, 2),
            (None, None) => return None,
        };
        let share: u32 = text.parse().ok()?;
        Some(match (share == kernels, kubernetes) {
            (true, true) => Share::Either(share),
            (true, false) => Share::Unchosen,
            (false, true) if share <= least => Share::Unchosen,
            (false, _) => Share::Chosen(share),
        })
    }
}

/// Reads those of our own control group. `own` is the text of `/proc/self/cgroup`.
pub(super) fn read(own: &str) -> Limits {
    let limit = |controllers: &[&str], version_1: Option<&str>, version_2: Option<&str>| {
        let folders = folders(own, controllers);
        let mut files = folders.iter().filter_map(|(folder, version)| {
            let name = if *version == 2 { version_2 } else { version_1 }?;
            fs::read_to_string(format!("{folder}/{name}")).ok()
        });
        files.next().map(|text| text.trim().to_owned())
    };
    let cpu = ["cpu", "cpu,cpuacct", "cpuacct,cpu"];
    Limits {
        memory: limit(&["memory"], Some("memory.limit_in_bytes"), Some("memory.max")),
        swap: limit(&["memory"], None, Some("memory.swap.max")),
        memory_and_swap: limit(&["memory"], Some("memory.memsw.limit_in_bytes"), None),
        cpu_quota: limit(&cpu, Some("cpu.cfs_quota_us"), Some("cpu.max")),
        cpu_shares: limit(&cpu, Some("cpu.shares"), None),
        cpu_weight: limit(&cpu, None, Some("cpu.weight")),
        processes: limit(&["pids"], Some("pids.max"), Some("pids.max")),
    }
}

/// Where the files may be, likeliest first: the whole hierarchy may be in view, or our own
/// part of it as if it were the whole.
fn folders(own: &str, controllers: &[&str]) -> Vec<(String, u8)> {
    let mut folders = Vec::new();
    for line in own.lines() {
        // 4:memory:/docker/5f0c or, in version 2, 0::/docker/5f0c
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controller), Some(path)) = (parts.next(), parts.next()) else { continue };
        let path = path.trim_end_matches('/');
        if controllers.contains(&controller) {
            folders.push((format!("/sys/fs/cgroup/{controller}{path}"), 1));
            folders.push((format!("/sys/fs/cgroup/{controller}"), 1));
        } else if controller.is_empty() {
            folders.push((format!("/sys/fs/cgroup{path}"), 2));
            folders.push(("/sys/fs/cgroup".to_owned(), 2));
        }
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_both_versions() {
        for (text, number) in [
            ("67108864", Limit::At(67_108_864)),
            ("max", Limit::Absent),
            ("max 100000", Limit::Absent),
            ("20000 100000", Limit::At(20_000)),
            ("-1", Limit::Absent),
            ("9223372036854771712", Limit::Absent),
        ] {
            assert_eq!(Limit::of(Some(&text.to_owned())), number, "{text}");
        }
        assert_eq!(Limit::of(None), Limit::Unseen);
    }

    #[test]
    fn swap_in_both_versions() {
        let text = |text: &str| Some(text.to_owned());
        let version_1 = |memory: &str, together: &str| {
            let (memory, memory_and_swap) = (text(memory), text(together));
            Limits { memory, memory_and_swap, ..Limits::default() }.swap()
        };
        assert_eq!(version_1("67108864", "67108864"), Limit::At(0));
        assert_eq!(version_1("67108864", "134217728"), Limit::At(67_108_864));
        assert_eq!(version_1("67108864", "9223372036854771712"), Limit::Absent);
        for (swap, limit) in [("0", Limit::At(0)), ("max", Limit::Absent)] {
            let version_2 = Limits { memory: text("1"), swap: text(swap), ..Limits::default() };
            assert_eq!(version_2.swap(), limit);
        }
        assert_eq!(Limits { memory: text("1"), ..Limits::default() }.swap(), Limit::Unseen);
    }

    #[test]
    fn shares_that_nobody_chose() {
        let text = |text: &str| Some(text.to_owned());
        let version_1 = |shares: &str| Limits { cpu_shares: text(shares), ..Limits::default() };
        let version_2 = |weight: &str| Limits { cpu_weight: text(weight), ..Limits::default() };
        for (limits, elsewhere, in_kubernetes) in [
            (version_1("1024"), Share::Unchosen, Share::Either(1024)),
            (version_1("100"), Share::Chosen(100), Share::Chosen(100)),
            (version_1("2"), Share::Chosen(2), Share::Unchosen),
            (version_2("100"), Share::Unchosen, Share::Either(100)),
            (version_2("1024"), Share::Chosen(1024), Share::Chosen(1024)),
            (version_2("1"), Share::Chosen(1), Share::Unchosen),
        ] {
            assert_eq!(limits.cpu_share(false), Some(elsewhere), "{limits:?}");
            assert_eq!(limits.cpu_share(true), Some(in_kubernetes), "{limits:?}");
        }
        assert_eq!(version_2("?").cpu_share(false), None);
        assert_eq!(Limits::default().cpu_share(true), None);
    }

    #[test]
    fn folders_of_both_versions() {
        let version_2 = folders("0::/", &["memory"]);
        assert_eq!(version_2, [("/sys/fs/cgroup".into(), 2), ("/sys/fs/cgroup".into(), 2)]);
        let own = "5:cpu:/docker/5f\n4:memory:/docker/5f\n0::/docker/5f\n";
        let version_1 = folders(own, &["memory"]);
        assert_eq!(version_1[0], ("/sys/fs/cgroup/memory/docker/5f".into(), 1));
        assert_eq!(version_1[1], ("/sys/fs/cgroup/memory".into(), 1));
        assert_eq!(version_1[2].1, 2);
    }
}
