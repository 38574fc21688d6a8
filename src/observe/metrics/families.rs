//! What is counted, by which labels, and under which names.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::ambassador::AmbassadorFamilies;
use super::tls::TlsFamilies;

/// The upper bounds of a Vault request's duration, in seconds.
const UPSTREAM_BUCKETS: [f64; 10] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabel {
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ItemLabels {
    pub(super) item: &'static str,
    pub(super) verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct NameLabel {
    pub(super) name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LoginLabels {
    pub(super) method: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OperationLabel {
    pub(super) operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct UpstreamLabels {
    pub(super) operation: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TierLabel {
    pub(super) tier: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LayerLabel {
    pub(super) layer: &'static str,
}

type Histograms = Family<OperationLabel, Histogram, fn() -> Histogram>;

pub(super) struct Families {
    pub(super) requests: Family<OutcomeLabel, Counter>,
    pub(super) connections: Gauge,
    pub(super) cache_age: Family<NameLabel, Gauge<f64, AtomicU64>>,
    pub(super) expires_in: Family<NameLabel, Gauge<f64, AtomicU64>>,
    pub(super) cache_entries: Gauge,
    pub(super) cache_bytes: Gauge,
    pub(super) logins: Family<LoginLabels, Counter>,
    pub(super) notifications: Family<OutcomeLabel, Counter>,
    pub(super) upstream_requests: Family<UpstreamLabels, Counter>,
    pub(super) upstream_seconds: Histograms,
    pub(super) ready: Gauge,
    pub(super) audit_errors: Counter,
    pub(super) memory_tier: Family<TierLabel, Gauge>,
    pub(super) memory_bytes: Gauge,
    pub(super) memory_spilled: Gauge,
    pub(super) memory_spared: Gauge,
    pub(super) sandbox: Family<LayerLabel, Gauge>,
    pub(super) hardening: Family<ItemLabels, Gauge>,
    pub(super) ambassadors: AmbassadorFamilies,
    pub(super) tls: TlsFamilies,
}

impl Families {
    pub(super) fn new() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(UPSTREAM_BUCKETS);
        Self {
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
            ambassadors: AmbassadorFamilies::default(),
            tls: TlsFamilies::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
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
        self.ambassadors.register(add);
        self.tls.register(add);
    }
}
