//! A session of PostgreSQL without a password on the application's side: `pgbench` asks `select 1`.

use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Plan;
use super::figures::{median, to_f64};
use super::load::CONNECTIONS;
use super::process::{Process, free_port, write_private};
use super::programs::Started;
use super::sidecar::ambassador;
use super::stage::{PASSWORD, Stage, USER};
use super::support::postgres::{self, Postgres};
use super::support::programs::program;
use super::support::{eventually, is_root};

/// One that asks for SCRAM, with or without TLS.
const DATABASE: &str = "scram";

struct Contender {
    name: &'static str,
    at: SocketAddr,
    process: Option<Process>,
    kept: Vec<Round>,
    fresh: Vec<Round>,
}

/// What pgbench says, and what the one in between took for it.
struct Round {
    rate: f64,
    /// In milliseconds.
    latency: f64,
    /// CPU time for one transaction, in microseconds.
    cpu: f64,
}

pub(crate) fn run(stage: &Stage, plan: &Plan) {
    let Some(pgbench) = postgres::programs().map(|folder| folder.join("pgbench")) else {
        println!("not measured, because the machine has none: PostgreSQL (Debian: postgresql)");
        return;
    };
    let server = Postgres::start();
    server.role(USER, PASSWORD, false);
    let peer = SocketAddr::from(([127, 0, 0, 1], server.port));
    let lines = format!("protocol = \"postgres\"\ndestination = \"{peer}\"\nsecret = \"api\"");
    let (sidekey, at) = ambassador(stage, &lines, false);
    let mut contenders = vec![
        Contender::new("nothing in between", peer, None),
        Contender::new("sidekey", at, Some(sidekey)),
    ];
    let folder = tempfile::tempdir().unwrap();
    let missing = match pgbouncer(folder.path(), peer) {
        Ok((process, at)) => {
            contenders.push(Contender::new("pgbouncer, session pooling", at, Some(process)));
            None
        }
        Err(missing) => Some(missing),
    };
    let script = stage.file("select.sql", "select 1;\n");
    let bench = Pgbench { program: pgbench, script };
    for contender in &contenders {
        eventually(contender.name, || bench.run(contender.at, &["-t", "1"]).ok());
    }
    let length = plan.round.as_secs_f64().ceil().to_string();
    for round in 0..plan.rounds {
        for at in 0..contenders.len() {
            let at = (at + round) % contenders.len();
            let contender = &mut contenders[at];
            let kept = contender.measure(&bench, &["-T", &length]);
            contender.kept.push(kept);
            let fresh = contender.measure(&bench, &["-T", &length, "-C"]);
            contender.fresh.push(fresh);
        }
    }
    println!("PostgreSQL, select 1, pgbench with {CONNECTIONS} clients");
    print("transactions/s, kept sessions", &contenders, |contender| &contender.kept);
    print("sessions/s, one transaction each", &contenders, |contender| &contender.fresh);
    if let Some(missing) = missing {
        println!("not measured, because the machine has none: {missing}");
    }
    println!();
}

impl Contender {
    fn new(name: &'static str, at: SocketAddr, process: Option<Process>) -> Self {
        Self { name, at, process, kept: Vec::new(), fresh: Vec::new() }
    }

    fn measure(&self, bench: &Pgbench, args: &[&str]) -> Round {
        let cpu = || self.process.as_ref().map(Process::cpu).unwrap_or_default();
        let before = cpu();
        let said = bench.run(self.at, args).unwrap();
        let cpu = cpu().saturating_sub(before).as_secs_f64() * 1e6
            / figure(&said, "actually processed: ");
        Round { rate: figure(&said, "tps = "), latency: figure(&said, "latency average = "), cpu }
    }
}

struct Pgbench {
    program: PathBuf,
    script: PathBuf,
}

impl Pgbench {
    /// Its report, or what it complained about.
    fn run(&self, at: SocketAddr, args: &[&str]) -> Result<String, String> {
        let clients = CONNECTIONS.to_string();
        let mut command = Command::new(&self.program);
        command.args(["-n", "-j", "1", "-c", &clients, "-U", USER, "-h", "127.0.0.1"]);
        command.args(["-p", &at.port().to_string(), "-f"]).arg(&self.script).args(args);
        let output = command.arg(DATABASE).env("PGPASSWORD", PASSWORD).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

/// The number behind these words.
fn figure(said: &str, words: &str) -> f64 {
    let (_, rest) = said.split_once(words).expect(said);
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    rest[..end].parse().expect(said)
}

fn pgbouncer(folder: &Path, peer: SocketAddr) -> Started {
    let program = program("pgbouncer").ok_or("pgbouncer (Debian: pgbouncer)")?;
    let at = free_port();
    let config = format!(
        "[databases]\n{DATABASE} = host={} port={} user={USER} password={PASSWORD}\n\
         [pgbouncer]\nlisten_addr = {}\nlisten_port = {}\nunix_socket_dir =\nauth_type = any\n\
         pool_mode = session\nmax_client_conn = 1000\ndefault_pool_size = 64\n\
         log_connections = 0\nlog_disconnections = 0\n",
        peer.ip(),
        peer.port(),
        at.ip(),
        at.port(),
    );
    let config = write_private(&folder.join("pgbouncer.ini"), &config);
    let mut command = Command::new(program);
    as_another(&mut command, &[folder, &config]);
    Ok((Process::measured(command.arg("-q").arg(config).stderr(Stdio::null())), at))
}

/// It refuses to run as root, as PostgreSQL does.
fn as_another(command: &mut Command, files: &[&Path]) {
    let Some((uid, gid)) = is_root().then(postgres::package_user).flatten() else { return };
    for file in files {
        chown(file, Some(uid), Some(gid)).unwrap();
    }
    command.uid(uid).gid(gid);
}

fn print(what: &str, contenders: &[Contender], rounds: fn(&Contender) -> &Vec<Round>) {
    println!("{what:<38} {:>7} {:>6} {:>11} {:>7}", "median", "ratio", "latency µs", "CPU µs");
    let all = |one: &Contender, figure: fn(&Round) -> f64| {
        rounds(one).iter().map(figure).collect::<Vec<_>>()
    };
    let direct = median(&all(&contenders[0], |round| round.rate));
    for one in contenders {
        let rate = median(&all(one, |round| round.rate));
        let latency = median(&all(one, |round| round.latency * 1e3));
        let cpu = all(one, |round| round.cpu);
        let cpu = cpu.iter().sum::<f64>() / to_f64(cpu.len() as u64);
        println!("{:<38} {rate:>7.0} {:>6.2} {latency:>11.0} {cpu:>7.1}", one.name, rate / direct);
    }
}
