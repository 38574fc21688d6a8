//! What a Prometheus scrape sees: names and outcomes.

mod ambassador;
mod families;
mod process;
#[cfg(test)]
mod tests;
mod tls;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use ambassador::AmbassadorMetrics;
use families::{
    Families, ItemLabels, LayerLabel, LoginLabels, NameLabel, OperationLabel, OutcomeLabel,
    TierLabel, UpstreamLabels,
};
use process::ProcessCollector;
pub use tls::TlsMetrics;

use crate::container::Inspection;
use crate::memory::ArenaStatus;

type OnScrape = Box<dyn Fn(&Metrics) + Send + Sync>;

/// All metrics of the process. Clones share the same numbers.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    families: Families,
    on_scrape: OnceLock<OnScrape>,
}

impl Metrics {
    /// All numbers at zero. `version` is this build's.
    pub fn new(version: &'static str) -> Self {
        let mut registry = Registry::default();
        let families = Families::new();
        families.register(&mut registry);
        let build = Info::new([("version", version)]);
        registry.register("sidekey_build", "This build", build);
        registry.register_collector(Box::new(ProcessCollector::new()));
        Self(Arc::new(Inner { registry, families, on_scrape: OnceLock::new() }))
    }

    /// The counter of local requests that ended with `outcome`. Keep it: finding it takes a
    /// lock, counting does not.
    pub fn requests(&self, outcome: &'static str) -> Counter {
        self.0.families.requests.get_or_create_owned(&OutcomeLabel { outcome })
    }

    /// Counts an open local connection until the returned guard is dropped.
    pub fn connection(&self) -> OpenConnection {
        OpenConnection::new(&self.0.families.connections)
    }

    /// Counts a login to Vault.
    pub fn login(&self, method: &'static str, outcome: &'static str) {
        self.0.families.logins.get_or_create(&LoginLabels { method, outcome }).inc();
    }

    /// Counts an attempt to tell the application of rotations.
    pub fn notification(&self, outcome: &'static str) {
        self.0.families.notifications.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts and times a request to Vault.
    pub fn upstream(&self, operation: &'static str, outcome: &'static str, elapsed: Duration) {
        self.0
            .families
            .upstream_requests
            .get_or_create(&UpstreamLabels { operation, outcome })
            .inc();
        let seconds = self.0.families.upstream_seconds.get_or_create(&OperationLabel { operation });
        seconds.observe(elapsed.as_secs_f64());
    }

    /// The counter of audit batches that could not be written.
    pub fn audit_errors(&self) -> Counter {
        self.0.families.audit_errors.clone()
    }

    /// What the cache holds.
    pub fn set_cache(&self, entries: u64, bytes: u64) {
        self.0.families.cache_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.0.families.cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Time since Vault confirmed the value of `name`; `None` when there is no value.
    pub fn set_cache_age(&self, name: &str, age: Option<Duration>) {
        let label = NameLabel { name: name.to_owned() };
        let family = &self.0.families.cache_age;
        match age {
            Some(age) => _ = family.get_or_create(&label).set(age.as_secs_f64()),
            None => _ = family.remove(&label),
        }
    }

    /// Life left of the value of `name`; `None` without a value, or when it has no end.
    pub fn set_expires_in(&self, name: &str, left: Option<Duration>) {
        let label = NameLabel { name: name.to_owned() };
        let family = &self.0.families.expires_in;
        match left {
            Some(left) => _ = family.get_or_create(&label).set(left.as_secs_f64()),
            None => _ = family.remove(&label),
        }
    }

    /// Whether `/readyz` says yes.
    pub fn set_ready(&self, ready: bool) {
        self.0.families.ready.set(i64::from(ready));
    }

    /// How plaintext is kept.
    pub fn set_memory(&self, memory: &ArenaStatus) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.0.families.memory_tier.get_or_create(&TierLabel { tier: memory.tier.as_str() }).set(1);
        self.0.families.memory_bytes.set(number(memory.bytes));
        self.0.families.memory_spilled.set(number(memory.spilled));
        self.0.families.memory_spared.set(number(memory.spared));
    }

    /// Whether a layer of the sandbox is in force as a whole.
    pub fn set_sandbox(&self, layer: &'static str, in_force: bool) {
        self.0.families.sandbox.get_or_create(&LayerLabel { layer }).set(i64::from(in_force));
    }

    /// What the inspection of the container came to; nothing outside of a container.
    pub fn set_hardening(&self, inspection: &Inspection) {
        for finding in inspection.findings.iter().filter(|_| inspection.in_container) {
            let labels = ItemLabels { item: finding.item, verdict: finding.verdict.as_str() };
            self.0.families.hardening.get_or_create(&labels).set(1);
        }
    }

    /// The numbers of the ambassador `name`.
    pub fn ambassador(&self, name: &str) -> AmbassadorMetrics {
        self.0.families.ambassadors.of(name)
    }

    /// The numbers of the TLS adapter `name`.
    pub fn tls(&self, name: &str) -> TlsMetrics {
        self.0.families.tls.of(name)
    }

    /// Has `update` called before each scrape, to set gauges. The first one given stays.
    pub fn on_scrape(&self, update: impl Fn(&Self) + Send + Sync + 'static) {
        let _ = self.0.on_scrape.set(Box::new(update));
    }

    /// All of it as `OpenMetrics` text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        if let Some(update) = self.0.on_scrape.get() {
            update(self);
        }
        let mut out = String::new();
        text::encode(&mut out, &self.0.registry)?;
        Ok(out)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// One open connection in `sidekey_connections`.
#[must_use = "the connection counts as open until this is dropped"]
pub struct OpenConnection(Gauge);

impl OpenConnection {
    pub(super) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
