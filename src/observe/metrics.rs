//! What a Prometheus scrape sees: names and outcomes.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::process::ProcessCollector;
use super::tls_metrics::{TlsFamilies, TlsMetrics};
use crate::container::Audit;
use crate::memory::ArenaStatus;

/// The upper bounds of a Vault request's duration, in seconds.
const UPSTREAM_BUCKETS: [f64; 10] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ItemLabels {
    item: &'static str,
    verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabel {
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoginLabels {
    method: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TierLabel {
    tier: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LayerLabel {
    layer: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AmbassadorLabel {
    ambassador: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AmbassadorOutcome {
    ambassador: String,
    outcome: &'static str,
}

type Histograms = Family<OperationLabel, Histogram, fn() -> Histogram>;
type OnScrape = Box<dyn Fn(&Metrics) + Send + Sync>;

/// All metrics of the process. Clones share the same numbers.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    requests: Family<OutcomeLabel, Counter>,
    connections: Gauge,
    cache_age: Family<NameLabel, Gauge<f64, std::sync::atomic::AtomicU64>>,
    expires_in: Family<NameLabel, Gauge<f64, std::sync::atomic::AtomicU64>>,
    cache_entries: Gauge,
    cache_bytes: Gauge,
    logins: Family<LoginLabels, Counter>,
    notifications: Family<OutcomeLabel, Counter>,
    upstream_requests: Family<UpstreamLabels, Counter>,
    upstream_seconds: Histograms,
    ready: Gauge,
    audit_errors: Counter,
    memory_tier: Family<TierLabel, Gauge>,
    memory_bytes: Gauge,
    memory_spilled: Gauge,
    memory_spared: Gauge,
    sandbox: Family<LayerLabel, Gauge>,
    hardening: Family<ItemLabels, Gauge>,
    ambassador_uses: Family<AmbassadorOutcome, Counter>,
    ambassador_connections: Family<AmbassadorLabel, Gauge>,
    ambassador_echoes: Family<AmbassadorLabel, Counter>,
    tls: TlsFamilies,
    on_scrape: OnceLock<OnScrape>,
}

impl Metrics {
    /// All numbers at zero. `version` is this build's.
    pub fn new(version: &'static str) -> Self {
        let mut registry = Registry::default();
        let histogram: fn() -> Histogram = || Histogram::new(UPSTREAM_BUCKETS);
        let mut inner = Inner {
            registry: Registry::default(),
            requests: Family::default(),
            connections: Gauge::default(),
            cache_age: Family::default(),
            expires_in: Family::default(),
            cache_entries: Gauge::default(),
            cache_bytes: Gauge::default(),
            logins: Family::default(),
            notifications: Family::default(),
            upstream_requests: Family::default(),
            upstream_seconds: Family::new_with_constructor(histogram),
            ready: Gauge::default(),
            audit_errors: Counter::default(),
            memory_tier: Family::default(),
            memory_bytes: Gauge::default(),
            memory_spilled: Gauge::default(),
            memory_spared: Gauge::default(),
            sandbox: Family::default(),
            hardening: Family::default(),
            ambassador_uses: Family::default(),
            ambassador_connections: Family::default(),
            ambassador_echoes: Family::default(),
            tls: TlsFamilies::default(),
            on_scrape: OnceLock::new(),
        };
        inner.register(&mut registry);
        let build = Info::new([("version", version)]);
        registry.register("sidekey_build", "This build", build);
        registry.register_collector(Box::new(ProcessCollector::new()));
        inner.registry = registry;
        Self(Arc::new(inner))
    }

    /// The counter of local requests that ended with `outcome`. Keep it: finding it takes a
    /// lock, counting does not.
    pub fn requests(&self, outcome: &'static str) -> Counter {
        self.0.requests.get_or_create_owned(&OutcomeLabel { outcome })
    }

    /// Counts an open local connection until the returned guard is dropped.
    pub fn connection(&self) -> OpenConnection {
        OpenConnection::new(&self.0.connections)
    }

    /// Counts a login to Vault.
    pub fn login(&self, method: &'static str, outcome: &'static str) {
        self.0.logins.get_or_create(&LoginLabels { method, outcome }).inc();
    }

    /// Counts an attempt to tell the application of rotations.
    pub fn notification(&self, outcome: &'static str) {
        self.0.notifications.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts and times a request to Vault.
    pub fn upstream(&self, operation: &'static str, outcome: &'static str, elapsed: Duration) {
        self.0.upstream_requests.get_or_create(&UpstreamLabels { operation, outcome }).inc();
        let seconds = self.0.upstream_seconds.get_or_create(&OperationLabel { operation });
        seconds.observe(elapsed.as_secs_f64());
    }

    /// The counter of audit batches that could not be written.
    pub fn audit_errors(&self) -> Counter {
        self.0.audit_errors.clone()
    }

    /// What the cache holds.
    pub fn set_cache(&self, entries: u64, bytes: u64) {
        self.0.cache_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.0.cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Time since Vault confirmed the value of `name`; `None` when there is no value.
    pub fn set_cache_age(&self, name: &str, age: Option<Duration>) {
        let label = NameLabel { name: name.to_owned() };
        match age {
            Some(age) => _ = self.0.cache_age.get_or_create(&label).set(age.as_secs_f64()),
            None => _ = self.0.cache_age.remove(&label),
        }
    }

    /// Life left of the value of `name`; `None` without a value, or when it has no end.
    pub fn set_expires_in(&self, name: &str, left: Option<Duration>) {
        let label = NameLabel { name: name.to_owned() };
        match left {
            Some(left) => _ = self.0.expires_in.get_or_create(&label).set(left.as_secs_f64()),
            None => _ = self.0.expires_in.remove(&label),
        }
    }

    /// Whether `/readyz` says yes.
    pub fn set_ready(&self, ready: bool) {
        self.0.ready.set(i64::from(ready));
    }

    /// How plaintext is kept.
    pub fn set_memory(&self, memory: &ArenaStatus) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.0.memory_tier.get_or_create(&TierLabel { tier: memory.tier.as_str() }).set(1);
        self.0.memory_bytes.set(number(memory.bytes));
        self.0.memory_spilled.set(number(memory.spilled));
        self.0.memory_spared.set(number(memory.spared));
    }

    /// Whether a layer of the sandbox is in force as a whole.
    pub fn set_sandbox(&self, layer: &'static str, in_force: bool) {
        self.0.sandbox.get_or_create(&LayerLabel { layer }).set(i64::from(in_force));
    }

    /// What the audit of the container came to; nothing outside of a container.
    pub fn set_hardening(&self, audit: &Audit) {
        for finding in audit.findings.iter().filter(|_| audit.in_container) {
            let labels = ItemLabels { item: finding.item, verdict: finding.verdict.as_str() };
            self.0.hardening.get_or_create(&labels).set(1);
        }
    }

    /// The numbers of the ambassador `name`.
    pub fn ambassador(&self, name: &str) -> AmbassadorMetrics {
        let label = AmbassadorLabel { ambassador: name.to_owned() };
        AmbassadorMetrics {
            connections: self.0.ambassador_connections.get_or_create_owned(&label),
            echoes: self.0.ambassador_echoes.get_or_create_owned(&label),
            uses: self.0.ambassador_uses.clone(),
            name: label.ambassador,
        }
    }

    /// The numbers of the TLS adapter `name`.
    pub fn tls(&self, name: &str) -> TlsMetrics {
        self.0.tls.of(name)
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

impl Inner {
    fn register(&self, registry: &mut Registry) {
        let add = registry.sub_registry_with_prefix("sidekey");
        add.register("requests", "Local requests by outcome", self.requests.clone());
        add.register("connections", "Open local connections", self.connections.clone());
        let help = "Time since Vault confirmed a cached value";
        add.register("cache_age_seconds", help, self.cache_age.clone());
        let help = "Life left of a leased value or certificate";
        add.register("expires_in_seconds", help, self.expires_in.clone());
        add.register("cache_entries", "Cached secrets", self.cache_entries.clone());
        add.register("cache_bytes", "Plaintext in the cache", self.cache_bytes.clone());
        add.register("logins", "Logins to Vault", self.logins.clone());
        let help = "Attempts to tell the application of rotations";
        add.register("notifications", help, self.notifications.clone());
        add.register("upstream_requests", "Requests to Vault", self.upstream_requests.clone());
        let help = "Duration of requests to Vault";
        add.register("upstream_seconds", help, self.upstream_seconds.clone());
        add.register("ready", "1 when every required secret is loaded", self.ready.clone());
        let help = "Audit batches that could not be written";
        add.register("audit_errors", help, self.audit_errors.clone());
        let help = "1 for the kind of pages that plaintext lives in: secret, locked or plain";
        add.register("memory_tier", help, self.memory_tier.clone());
        add.register("memory_bytes", "Pages for plaintext", self.memory_bytes.clone());
        let help = "Allocations for values and tokens that found no room there";
        add.register("memory_spilled", help, self.memory_spilled.clone());
        let help = "Allocations of connections beyond their share of it";
        add.register("memory_spared", help, self.memory_spared.clone());
        let help = "1 for each layer of the sandbox that is in force as a whole";
        add.register("sandbox", help, self.sandbox.clone());
        let help = "1 for what an item of the container's hardening came to: ok, flaw or operator";
        add.register("hardening", help, self.hardening.clone());
        let help = "Requests and sessions of ambassadors by outcome";
        add.register("ambassador_uses", help, self.ambassador_uses.clone());
        let help = "Open local connections of ambassadors";
        add.register("ambassador_connections", help, self.ambassador_connections.clone());
        let help = "Answers' headers left out because the credential was in them";
        add.register("ambassador_echoes", help, self.ambassador_echoes.clone());
        self.tls.register(add);
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

/// The numbers of one ambassador.
pub struct AmbassadorMetrics {
    name: String,
    connections: Gauge,
    echoes: Counter,
    uses: Family<AmbassadorOutcome, Counter>,
}

impl AmbassadorMetrics {
    /// Counts a request or a session that ended with `outcome`.
    pub fn count(&self, outcome: &'static str) {
        let label = AmbassadorOutcome { ambassador: self.name.clone(), outcome };
        self.uses.get_or_create(&label).inc();
    }

    /// Counts an open local connection until the returned guard is dropped.
    pub fn connection(&self) -> OpenConnection {
        OpenConnection::new(&self.connections)
    }

    /// Counts headers that were left out of an answer.
    pub fn echoes(&self, headers: u64) {
        self.echoes.inc_by(headers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a scrape may show has its row in the README. A family without members is not shown,
    /// hence the source.
    #[test]
    fn each_is_in_the_readme() {
        let readme = include_str!("../../README.md");
        let sources = [include_str!("metrics.rs"), include_str!("tls_metrics.rs")].concat();
        let named = sources.split(".register(\"").skip(1).filter_map(|rest| rest.split('"').next());
        let mut count = 0;
        for name in named.filter(|name| name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_')) {
            let shown = format!("sidekey_{}", name.trim_start_matches("sidekey_"));
            let known = [&shown, &format!("{shown}_total"), &format!("{shown}_info")]
                .into_iter()
                .any(|name| readme.contains(&format!("`{name}`")));
            assert!(known, "README.md does not know {shown}");
            count += 1;
        }
        assert!(count > 25, "{count}");
    }

    #[test]
    fn names_stay_as_they_are() {
        let metrics = Metrics::new("1.2.3");
        metrics.requests("ok").inc();
        metrics.login("approle", "denied");
        metrics.upstream("read", "ok", Duration::from_millis(3));
        metrics.set_ready(true);
        metrics.on_scrape(|metrics| {
            metrics.set_cache(1, 200);
            metrics.set_cache_age("db", Some(Duration::from_secs(5)));
            metrics.set_expires_in("web", Some(Duration::from_mins(1)));
        });
        let open = metrics.connection();
        let text = metrics.encode().unwrap();
        for line in [
            "sidekey_requests_total{outcome=\"ok\"} 1",
            "sidekey_connections 1",
            "sidekey_cache_age_seconds{name=\"db\"} 5.0",
            "sidekey_expires_in_seconds{name=\"web\"} 60.0",
            "sidekey_cache_entries 1",
            "sidekey_cache_bytes 200",
            "sidekey_logins_total{method=\"approle\",outcome=\"denied\"} 1",
            "sidekey_upstream_requests_total{operation=\"read\",outcome=\"ok\"} 1",
            "sidekey_upstream_seconds_bucket{le=\"0.005\",operation=\"read\"} 1",
            "sidekey_ready 1",
            "sidekey_audit_errors_total 0",
            "sidekey_build_info{version=\"1.2.3\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in:\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes "));
        assert!(text.contains("process_start_time_seconds "));
        drop(open);
        metrics.set_cache_age("db", None);
        assert!(metrics.encode().unwrap().contains("sidekey_connections 0"));
    }
}
