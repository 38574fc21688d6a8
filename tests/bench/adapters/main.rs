//! How fast TLS adapter and ambassadors are, beside what else one would take for the same work:
//! `cargo bench --bench adapters`.
//!
//! nginx, stunnel and pgbouncer are measured where the machine has them (Debian: `nginx-light`,
//! `stunnel4`, `pgbouncer`, `postgresql`); what it lacks is named. Everything runs on loopback, in
//! short interleaved rounds, for about five minutes (longer on a busy machine), and stops by
//! itself. Figures of one run can be compared with each other and with nothing else.
//! `cargo bench --bench adapters -- quick` only shows that it works; `inbound`, `outbound` and
//! `postgres` pick a part.

#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a benchmark may fail")]

#[path = "../bare.rs"]
mod bare;
mod contest;
mod destination;
#[path = "../figures.rs"]
mod figures;
mod inbound;
#[path = "../load.rs"]
mod load;
mod outbound;
mod postgres;
#[path = "../process.rs"]
mod process;
mod programs;
mod sidecar;
mod stage;
#[path = "../../support/mod.rs"]
mod support;

use std::time::Duration;

use http::HeaderMap;

use stage::Stage;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[1..] {
        ["application", tcp, unix] => {
            bare::serve(tcp.parse().unwrap(), unix, &HeaderMap::new(), value());
        }
        ["destination", tcp, folder] => destination::serve(tcp.parse().unwrap(), folder.as_ref()),
        _ if args.contains(&"--bench") || args.contains(&"quick") => run(&args),
        // `cargo test` runs benchmarks too.
        _ => println!("nothing measured: this is for cargo bench"),
    }
}

/// How much is measured.
struct Plan {
    rounds: usize,
    round: Duration,
    /// How long a quiet machine is waited for, in all of one part.
    patience: Duration,
    idle_connections: usize,
}

impl Plan {
    const FULL: Self = Self {
        rounds: 9,
        round: Duration::from_millis(750),
        patience: Duration::from_mins(4),
        idle_connections: 1000,
    };
    const QUICK: Self = Self {
        rounds: 1,
        round: Duration::from_millis(200),
        patience: Duration::ZERO,
        idle_connections: 50,
    };
}

fn run(args: &[&str]) {
    let plan = if args.contains(&"quick") { &Plan::QUICK } else { &Plan::FULL };
    let parts = ["inbound", "outbound", "postgres"];
    let picked = |part| args.contains(&part) || !parts.iter().any(|part| args.contains(part));
    raise_file_limit();
    process::keep_apart();
    println!("{}\n", figures::machine());
    let stage = Stage::set_up();
    if picked("inbound") {
        inbound::contest(&stage).run(plan);
    }
    if picked("outbound") {
        outbound::contest(&stage).run(plan);
    }
    if picked("postgres") {
        postgres::run(&stage, plan);
    }
}

/// Idle connections take two descriptors each where bytes are copied.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

/// 200 bytes.
fn value() -> String {
    "0123456789abcdefghij".repeat(10)
}
