//! Figures, and the machine that they are of.

use super::load::CONNECTIONS;

/// A round in which others took more of a CPU than this is measured again.
pub(crate) const QUIET: f64 = 0.1;

pub(crate) fn to_f64(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// So many of a hundred are not above it. 0 of nothing.
pub(crate) fn percentile(sorted: &[u32], of_hundred: usize) -> f64 {
    let at = (sorted.len() * of_hundred / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().map_or(0.0, f64::from)
}

pub(crate) fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let cpu = cpu.trim_start_matches([' ', '\t', ':']);
    format!("Linux {}, {cores} x {cpu}, {CONNECTIONS} connections from one thread", kernel.trim())
}
