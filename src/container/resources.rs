//! Items about limits, and about where memory may end up.

use super::cgroup::{Limit, Limits, Share};
use super::items::{judged, operators};
use super::{Finding, Remedy, Seen, Verdict};

/// What secret memory and its reserve take at most under the usual limit.
const ENOUGH_LOCKED: u64 = 8 << 20;

pub(super) fn all(seen: &Seen) -> Vec<Finding> {
    vec![
        memory(&seen.limits),
        processor(seen),
        processes(seen),
        locked(seen),
        swap(seen),
        core_pattern(seen),
        ptrace(seen),
    ]
}

fn limited(item: &'static str, title: &'static str, limit: Limit, remedy: Remedy) -> Finding {
    match limit {
        Limit::Unseen => operators(item, title, remedy),
        Limit::Absent => judged(item, title, false, "no limit", remedy),
        Limit::At(limit) => judged(item, title, true, limit.to_string(), remedy),
    }
}

fn memory(limits: &Limits) -> Finding {
    let remedy =
        Remedy { compose: "mem_limit: 64m", manifest: "resources: { limits: { memory: 64Mi } }" };
    limited("5.11", "memory limit", Limit::of(limits.memory.as_ref()), remedy)
}

fn processor(seen: &Seen) -> Finding {
    let limits = &seen.limits;
    let title = "CPU limit or share";
    let remedy = Remedy {
        compose: "cpus: 0.5 (or cpu_shares)",
        manifest: "resources: { limits: { cpu: 500m } }",
    };
    let quota = Limit::of(limits.cpu_quota.as_ref());
    if matches!(quota, Limit::At(_)) {
        return limited("5.12", title, quota, remedy);
    }
    match limits.cpu_share(seen.kubernetes) {
        Some(Share::Chosen(share)) => judged("5.12", title, true, format!("share {share}"), remedy),
        Some(Share::Either(share)) => Finding {
            found: format!("share {share}: the kernel's own, or a request of just that"),
            ..operators("5.12", title, remedy)
        },
        Some(Share::Unchosen) | None => limited("5.12", title, quota, remedy),
    }
}

fn processes(seen: &Seen) -> Finding {
    let limit = Limit::of(seen.limits.processes.as_ref());
    let remedy = Remedy {
        compose: "pids_limit: 64",
        manifest: "podPidsLimit in the kubelet's configuration: a pod cannot say it",
    };
    let finding = limited("5.28", "limit of processes", limit, remedy);
    // The kubelet sets it for the pod, out of the container's sight.
    if seen.kubernetes && finding.verdict == Verdict::Flaw {
        return operators("5.28", "limit of processes", remedy);
    }
    finding
}

/// `Max locked memory         8388608              8388608              bytes`
fn locked(seen: &Seen) -> Finding {
    let line = seen.ulimits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    let remedy = Remedy {
        compose: "ulimits: { memlock: 8388608 }",
        manifest: "raise LimitMEMLOCK of the container runtime's service",
    };
    let title = "ulimits: memory that may be locked";
    match soft.map(|soft| soft.parse().unwrap_or(u64::MAX)) {
        None => operators("5.19", title, remedy),
        Some(bytes) => {
            let found =
                if bytes == u64::MAX { "no limit".into() } else { format!("{bytes} bytes") };
            // A pod cannot say it.
            if seen.kubernetes && bytes < ENOUGH_LOCKED {
                return Finding { found, ..operators("5.19", title, remedy) };
            }
            judged("5.19", title, bytes >= ENOUGH_LOCKED, found, remedy)
        }
    }
}

/// What of `A7` (a memory image) depends on the host.
fn swap(seen: &Seen) -> Finding {
    let remedy = Remedy {
        compose: "memswap_limit: the same as mem_limit",
        manifest: "a node without swap, or NoSwap in the kubelet's configuration",
    };
    let title = "no swap that memory could go to";
    let Some(swaps) = &seen.swaps else { return operators("A7", title, remedy) };
    let places = swaps.lines().skip(1).filter(|line| !line.trim().is_empty()).count();
    if places == 0 {
        return judged("A7", title, true, "none", remedy);
    }
    match seen.limits.swap() {
        Limit::At(0) => judged("A7", title, true, "none of the host's", remedy),
        // A pod cannot say it.
        Limit::At(_) | Limit::Absent if !seen.kubernetes => {
            let found = "the host's: secret memory never goes there, other memory may";
            judged("A7", title, false, found, remedy)
        }
        _ => {
            let found =
                "the host has some: secret memory never goes there, other memory may".into();
            Finding { found, ..operators("A7", title, remedy) }
        }
    }
}

fn core_pattern(seen: &Seen) -> Finding {
    let remedy = Remedy {
        compose: "on the host: sysctl kernel.core_pattern=core; for the application: ulimits: { core: 0 }",
        manifest: "on the node: sysctl kernel.core_pattern=core",
    };
    let title = "core dumps go to no program";
    match seen.core_pattern.as_deref() {
        Some(pattern) if !pattern.starts_with('|') => judged("A7.1", title, true, pattern, remedy),
        Some(_) => {
            let found = "a program of the host gets them: none of this process, which cannot be \
                         dumped, but those of the application";
            Finding { found: found.into(), ..operators("A7.1", title, remedy) }
        }
        None => operators("A7.1", title, remedy),
    }
}

fn ptrace(seen: &Seen) -> Finding {
    let remedy = Remedy {
        compose: "on the host: sysctl kernel.yama.ptrace_scope=1",
        manifest: "on the node: sysctl kernel.yama.ptrace_scope=1",
    };
    let title = "processes cannot trace each other";
    match seen.ptrace_scope.as_deref().map(str::trim) {
        Some(scope) if scope != "0" => {
            judged("A7.2", title, true, format!("ptrace_scope {scope}"), remedy)
        }
        Some(_) => {
            let found = "they can, with the same user: not this one, which cannot be traced".into();
            Finding { found, ..operators("A7.2", title, remedy) }
        }
        None => {
            let found = "the host's kernel has no Yama; this process cannot be traced".into();
            Finding { found, ..operators("A7.2", title, remedy) }
        }
    }
}
