//! What goes wrong: the rows.

use std::time::Duration;

use serde_json::json;
use sidekey::dev::{Fault as Answer, Matcher};

use crate::kind::{Kind, furnish};
use crate::support::vault::{Dev, TestVault};

/// One row.
pub struct Fault {
    pub name: &'static str,
    pub does: Does,
}

pub enum Does {
    /// Every request of the kind is answered so, until it ends.
    Answers(fn() -> Answer),
    /// Something that lasts, until it ends.
    Lasts { begin: fn(&Dev), end: fn(&Dev, &str) },
    /// Something that happens in a moment.
    Happens(fn(&Dev)),
}

pub const ALL: [Fault; 12] = [
    answers("403 for ever", || Answer::status(403)),
    answers("500", || Answer::status(500)),
    Fault {
        name: "503, sealed",
        does: Does::Lasts {
            begin: |vault| vault.server.seal(),
            end: |vault, _| vault.server.unseal(),
        },
    },
    answers("hang", Answer::hang),
    answers("reset", Answer::reset_mid_body),
    answers("slow drip", || Answer::slow_drip(1, Duration::from_millis(100))),
    answers("429, Retry-After: 2", || Answer::status(429).retry_after(2)),
    answers("wrong JSON", || Answer::body(200, "application/json", r#"{"answer":[42]}"#)),
    Fault {
        name: "clock of Vault jumps by 1 h",
        does: Does::Happens(|vault| vault.server.set_clock_offset(Duration::from_hours(1))),
    },
    Fault {
        name: "token revoked by others",
        does: Does::Happens(|vault| vault.server.revoke_all_tokens_but_root()),
    },
    Fault {
        name: "lease revoked by others",
        does: Does::Happens(|vault| {
            vault.set_up("PUT", "sys/leases/revoke-prefix/database/creds/app", json!(null));
        }),
    },
    Fault {
        name: "Vault restarted empty",
        does: Does::Lasts {
            begin: |vault| vault.server.restart_empty().unwrap(),
            end: |vault, secret_id| furnish(vault, secret_id),
        },
    },
];

const fn answers(name: &'static str, answer: fn() -> Answer) -> Fault {
    Fault { name, does: Does::Answers(answer) }
}

impl Fault {
    pub fn begin(&self, vault: &Dev, requests: Vec<Matcher>) {
        match &self.does {
            Does::Answers(answer) => {
                for matcher in requests {
                    vault.server.faults().on(matcher).respond(answer()).forever();
                }
            }
            Does::Lasts { begin, .. } => begin(vault),
            Does::Happens(happen) => happen(vault),
        }
    }

    pub fn end(&self, vault: &Dev, secret_id: &str) {
        match &self.does {
            Does::Answers(_) => vault.server.faults().clear(),
            Does::Lasts { end, .. } => end(vault, secret_id),
            Does::Happens(_) => {}
        }
    }

    pub fn lasts(&self) -> bool {
        !matches!(self.does, Does::Happens(_))
    }

    /// It happens in a moment, and Vault no longer knows what it gave to this kind.
    pub fn ends(&self, kind: &Kind) -> bool {
        !self.lasts() && kind.is_given
    }
}
