//! How fast the local door is, beside hyper alone: `cargo bench --bench throughput`.
//!
//! Everything runs on loopback, in short interleaved rounds, for about two minutes (ten on a
//! busy machine), and stops by itself. Figures of one run can be compared with each other and
//! with nothing else.
//! `cargo bench --bench throughput -- quick` only shows that it works. `SIDEKEY_BENCH_IMAGE` may
//! name the binary of the container image, to be measured beside the one that cargo built.

#![allow(clippy::restriction, clippy::disallowed_methods, reason = "a benchmark may fail")]

mod bare;
mod figures;
mod load;
mod process;
#[path = "../support/mod.rs"]
mod support;

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use figures::{QUIET, machine, median};
use http::HeaderMap;
use load::{Address, Load, Manner, Round, Target};
use process::{Process, free_port, write_private};
use serde_json::json;
use support::vault::{Dev, Real, TestVault, real_vault};
use tempfile::TempDir;

const TOKEN: &str = "a-token-that-the-callers-of-the-benchmark-bring";
const REQUESTS_BEFORE_RSS: u64 = 1_000_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[1..] {
        ["bare", tcp, unix, ref head @ ..] => {
            bare::serve(tcp.parse().unwrap(), unix, &headers(head), value());
        }
        _ if args.contains(&"quick") => run(&Plan::QUICK),
        _ if args.contains(&"--bench") => run(&Plan::FULL),
        // `cargo test` runs benchmarks too.
        _ => println!("nothing measured: this is for cargo bench"),
    }
}

struct Plan {
    rounds: usize,
    /// How long a quiet machine is waited for, in all.
    patience: Duration,
    round: Duration,
    starts: usize,
    requests_before_rss: u64,
}

impl Plan {
    const FULL: Self = Self {
        rounds: 9,
        patience: Duration::from_mins(8),
        round: Duration::from_millis(750),
        starts: 10,
        requests_before_rss: REQUESTS_BEFORE_RSS,
    };
    const QUICK: Self = Self {
        rounds: 1,
        patience: Duration::ZERO,
        round: Duration::from_millis(200),
        starts: 2,
        requests_before_rss: 1000,
    };
}

/// Names and values in turn.
fn headers(head: &[&str]) -> HeaderMap {
    let pairs = head.as_chunks().0.iter();
    pairs.map(|[name, value]| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// 200 bytes.
fn value() -> String {
    "0123456789abcdefghij".repeat(10)
}

struct Row {
    name: &'static str,
    server: usize,
    target: Target,
    /// Nothing else works for it.
    alone: bool,
    rounds: Vec<Round>,
}

fn run(plan: &Plan) {
    process::keep_apart();
    let vault = Dev::start();
    vault.put("bench", json!({ "value": value() }));
    let stage = Stage { folder: tempfile::tempdir().unwrap(), vault: &vault };
    let load = Load::new();
    println!("{}\n", machine());
    start_times(plan, &stage, &load);

    let (bare, bare_at) = Stage::bare(&[]);
    let quiet = Setup::QUIET;
    let (token, token_at) = stage.sidekey(quiet);
    let (uid, uid_at) = stage.sidekey(Setup { caller: Caller::Uid, ..quiet });
    let (null, null_at) = stage.sidekey(Setup { audit: AuditTo::Null, ..quiet });
    let (file, file_at) = stage.sidekey(Setup { audit: AuditTo::File, ..quiet });
    let without = |protection| stage.sidekey(Setup { protection, ..quiet });
    let (unboxed, unboxed_at) = without(Protection::NoSandbox);
    let (ordinary, ordinary_at) = without(Protection::NoSecretMemory);
    let field = "/secrets/bench/value";
    let tcp = |at: &Addresses, path, token| Target::get(Address::Tcp(at.tcp), path, token);
    let unix =
        |at: &Addresses, path, token| Target::get(Address::Unix(at.unix.clone()), path, token);
    let secret = Some(TOKEN);
    let (alike, alike_at) = Stage::bare(&head_of(&load.wait_for(&tcp(&token_at, field, secret))));
    let mut servers = vec![bare, token, uid, null, file, unboxed, ordinary, alike];
    let image = std::env::var_os("SIDEKEY_BENCH_IMAGE").map(PathBuf::from);

    let mut rows = vec![
        row("bare hyper, TCP", 0, tcp(&bare_at, "/", None)),
        row("bare hyper, the same bytes, TCP", 7, tcp(&alike_at, field, secret)),
        row("field, token, TCP", 1, tcp(&token_at, field, secret)),
        row("field, uid, TCP", 2, tcp(&uid_at, field, None)),
        row("field, token, TCP, audit to /dev/null", 3, tcp(&null_at, field, secret)),
        row("field, token, TCP, audit to a file", 4, tcp(&file_at, field, secret)),
        row("field, token, TCP, sandbox off", 5, tcp(&unboxed_at, field, secret)),
        row("field, token, TCP, no secret memory", 6, tcp(&ordinary_at, field, secret)),
        row("whole secret as JSON, token, TCP", 1, tcp(&token_at, "/secrets/bench", secret)),
        row("as env, token, TCP", 1, tcp(&token_at, "/secrets/bench?format=env", secret)),
        row("bare hyper, unix socket", 0, unix(&bare_at, "/", None)),
        row("bare hyper, the same bytes, unix socket", 7, unix(&alike_at, field, secret)),
        row("field, token, unix socket", 1, unix(&token_at, field, secret)),
    ];
    let image = image.map(|binary| {
        let (image, at) = stage.serve(&binary, quiet);
        rows.push(row(
            "the image's binary, field, token, TCP",
            servers.len(),
            tcp(&at, field, secret),
        ));
        servers.push(image);
        rows.len() - 1
    });
    let proxy = VaultProxy::start(&load);
    let proxied = proxy.map(|VaultProxy { process, target, vault, folder }| {
        let row = row("vault proxy (asks Vault each time)", servers.len(), target);
        rows.push(Row { alone: false, ..row });
        servers.push(process);
        (vault, folder)
    });
    for row in &rows {
        let answer = load.wait_for(&row.target);
        let found = answer.windows(value().len()).any(|w| w == value().as_bytes());
        assert!(found, "{} answers with the value", row.name);
    }

    let end = Instant::now() + plan.patience;
    for round in 0..plan.rounds {
        for at in 0..rows.len() {
            // Another one begins each time.
            let at = (at + round) % rows.len();
            let row = &mut rows[at];
            let measure =
                || load.measure(&row.target, Manner::Kept, &[&servers[row.server]], plan.round);
            let mut best = measure();
            while row.alone && best.others > QUIET && Instant::now() < end {
                let again = measure();
                best = if again.others < best.others { again } else { best };
            }
            row.rounds.push(best);
        }
    }
    drop(proxied);
    print_table(&rows);
    print_memory("sidekey", plan, &load, &rows[FIELD], &servers);
    if let Some(image) = image {
        print_memory("the image's binary", plan, &load, &rows[image], &servers);
    }
    println!("resident memory of bare hyper: {} KiB", servers[0].resident());
}

/// Names and values of an answer's headers, but for those that hyper adds itself.
fn head_of(answer: &[u8]) -> Vec<String> {
    let answer = String::from_utf8_lossy(answer);
    let (head, _) = answer.split_once("\r\n\r\n").unwrap();
    let fields = head.lines().skip(1).map(|line| line.split_once(": ").unwrap());
    let ours = fields.filter(|(name, _)| !["content-length", "date"].contains(name));
    ours.flat_map(|(name, value)| [name.to_owned(), value.to_owned()]).collect()
}

fn row(name: &'static str, server: usize, target: Target) -> Row {
    Row { name, server, target, alone: true, rounds: Vec::new() }
}

// ------------------------------------------------------------------------- servers

/// What the servers share.
struct Stage<'v> {
    folder: TempDir,
    vault: &'v Dev,
}

#[derive(Clone, Copy)]
struct Setup {
    caller: Caller,
    audit: AuditTo,
    protection: Protection,
}

/// What it does without.
#[derive(Clone, Copy, PartialEq)]
enum Protection {
    Whole,
    /// `[sandbox] enabled = false`.
    NoSandbox,
    /// No memory may be locked.
    NoSecretMemory,
}

impl Setup {
    const QUIET: Self =
        Self { caller: Caller::Token, audit: AuditTo::Nowhere, protection: Protection::Whole };
}

#[derive(Clone, Copy)]
enum Caller {
    Token,
    Uid,
}

#[derive(Clone, Copy, PartialEq)]
enum AuditTo {
    Nowhere,
    Null,
    File,
}

struct Addresses {
    tcp: SocketAddr,
    unix: String,
}

impl Addresses {
    /// A port that is free now, and a socket name that nobody else takes.
    fn free() -> Self {
        let tcp = free_port();
        Self { tcp, unix: format!("sidekey-bench-{}-{}", std::process::id(), tcp.port()) }
    }
}

impl Stage<'_> {
    fn bare(head: &[String]) -> (Process, Addresses) {
        let at = Addresses::free();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["bare", &at.tcp.to_string(), &at.unix]).args(head).stderr(Stdio::null());
        (Process::measured(&mut command), at)
    }

    /// The `sidekey` that cargo built, serving.
    fn sidekey(&self, setup: Setup) -> (Process, Addresses) {
        self.serve(Path::new(env!("CARGO_BIN_EXE_sidekey")), setup)
    }

    /// `sidekey serve` as a user would start it, but for ports and log level.
    fn serve(&self, binary: &Path, setup: Setup) -> (Process, Addresses) {
        let at = Addresses::free();
        let caller = match setup.caller {
            Caller::Token => format!("token_file = \"{}\"", self.file("token", TOKEN).display()),
            Caller::Uid => {
                format!("uid = {}", std::fs::metadata("/proc/self").unwrap().uid())
            }
        };
        let config = format!(
            "[listen]\ntcp = \"{}\"\nunix = \"@{}\"\n[health]\nlisten = false\n\
             [secrets.bench]\npath = \"secret/data/bench\"\n\
             [[callers]]\nname = \"bench\"\nallow = [\"bench\"]\n{caller}\n\
             [life]\naudit = {}\n[sandbox]\nenabled = {}\n",
            at.tcp,
            at.unix,
            setup.audit != AuditTo::Nowhere,
            setup.protection != Protection::NoSandbox,
        );
        let config = self.file(&format!("{}.toml", at.tcp.port()), &config);
        let stderr = match setup.audit {
            AuditTo::Nowhere | AuditTo::Null => Stdio::null(),
            AuditTo::File => File::create(self.folder.path().join("audit")).unwrap().into(),
        };
        let mut command = match setup.protection {
            // util-linux; root may lock what it likes, and so has to lose that first.
            Protection::NoSecretMemory => {
                let mut command = Command::new("prlimit");
                command.args(["--memlock=0:0", "setpriv", "--bounding-set=-ipc_lock"]).arg(binary);
                command
            }
            _ => Command::new(binary),
        };
        command.env_clear().args(["serve", "--log-level", "error", "--config"]).arg(config);
        command.env("VAULT_ADDR", self.vault.url()).env("VAULT_TOKEN", self.vault.root_token());
        (Process::measured(command.stderr(stderr)), at)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        write_private(&self.folder.path().join(name), content)
    }
}

/// `vault proxy` with a token of its own and its cache on, before a real Vault, where the
/// machine has one.
struct VaultProxy {
    process: Process,
    target: Target,
    vault: Real,
    folder: TempDir,
}

impl VaultProxy {
    fn start(load: &Load) -> Option<Self> {
        let binary = real_vault()?;
        let vault = Real::start()?;
        vault.put("bench", json!({ "value": value() }));
        let folder = tempfile::tempdir().unwrap();
        let token = write_private(&folder.path().join("token"), &vault.root_token());
        let token = token.display();
        let addr = free_port();
        let config = format!(
            "vault {{ address = \"{}\" }}\n\
             auto_auth {{ method \"token_file\" {{ config = {{ token_file_path = \"{token}\" }} }} }}\n\
             api_proxy {{ use_auto_auth_token = \"force\" }}\ncache {{}}\n\
             listener \"tcp\" {{ address = \"{addr}\"\ntls_disable = true }}\n",
            vault.url(),
        );
        let config = write_private(&folder.path().join("proxy.hcl"), &config);
        let mut command = Command::new(binary);
        command.args(["proxy", "-log-level=error"]).arg(format!("-config={}", config.display()));
        let process = Process::measured(command.env("HOME", folder.path()).stderr(Stdio::null()));
        let target = Target::get(Address::Tcp(addr), "/v1/secret/data/bench", None);
        load.wait_for(&target);
        Some(Self { process, target, vault, folder })
    }
}

// ------------------------------------------------------------------------- figures

/// Rows that others are compared with.
const BARE: usize = 0;
const SAME: usize = 1;
/// The row that goes on for the sake of memory.
const FIELD: usize = 2;

fn print_table(rows: &[Row]) {
    let figures = |row: &Row| {
        let rates: Vec<f64> = row.rounds.iter().map(|round| round.rate).collect();
        let cpu = row.rounds.iter().map(|round| round.cpu * round.rate).sum::<f64>();
        (median(&rates), cpu / rates.iter().sum::<f64>(), rates)
    };
    let [(bare, bare_cpu, _), (same, same_cpu, _)] = [BARE, SAME].map(|at| figures(&rows[at]));
    println!(
        "{:<40} {:>7} {:>15} {:>6} {:>6} {:>8} {:>6} {:>6}",
        "answers/s", "median", "min - max", "bare", "same", "CPU µs", "bare", "same"
    );
    for row in rows {
        let (rate, cpu, rates) = figures(row);
        let (least, most) =
            (rates.iter().copied().reduce(f64::min), rates.iter().copied().reduce(f64::max));
        println!(
            "{:<40} {rate:>7.0} {:>15} {:>6.2} {:>6.2} {cpu:>8.1} {:>6.2} {:>6.2}",
            row.name,
            format!("{:.0} - {:.0}", least.unwrap_or_default(), most.unwrap_or_default()),
            rate / bare,
            rate / same,
            bare_cpu / cpu,
            same_cpu / cpu,
        );
    }
    println!(
        "bare and same: ratios to the first two rows, of the medians and of the server's CPU per answer"
    );
    let others = rows.iter().filter(|row| row.alone).flat_map(|row| &row.rounds);
    let others: Vec<f64> = others.map(|round| round.others * 100.0).collect();
    let most = others.iter().copied().reduce(f64::max).unwrap_or_default();
    println!("others took {:.0} % of a CPU (median), {most:.0} % at most\n", median(&others));
}

fn print_memory(who: &str, plan: &Plan, load: &Load, row: &Row, servers: &[Process]) {
    let (target, server) = (&row.target, &servers[row.server]);
    let begin = Instant::now();
    let answered = || server.answered.load(Ordering::Relaxed);
    while answered() < plan.requests_before_rss && begin.elapsed() < Duration::from_mins(1) {
        load.measure(target, Manner::Kept, &[server], Duration::from_secs(1));
    }
    println!("resident memory of {who} after {} answers: {} KiB", answered(), server.resident());
}

fn start_times(plan: &Plan, stage: &Stage<'_>, load: &Load) {
    let quiet = Setup::QUIET;
    let (mut bare, mut sidekey) = (Vec::new(), Vec::new());
    for _ in 0..plan.starts {
        let begin = Instant::now();
        let (server, at) = Stage::bare(&[]);
        load.wait_for(&Target::get(Address::Tcp(at.tcp), "/", None));
        bare.push(begin.elapsed().as_secs_f64() * 1e3);
        drop(server);
        let begin = Instant::now();
        let (server, at) = stage.sidekey(quiet);
        let path = "/secrets/bench/value";
        load.wait_for(&Target::get(Address::Tcp(at.tcp), path, Some(TOKEN)));
        sidekey.push(begin.elapsed().as_secs_f64() * 1e3);
        drop(server);
    }
    println!("start to first answer, median of {}:", plan.starts);
    println!("  bare hyper {:.1} ms, sidekey serve {:.1} ms\n", median(&bare), median(&sidekey));
}
