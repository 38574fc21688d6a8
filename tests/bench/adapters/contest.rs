//! Contenders, measured in turns, and what comes out.

use std::net::SocketAddr;
use std::time::Instant;

use super::Plan;
use super::figures::{QUIET, median, to_f64};
use super::load::{Manner, Round, Target};
use super::process::Process;
use super::programs::Started;
use super::stage::Stage;

pub(crate) struct Contest<'s> {
    stage: &'s Stage,
    title: &'static str,
    /// What all the others lead to, first.
    contenders: Vec<Contender>,
    missing: Vec<&'static str>,
}

struct Contender {
    name: String,
    process: Process,
    target: Target,
    kept: Vec<Round>,
    fresh: Vec<Round>,
    /// Resident memory that an idle connection adds, in KiB.
    idle: f64,
}

impl Contender {
    fn new(name: impl Into<String>, process: Process, target: Target) -> Self {
        let (kept, fresh) = (Vec::new(), Vec::new());
        Self { name: name.into(), process, target, kept, fresh, idle: 0.0 }
    }
}

impl<'s> Contest<'s> {
    pub(crate) fn before(
        stage: &'s Stage,
        title: &'static str,
        peer: Process,
        target: Target,
    ) -> Self {
        let first = Contender::new("nothing in between", peer, target);
        Self { stage, title, contenders: vec![first], missing: Vec::new() }
    }

    pub(crate) fn add(&mut self, name: impl Into<String>, process: Process, target: Target) {
        self.contenders.push(Contender::new(name, process, target));
    }

    pub(crate) fn try_add(
        &mut self,
        name: &str,
        started: Started,
        target: impl Fn(SocketAddr) -> Target,
    ) {
        match started {
            Ok((process, at)) => self.add(name, process, target(at)),
            Err(missing) => self.missing.push(missing),
        }
    }

    pub(crate) fn run(mut self, plan: &Plan) {
        for Contender { name, target, .. } in &self.contenders {
            let answer = self.stage.load.wait_for(target);
            let value = super::value();
            let found = answer.windows(value.len()).any(|w| w == value.as_bytes());
            assert!(found, "{name} answers with the value");
        }
        let end = Instant::now() + plan.patience;
        for round in 0..plan.rounds {
            for at in 0..self.contenders.len() {
                // Another one begins each time.
                let at = (at + round) % self.contenders.len();
                for manner in [Manner::Kept, Manner::Fresh] {
                    let best = self.measure(at, manner, plan, end);
                    let contender = &mut self.contenders[at];
                    match manner {
                        Manner::Kept => contender.kept.push(best),
                        Manner::Fresh => contender.fresh.push(best),
                    }
                }
            }
        }
        for contender in &mut self.contenders {
            let before = contender.process.resident();
            let held = self.stage.load.hold(&contender.target, plan.idle_connections);
            let added = contender.process.resident().saturating_sub(before);
            contender.idle = to_f64(added) / to_f64(held.len() as u64);
        }
        self.print();
    }

    fn measure(&self, at: usize, manner: Manner, plan: &Plan, end: Instant) -> Round {
        let contender = &self.contenders[at];
        let mut servers = vec![&contender.process];
        if at > 0 {
            servers.push(&self.contenders[0].process);
        }
        let load = &self.stage.load;
        let measure = || load.measure(&contender.target, manner, &servers, plan.round);
        let mut best = measure();
        while best.others > QUIET && Instant::now() < end {
            let again = measure();
            best = if again.others < best.others { again } else { best };
        }
        best
    }

    fn print(&self) {
        println!("{}", self.title);
        self.print_rounds("requests/s, kept connections", |contender| &contender.kept);
        self.print_rounds("connections/s, one request each", |contender| &contender.fresh);
        println!("{:<38} {:>9}", "resident memory", "KiB");
        for Contender { name, idle, process, .. } in &self.contenders {
            println!("{name:<38} {:>9} and {idle:.1} for each idle connection", process.resident());
        }
        for missing in &self.missing {
            println!("not measured, because the machine has none: {missing}");
        }
        let all = self.contenders.iter().flat_map(|one| one.kept.iter().chain(&one.fresh));
        let others: Vec<f64> = all.map(|round| round.others * 100.0).collect();
        let most = others.iter().copied().fold(0.0, f64::max);
        println!("others took {:.0} % of a CPU (median), {most:.0} % at most\n", median(&others));
    }

    /// Ratios are to nginx where there is one.
    fn print_rounds(&self, what: &str, rounds: fn(&Contender) -> &Vec<Round>) {
        println!(
            "{what:<38} {:>7} {:>15} {:>6} {:>7} {:>7} {:>7} {:>6}",
            "median", "min - max", "ratio", "p50 µs", "p99 µs", "CPU µs", "ratio"
        );
        let figures: Vec<Figures> =
            self.contenders.iter().map(|contender| Figures::of(rounds(contender))).collect();
        let named = self.contenders.iter().position(|one| one.name.starts_with("nginx"));
        let measure = &figures[named.unwrap_or_default()];
        for (Contender { name, .. }, it) in self.contenders.iter().zip(&figures) {
            println!(
                "{name:<38} {:>7.0} {:>15} {:>6.2} {:>7.0} {:>7.0} {:>7.1} {:>6.2}",
                it.rate,
                format!("{:.0} - {:.0}", it.least, it.most),
                it.rate / measure.rate,
                it.p50,
                it.p99,
                it.cpu,
                measure.cpu / it.cpu,
            );
        }
    }
}

/// Medians of some rounds; of CPU the mean.
struct Figures {
    rate: f64,
    least: f64,
    most: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
}

impl Figures {
    fn of(rounds: &[Round]) -> Self {
        let all = |figure: fn(&Round) -> f64| rounds.iter().map(figure).collect::<Vec<_>>();
        let rates = all(|round| round.rate);
        Self {
            rate: median(&rates),
            least: rates.iter().copied().fold(f64::INFINITY, f64::min),
            most: rates.iter().copied().fold(0.0, f64::max),
            p50: median(&all(|round| round.latency.0)),
            p99: median(&all(|round| round.latency.1)),
            cpu: all(|round| round.cpu * round.rate).iter().sum::<f64>()
                / rates.iter().sum::<f64>(),
        }
    }
}
