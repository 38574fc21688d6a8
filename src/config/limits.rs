//! `[limits]`, `[life]`, `[memory]`, `[sandbox]` and `[container]`.

use std::time::Duration;

use super::error::Problem;
use super::load::Context;
use super::section::Section;
use super::{Life, Limits, Protection};

const MOMENT: Duration = Duration::from_millis(1);

pub(super) fn read(mut section: Section<'_>) -> Limits {
    let max_connections = section.count("max_connections").unwrap_or(512);
    let limits = Limits {
        max_connections: usize::try_from(max_connections).unwrap_or(usize::MAX),
        header_timeout: section
            .duration("header_timeout", MOMENT)
            .unwrap_or(Duration::from_secs(5)),
        write_timeout: section.duration("write_timeout", MOMENT).unwrap_or(Duration::from_secs(10)),
        requests_per_second: section.count("requests_per_second"),
        total_requests_per_second: section.count("total_requests_per_second"),
        refusals_per_second: section.count("refusals_per_second").unwrap_or(10),
        cache_bytes: section.size("cache_bytes").unwrap_or(64 << 20),
    };
    section.finish();
    limits
}

pub(super) fn read_life(mut section: Section<'_>) -> Life {
    let life = Life {
        startup_deadline: section
            .duration("startup_deadline", MOMENT)
            .unwrap_or(Duration::from_mins(2)),
        shutdown_deadline: section
            .duration("shutdown_deadline", MOMENT)
            .unwrap_or(Duration::from_secs(8)),
        audit: section.boolean("audit").unwrap_or(true),
        threads: section
            .number_in("threads", 1..=64)
            .and_then(|threads| usize::try_from(threads).ok()),
    };
    section.finish();
    life
}

pub(super) fn read_protection(
    mut memory: Section<'_>,
    mut sandbox: Section<'_>,
    mut container: Section<'_>,
    context: &Context<'_>,
) -> Protection {
    let allowed = container.boolean("unsafe_host_network").unwrap_or(false);
    let protection = Protection {
        require_secret_memory: memory.boolean("require_secret_memory").unwrap_or(false),
        sandbox: sandbox.boolean("enabled").unwrap_or(true),
        require_sandbox: sandbox.boolean("require").unwrap_or(false),
        require_hardening: container.boolean("require_hardening").unwrap_or(false),
        unsafe_host_network: allowed || context.flags.unsafe_host_network,
    };
    if protection.require_sandbox && !protection.sandbox {
        let problem =
            Problem::at(&sandbox.at("require"), "asks for what `enabled = false` turns off");
        context.report.problem(problem.hint("remove one of the two"));
    }
    memory.finish();
    sandbox.finish();
    container.finish();
    protection
}
