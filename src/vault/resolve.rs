//! The host behind a name that Vault's certificate has and the network does not know.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Resolves `name` to the addresses of `host`, and others, such as a proxy's, to their own.
pub(super) struct Redirected {
    pub(super) name: Box<str>,
    pub(super) host: Box<str>,
}

impl Resolve for Redirected {
    fn resolve(&self, name: Name) -> Resolving {
        let host =
            if name.as_str() == &*self.name { self.host.clone() } else { name.as_str().into() };
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((&*host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
