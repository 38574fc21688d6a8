//! The numbers of ambassadors.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::OpenConnection;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AmbassadorLabel {
    ambassador: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    ambassador: String,
    outcome: &'static str,
}

/// What all ambassadors count in.
#[derive(Default)]
pub(super) struct AmbassadorFamilies {
    uses: Family<OutcomeLabel, Counter>,
    connections: Family<AmbassadorLabel, Gauge>,
    echoes: Family<AmbassadorLabel, Counter>,
}

impl AmbassadorFamilies {
    /// `registry` is that of this process's own metrics.
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Requests and sessions of ambassadors by outcome";
        registry.register("ambassador_uses", help, self.uses.clone());
        let help = "Open local connections of ambassadors";
        registry.register("ambassador_connections", help, self.connections.clone());
        let help = "Answers' headers left out because the credential was in them";
        registry.register("ambassador_echoes", help, self.echoes.clone());
    }

    /// The numbers of the ambassador `name`.
    pub(super) fn of(&self, name: &str) -> AmbassadorMetrics {
        let label = AmbassadorLabel { ambassador: name.to_owned() };
        AmbassadorMetrics {
            connections: self.connections.get_or_create_owned(&label),
            echoes: self.echoes.get_or_create_owned(&label),
            uses: self.uses.clone(),
            name: label.ambassador,
        }
    }
}

/// The numbers of one ambassador.
pub struct AmbassadorMetrics {
    name: String,
    connections: Gauge,
    echoes: Counter,
    uses: Family<OutcomeLabel, Counter>,
}

impl AmbassadorMetrics {
    /// Counts a request or a session that ended with `outcome`.
    pub fn count(&self, outcome: &'static str) {
        let label = OutcomeLabel { ambassador: self.name.clone(), outcome };
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
