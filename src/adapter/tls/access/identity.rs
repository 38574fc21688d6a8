//! Who connected, by the certificate that TLS has verified.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::config::SpiffeId;

/// The names in a client's certificate. The default is that of a client without one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// DNS names among the alternative names.
    pub dns: Vec<Box<str>>,
    /// URIs among them.
    pub uris: Vec<Box<str>>,
    /// Addresses of mail among them.
    pub emails: Vec<Box<str>>,
    /// The subject's common name, when there is just one. No rule goes by it.
    pub common_name: Option<Box<str>>,
    /// The SPIFFE ID: the one URI, when it is one. A certificate with several URIs has none
    /// (X.509-SVID, 2).
    pub spiffe: Option<SpiffeId>,
}

/// A certificate whose names cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the names in the client's certificate cannot be read")]
pub struct UnreadableCertificate;

impl Identity {
    /// The names in `der`, which TLS has verified; nothing is verified here.
    ///
    /// # Errors
    /// [`UnreadableCertificate`]: the connection should not be served.
    pub fn of_certificate(der: &[u8]) -> Result<Self, UnreadableCertificate> {
        let unreadable = UnreadableCertificate;
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| unreadable)?;
        if !rest.is_empty() {
            return Err(unreadable);
        }
        let names = parsed.subject_alternative_name().map_err(|_| unreadable)?;
        let names: &[_] = names.as_ref().map_or(&[], |names| &names.value.general_names);
        let mut identity = Self::default();
        for name in names {
            match name {
                GeneralName::DNSName(name) => identity.dns.push((*name).into()),
                GeneralName::URI(uri) => identity.uris.push((*uri).into()),
                GeneralName::RFC822Name(address) => identity.emails.push((*address).into()),
                GeneralName::Invalid(..) => return Err(unreadable),
                _ => {}
            }
        }
        let mut common_names = parsed.subject().iter_common_name();
        if let (Some(name), None) = (common_names.next(), common_names.next()) {
            identity.common_name = name.as_str().ok().map(Into::into);
        }
        if let [uri] = &*identity.uris {
            identity.spiffe = SpiffeId::parse(uri);
        }
        Ok(identity)
    }
}
