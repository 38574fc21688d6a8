//! The algorithms of every TLS connection, to Vault, to destinations and from outside.

mod hybrid;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};

use hybrid::X25519_ML_KEM_768;

/// ring's algorithms, whose keys lie where our allocator puts them, and before its key exchanges
/// the hybrid one, which keeps what is recorded today closed to a quantum computer of tomorrow.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    provider.kx_groups.insert(0, X25519_ML_KEM_768);
    Arc::new(provider)
}

#[cfg(test)]
mod tests;
