//! Clients that show certificates: who may have issued them, which are revoked, and what they
//! say.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::settings::server_config;
use super::shelf::Shelf;
use crate::config::{
    ClientAuth, ClientAuthority, ClientTrust, Revocation, RevocationSource, TlsSpec,
};
use crate::crypto;
use crate::lease::now;
use crate::observe::{TlsMetrics, tls as event};
use crate::vault::{Upstream, VaultError};

mod identity;
mod timely;

pub(super) use identity::Identity;
use timely::Timely;

/// After a list could not be read.
const RETRY: Duration = Duration::from_secs(5);

/// Why certificates of clients cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// A file that cannot be read as what it should be.
    #[error("{}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// A file without a certificate of an authority.
    #[error("{}: no certificate of an authority in it", .0.display())]
    Nothing(PathBuf),
    /// The list of revoked certificates is none.
    #[error("the list of revoked certificates cannot be read: {0}")]
    List(rustls::server::VerifierBuilderError),
    /// Vault did not give the list.
    #[error("Vault did not give the list of revoked certificates")]
    Vault(#[source] VaultError),
    /// It is not known yet who issued the adapter's own certificate.
    #[error("there is no certificate yet")]
    NoIssuer,
    /// The library refused the settings.
    #[error("TLS cannot be set up")]
    Settings(#[source] rustls::Error),
}

/// The settings in force; `None` as long as certificates of clients cannot be judged.
pub(super) type Terms = ArcSwapOption<ServerConfig>;

/// What is wrong with the files, before anything else is tried.
///
/// # Errors
/// A file that cannot be used.
pub(super) fn rehearse(spec: &TlsSpec) -> Result<(), ClientsError> {
    let Some(trust) = spec.trust() else { return Ok(()) };
    if let ClientAuthority::File(file) = &trust.authority {
        roots_of(file)?;
    }
    if let Some(Revocation { source: RevocationSource::File(file), .. }) = &trust.revocation {
        lists_of(file)?;
    }
    Ok(())
}

/// The list of revoked certificates as it was last read.
#[derive(Clone)]
struct Lists {
    content: Vec<CertificateRevocationListDer<'static>>,
    /// Not good any more from then on, by [`now`].
    good_until: Instant,
}

/// Keeps `terms` in line with the authority and the list of revoked certificates.
pub(super) struct Keeper {
    pub(super) spec: Arc<TlsSpec>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) upstream: Upstream,
    pub(super) numbers: Arc<TlsMetrics>,
    pub(super) terms: Arc<Terms>,
}

impl Keeper {
    /// Until `stop`. `certificate` changes with the adapter's own certificate.
    pub(super) async fn run(
        self,
        trust: ClientTrust,
        mut certificate: watch::Receiver<u64>,
        stop: CancellationToken,
    ) {
        let mut lists: Option<Lists> = None;
        let mut last_error: Option<String> = None;
        loop {
            certificate.mark_unchanged();
            let (wait, read) = tokio::select! {
                read = self.read(trust.revocation.as_ref()) => read,
                () = stop.cancelled() => return,
            };
            let read = read.map(|read| lists = read);
            let put = read.and_then(|()| self.put_in_force(&trust, lists.as_ref()));
            let error = put.as_ref().err().map(ToString::to_string);
            match &put {
                Err(ClientsError::NoIssuer) | Ok(()) => {}
                Err(why) if error != last_error => event::clients_not_judged(&self.spec, why),
                Err(_) => {}
            }
            last_error = error;
            let wait = if put.is_ok() { wait } else { RETRY.min(wait) };
            tokio::select! {
                _ = certificate.changed() => {}
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// The list, and when to read it again.
    async fn read(
        &self,
        revocation: Option<&Revocation>,
    ) -> (Duration, Result<Option<Lists>, ClientsError>) {
        let Some(revocation) = revocation else { return (Duration::from_hours(1), Ok(None)) };
        let good_until = now() + revocation.max_stale;
        let content = match &revocation.source {
            RevocationSource::File(file) => lists_of(file),
            RevocationSource::Vault(mount) => {
                let pem = self.upstream.revocation_list(mount).await;
                pem.map_err(ClientsError::Vault).and_then(|pem| parse_lists(&pem, mount.as_str()))
            }
        };
        if content.is_ok() {
            self.numbers.revocation_list_read(SystemTime::now());
        }
        (revocation.refresh, content.map(|content| Some(Lists { content, good_until })))
    }

    fn put_in_force(&self, trust: &ClientTrust, lists: Option<&Lists>) -> Result<(), ClientsError> {
        let verifier = self.verifier(trust, lists)?;
        let config = server_config(&self.spec, Arc::<Shelf>::clone(&self.shelf), Some(verifier));
        self.terms.store(Some(config.map_err(ClientsError::Settings)?));
        Ok(())
    }

    fn verifier(
        &self,
        trust: &ClientTrust,
        lists: Option<&Lists>,
    ) -> Result<Arc<dyn ClientCertVerifier>, ClientsError> {
        let roots = match &trust.authority {
            ClientAuthority::File(file) => roots_of(file)?,
            ClientAuthority::Issuer => {
                let issuer = self.shelf.issuer().ok_or(ClientsError::NoIssuer)?;
                let mut roots = RootCertStore::empty();
                roots.add(issuer).map_err(|_| ClientsError::NoIssuer)?;
                roots
            }
        };
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto::provider())
                .only_check_end_entity_revocation();
        if let Some(lists) = lists {
            builder = builder.with_crls(lists.content.iter().cloned());
        }
        if let ClientAuth::Optional(_) = self.spec.clients {
            builder = builder.allow_unauthenticated();
        }
        let verifier = builder.build().map_err(ClientsError::List)?;
        let good_until = lists.map(|lists| lists.good_until);
        Ok(Arc::new(Timely { verifier, good_until }))
    }
}

fn roots_of(file: &Path) -> Result<RootCertStore, ClientsError> {
    let broken = |source| ClientsError::File { file: file.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(broken)? {
        let added = roots.add(certificate.map_err(broken)?);
        added.map_err(|_| ClientsError::Nothing(file.to_owned()))?;
    }
    if roots.is_empty() {
        return Err(ClientsError::Nothing(file.to_owned()));
    }
    Ok(roots)
}

fn lists_of(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, ClientsError> {
    let broken = |source| ClientsError::File { file: file.to_owned(), source };
    let pem =
        std::fs::read(file).map_err(|error| broken(rustls::pki_types::pem::Error::Io(error)))?;
    parse_lists(&pem, &file.display().to_string())
}

/// An empty answer would mean that nothing is checked: it is none.
fn parse_lists(
    pem: &[u8],
    origin: &str,
) -> Result<Vec<CertificateRevocationListDer<'static>>, ClientsError> {
    let broken = |source| ClientsError::File { file: origin.into(), source };
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    let lists = lists.map_err(broken)?;
    if lists.is_empty() {
        return Err(broken(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(lists)
}
