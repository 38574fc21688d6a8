//! The numbers of TLS adapters.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::OpenConnection;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AdapterLabel {
    adapter: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    adapter: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    adapter: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabel {
    adapter: String,
    error: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabel {
    adapter: String,
    rule: String,
}

/// What all TLS adapters count in.
#[derive(Default)]
pub(super) struct TlsFamilies {
    open: Family<AdapterLabel, Gauge>,
    handshakes: Family<OutcomeLabel, Counter>,
    connections: Family<OutcomeLabel, Counter>,
    requests: Family<StatusLabel, Counter>,
    application_errors: Family<ErrorLabel, Counter>,
    refusals: Family<ErrorLabel, Counter>,
    admissions: Family<RuleLabel, Counter>,
    list_read: Family<AdapterLabel, Gauge>,
}

impl TlsFamilies {
    /// `registry` is that of this process's own metrics.
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Open connections of TLS adapters";
        registry.register("tls_open_connections", help, self.open.clone());
        let help = "TLS handshakes by outcome";
        registry.register("tls_handshakes", help, self.handshakes.clone());
        let help = "Connections of TLS adapters by how they ended";
        registry.register("tls_connections", help, self.connections.clone());
        let help = "Requests of TLS adapters by class of status";
        registry.register("tls_requests", help, self.requests.clone());
        let help = "Failures of the application behind a TLS adapter";
        registry.register("tls_application_errors", help, self.application_errors.clone());
        let help = "Requests and connections that a TLS adapter did not let in";
        registry.register("tls_refusals", help, self.refusals.clone());
        let help = "Requests and connections that a rule of a TLS adapter let in";
        registry.register("tls_admissions", help, self.admissions.clone());
        let help = "When the list of revoked certificates was last read, in seconds since 1970";
        registry.register("tls_crl_read_timestamp_seconds", help, self.list_read.clone());
    }

    /// The numbers of the adapter `name`.
    pub(super) fn of(&self, name: &str) -> TlsMetrics {
        let adapter = name.to_owned();
        TlsMetrics {
            open: self.open.get_or_create_owned(&AdapterLabel { adapter: adapter.clone() }),
            requests: CLASSES.map(|status| {
                let adapter = adapter.clone();
                self.requests.get_or_create_owned(&StatusLabel { adapter, status })
            }),
            handshakes: self.handshakes.clone(),
            connections: self.connections.clone(),
            application_errors: self.application_errors.clone(),
            refusals: self.refusals.clone(),
            admissions: self.admissions.clone(),
            list_read: self.list_read.clone(),
            adapter,
        }
    }
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The numbers of one TLS adapter.
pub struct TlsMetrics {
    adapter: String,
    open: Gauge,
    requests: [Counter; CLASSES.len()],
    handshakes: Family<OutcomeLabel, Counter>,
    connections: Family<OutcomeLabel, Counter>,
    application_errors: Family<ErrorLabel, Counter>,
    refusals: Family<ErrorLabel, Counter>,
    admissions: Family<RuleLabel, Counter>,
    list_read: Family<AdapterLabel, Gauge>,
}

impl TlsMetrics {
    /// Counts an open connection until the returned guard is dropped.
    pub fn connection(&self) -> OpenConnection {
        OpenConnection::new(&self.open)
    }

    /// Counts a handshake.
    pub fn handshake(&self, outcome: &'static str) {
        self.handshakes.get_or_create(&self.outcome(outcome)).inc();
    }

    /// Counts the end of a connection whose handshake was good.
    pub fn ended(&self, outcome: &'static str) {
        self.connections.get_or_create(&self.outcome(outcome)).inc();
    }

    /// Counts a request by the status that it was answered with.
    pub fn request(&self, status: u16) {
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(counter) = self.requests.get(class) {
            counter.inc();
        }
    }

    /// Counts a failure of the application.
    pub fn application_error(&self, error: &'static str) {
        let label = ErrorLabel { adapter: self.adapter.clone(), error };
        self.application_errors.get_or_create(&label).inc();
    }

    /// Counts a request or a connection that was not let in.
    pub fn refused(&self, error: &'static str) {
        let label = ErrorLabel { adapter: self.adapter.clone(), error };
        self.refusals.get_or_create(&label).inc();
    }

    /// Counts a request or a connection that `rule` let in.
    pub fn admitted(&self, rule: &str) {
        let label = RuleLabel { adapter: self.adapter.clone(), rule: rule.to_owned() };
        self.admissions.get_or_create(&label).inc();
    }

    /// The list of revoked certificates was read at `now`.
    pub fn revocation_list_read(&self, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let label = AdapterLabel { adapter: self.adapter.clone() };
        self.list_read.get_or_create(&label).set(i64::try_from(since).unwrap_or(i64::MAX));
    }

    fn outcome(&self, outcome: &'static str) -> OutcomeLabel {
        OutcomeLabel { adapter: self.adapter.clone(), outcome }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;

    #[test]
    fn names_stay_as_they_are() {
        let metrics = Metrics::new("1.2.3");
        let web = metrics.tls("web");
        let open = web.connection();
        web.handshake("ok");
        web.ended("idle");
        web.request(204);
        web.request(502);
        web.application_error("application_unreachable");
        let since = std::time::Duration::from_secs(7);
        web.revocation_list_read(std::time::UNIX_EPOCH + since);
        let text = metrics.encode().unwrap();
        for line in [
            "sidekey_tls_open_connections{adapter=\"web\"} 1",
            "sidekey_tls_handshakes_total{adapter=\"web\",outcome=\"ok\"} 1",
            "sidekey_tls_connections_total{adapter=\"web\",outcome=\"idle\"} 1",
            "sidekey_tls_requests_total{adapter=\"web\",status=\"2xx\"} 1",
            "sidekey_tls_requests_total{adapter=\"web\",status=\"5xx\"} 1",
            "sidekey_tls_application_errors_total{adapter=\"web\",error=\"application_unreachable\"} 1",
            "sidekey_tls_crl_read_timestamp_seconds{adapter=\"web\"} 7",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in:\n{text}");
        }
        drop(open);
        let text = metrics.encode().unwrap();
        assert!(text.contains("sidekey_tls_open_connections{adapter=\"web\"} 0"), "{text}");
    }
}
