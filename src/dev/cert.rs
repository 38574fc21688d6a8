//! TLS certificates: <https://developer.hashicorp.com/vault/api-docs/auth/cert>

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, UnixTime};
use serde_json::Value;

use super::clock::Moment;
use super::der;
use super::fields::Fields;
use super::grant::Grant;
use super::reply::Failure;
use super::request::{Call, Engaged, Operation, Outcome, data, done, listing};
use super::tls;

/// One mount's trusted certificates.
#[derive(Default)]
pub(super) struct CertAuth {
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    grant: Grant,
    pem: String,
    trusted: Vec<CertificateDer<'static>>,
    common_names: Vec<String>,
    display_name: String,
}

impl CertAuth {
    pub(super) fn call(&mut self, call: &Call<'_>) -> Engaged {
        match (call.path.split_once('/').unwrap_or((call.path, "")), call.operation) {
            (("login", ""), Operation::Write) => self.login(call),
            (("certs", ""), Operation::List) => listing(self.entries.keys(), ""),
            (("certs", name), Operation::Read) if !name.is_empty() => {
                data(&self.entries.get(name).ok_or_else(Failure::not_found)?.describe())
            }
            (("certs", name), Operation::Write) if !name.is_empty() => {
                let before = self.entries.get(name).map(|entry| entry.grant.clone());
                let entry = Entry::read(call.fields(), name, before)?;
                self.entries.insert(name.to_owned(), entry);
                done()
            }
            (("certs", name), Operation::Delete) if !name.is_empty() => {
                self.entries.remove(name);
                done()
            }
            (("login", "") | ("certs", _), _) => Err(Failure::unsupported_operation()),
            _ => Err(Failure::unsupported_path()),
        }
    }

    fn login(&self, call: &Call<'_>) -> Engaged {
        if !call.request.tls {
            return Err(Failure::bad("tls connection required"));
        }
        if call.request.peer.is_empty() {
            return Err(Failure::bad("client certificate must be supplied"));
        }
        let peer: Vec<CertificateDer<'_>> =
            call.request.peer.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let wanted = call.fields().text("name").filter(|name| !name.is_empty());
        let matched = self.entries.iter().find(|(name, entry)| {
            wanted.as_ref().is_none_or(|wanted| wanted == *name) && entry.admits(&peer, call.now)
        });
        let Some((name, entry)) = matched else {
            let error = "failed to match all constraints for this login certificate";
            return Err(Failure::bad(error));
        };
        let common_name = peer.first().and_then(|leaf| der::common_name(leaf));
        let meta = BTreeMap::from([
            ("cert_name".to_owned(), name.clone()),
            ("common_name".to_owned(), common_name.unwrap_or_default()),
        ]);
        let display = format!("cert-{}", entry.display_name);
        Ok(Outcome::Login(Box::new(entry.grant.login(&display, meta))))
    }
}

impl Entry {
    fn read(fields: &Fields, name: &str, before: Option<Grant>) -> Result<Self, Failure> {
        let pem = fields.text("certificate").unwrap_or_default();
        let trusted = tls::certificates(pem.as_bytes()).unwrap_or_default();
        if trusted.is_empty() {
            return Err(Failure::bad("failed to parse certificate"));
        }
        let display_name = fields.text("display_name").filter(|name| !name.is_empty());
        Ok(Self {
            grant: Grant::from_role(fields, before)?,
            pem,
            trusted,
            common_names: fields.list("allowed_common_names")?.unwrap_or_default(),
            display_name: display_name.unwrap_or_else(|| name.to_owned()),
        })
    }

    fn describe(&self) -> Value {
        let mut shown = self.grant.describe();
        shown.insert("allowed_common_names".into(), self.common_names.clone().into());
        shown.insert("certificate".into(), self.pem.clone().into());
        shown.insert("display_name".into(), self.display_name.clone().into());
        Value::Object(shown)
    }

    /// The very certificate, or one that chains up to an authority, under an allowed name.
    fn admits(&self, peer: &[CertificateDer<'_>], now: Moment) -> bool {
        let Some((leaf, intermediates)) = peer.split_first() else { return false };
        let allowed = self.common_names.is_empty()
            || der::common_name(leaf)
                .is_some_and(|name| self.common_names.iter().any(|glob| globbed(glob, &name)));
        let known = || {
            let provider = Arc::new(ring::default_provider());
            let verifier = tls::verifier(&provider, self.trusted.clone(), false);
            let now = UnixTime::since_unix_epoch(now);
            self.trusted.contains(leaf)
                || verifier.is_ok_and(|verifier| {
                    verifier.verify_client_cert(leaf, intermediates, now).is_ok()
                })
        };
        allowed && known()
    }
}

fn globbed(glob: &str, name: &str) -> bool {
    match (glob.strip_prefix('*'), glob.strip_suffix('*')) {
        (Some(suffix), _) => name.ends_with(suffix),
        (None, Some(prefix)) => name.starts_with(prefix),
        (None, None) => glob == name,
    }
}
