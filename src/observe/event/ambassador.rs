//! Ambassadors and their destinations.

use std::error::Error;
use std::fmt;

use tracing::{debug, info, warn};

use crate::config::{AmbassadorSpec, SecretName};
use crate::observe::Chain;

/// An ambassador's listener is bound.
pub fn ambassador_listening(spec: &AmbassadorSpec, addr: &dyn fmt::Display) {
    let (protocol, destination) = (spec.protocol.as_str(), &spec.destination);
    let (ambassador, tls) = (&spec.name, destination.tls.is_some());
    info!(target: "sidekey", %ambassador, %addr, protocol, %destination, tls, "ambassador listening");
}

/// An ambassador's destination cannot be reached. Said once, until it is back.
pub fn destination_lost(spec: &AmbassadorSpec, why: &(dyn Error + 'static)) {
    let (ambassador, destination) = (&spec.name, &spec.destination);
    warn!(target: "sidekey", %ambassador, %destination, error = %Chain(why), "destination out of reach");
}

/// An ambassador's destination answers again.
pub fn destination_back(spec: &AmbassadorSpec) {
    let (ambassador, destination) = (&spec.name, &spec.destination);
    info!(target: "sidekey", %ambassador, %destination, "destination answers again");
}

/// An ambassador had no secret to put in, or no certificate to show.
pub fn ambassador_without_credential(
    ambassador: &SecretName,
    name: &SecretName,
    why: &(dyn Error + 'static),
) {
    debug!(target: "sidekey", %ambassador, %name, error = %Chain(why), "no credential");
}

/// An ambassador's secret lacks a field that it names, or holds what no header can.
pub fn credential_unusable(adapter: &SecretName, secret: &SecretName) {
    warn!(target: "sidekey", %adapter, %secret, "the secret lacks the ambassador's field, or it makes no header");
}
