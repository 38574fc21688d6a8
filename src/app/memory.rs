//! How plaintext is kept: at the start, and whether it stays so.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::{Limits, Protection};
use crate::error::Error;
use crate::memory::{arena_status, grow_arena, insist_on_secret_memory, room_for_values};
use crate::observe::event;

/// Secret memory, besides the fetch thread's stack, that is little for a few secrets and callers,
/// and fits into the usual `RLIMIT_MEMLOCK` of 8 MiB.
pub(crate) const ENOUGH_MEMORY: usize = 4 << 20;

/// How often it is looked whether something was kept elsewhere, and how often that is said.
const LOOK: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_mins(1);

/// Says how plaintext is kept, once the fetch thread runs.
///
/// # Errors
/// When there is less protection than the configuration insists on.
pub(crate) fn settle_memory(protection: &Protection) -> Result<(), Error> {
    if protection.require_secret_memory {
        grow_arena(ENOUGH_MEMORY);
    }
    let memory = arena_status();
    event::memory(memory);
    let enough = memory.is_complete() && memory.bytes >= ENOUGH_MEMORY;
    if protection.require_secret_memory && !enough {
        return Err(Error::NoSecretMemory(memory));
    }
    if protection.require_secret_memory {
        insist_on_secret_memory();
    }
    Ok(())
}

/// `cache_bytes`, as far as secret memory goes. Where there is next to none, what is cached
/// beyond it is no worse than the rest.
pub(crate) fn cache_capacity(limits: &Limits) -> u64 {
    let room = room_for_values().filter(|room| *room >= ENOUGH_MEMORY / 4);
    let Some(room) = room.map(|room| room as u64).filter(|room| *room < limits.cache_bytes) else {
        return limits.cache_bytes;
    };
    event::cache_capped(limits.cache_bytes, room);
    room
}

/// Says when plaintext that should be in secret memory found no room there: soon after the first
/// time, and while it goes on.
pub(super) async fn watch(stop: CancellationToken) {
    let mut known = 0;
    let mut pause = LOOK;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        let memory = arena_status();
        // In the lower tiers, the start has said all there is to say.
        let more = memory.spilled > known && memory.tier == crate::memory::Tier::Secret;
        if more {
            event::memory_spilled(memory, memory.spilled - known);
        }
        known = memory.spilled;
        pause = if more { PAUSE } else { LOOK };
    }
}
