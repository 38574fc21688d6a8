//! Events of TLS adapters.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tracing::{debug, info, warn};

use super::Chain;
use super::event::brief;
use crate::config::{SecretName, TlsSpec};

/// A listener is bound.
pub fn listening(spec: &TlsSpec, addr: SocketAddr) {
    let (adapter, mode, forward) = (&spec.name, spec.mode.as_str(), &spec.forward);
    let (min_version, client_auth) = (spec.min_version.as_str(), spec.clients.as_str());
    info!(target: "sidekey", %adapter, %addr, mode, %forward, min_version, client_auth, "TLS adapter listening");
}

/// New handshakes show this certificate from now on.
pub fn certificate_in_use(spec: &TlsSpec, version: u64, serial: Option<&str>) {
    let (adapter, certificate) = (&spec.name, &spec.certificate);
    info!(target: "sidekey", %adapter, %certificate, version, serial, "certificate in use");
}

/// A certificate was issued that no handshake can show.
pub fn certificate_unusable(spec: &TlsSpec, version: u64, why: &(dyn Error + 'static)) {
    let (adapter, certificate, error) = (&spec.name, &spec.certificate, Chain(why));
    warn!(target: "sidekey", %adapter, %certificate, version, %error, "certificate not used");
}

/// Certificates of clients cannot be judged by the newest authority or list: the ones of before
/// hold for as long as they are good.
pub fn clients_not_judged(spec: &TlsSpec, why: &(dyn Error + 'static)) {
    let (adapter, error) = (&spec.name, Chain(why));
    warn!(target: "sidekey", %adapter, %error, "certificates of clients not judged anew");
}

/// A handshake came to nothing. Said for whoever looks for it: anybody outside can cause it.
pub fn handshake_failed(spec: &TlsSpec, client: IpAddr, outcome: &'static str, why: &str) {
    let adapter = &spec.name;
    debug!(target: "sidekey", %adapter, %client, outcome, error = why, "no TLS handshake");
}

/// The application cannot be reached. Said once, until it is back.
pub fn application_lost(spec: &TlsSpec, why: &(dyn Error + 'static)) {
    let (adapter, forward) = (&spec.name, &spec.forward);
    warn!(target: "sidekey", %adapter, %forward, error = %Chain(why), "application out of reach");
}

/// The application answers again.
pub fn application_back(spec: &TlsSpec) {
    let (adapter, forward) = (&spec.name, &spec.forward);
    info!(target: "sidekey", %adapter, %forward, "application answers again");
}

/// A token of a TLS adapter's client does not count.
pub fn token_refused(adapter: &SecretName, why: &(dyn Error + 'static)) {
    debug!(target: "sidekey", %adapter, why = %Chain(why), "token refused");
}

/// The keys of a TLS adapter's issuer of tokens were read: the first, or again after a failure.
pub fn keys_read(adapter: &SecretName, keys: usize) {
    if keys == 0 {
        warn!(target: "sidekey", %adapter, "the issuer publishes no key that can verify a token");
    } else {
        info!(target: "sidekey", %adapter, keys, "keys of the issuer read");
    }
}

/// The keys of a TLS adapter's issuer of tokens cannot be read. Said once, until they can.
pub fn keys_not_read(adapter: &SecretName, why: &(dyn Error + 'static), retry_in: Duration) {
    warn!(target: "sidekey", %adapter, error = %Chain(why), retry_in = ?brief(retry_in), "cannot read the issuer's keys");
}
