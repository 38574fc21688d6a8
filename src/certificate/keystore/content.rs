//! What goes into a keystore: DER, from the PEM that is served.

use std::borrow::Cow;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::{Holds, Unmade};
use crate::certificate::Form;
use crate::memory::SecretBuf;
use crate::secret::Secret;

pub(super) enum Content {
    Key {
        pkcs8: SecretBuf,
        /// The one that belongs to the key first; never empty.
        chain: Vec<CertificateDer<'static>>,
    },
    /// Never empty.
    Authorities(Vec<CertificateDer<'static>>),
}

impl Content {
    pub(super) fn read(secret: &Secret, holds: Holds) -> Result<Self, Unmade> {
        match holds {
            Holds::Authority => certificates(secret, Form::Authority).map(Self::Authorities),
            Holds::Key => {
                let (pem, _) = secret.field(Form::Key.name()).ok_or(Unmade::Unfit)?;
                let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| Unmade::Unfit)?;
                let pkcs8 = SecretBuf::copy_from(key.secret_pkcs8_der());
                Ok(Self::Key { pkcs8, chain: certificates(secret, Form::FullChain)? })
            }
        }
    }
}

fn certificates(secret: &Secret, form: Form) -> Result<Vec<CertificateDer<'static>>, Unmade> {
    let (pem, _) = secret.field(form.name()).ok_or(Unmade::Unfit)?;
    let all = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    all.ok().filter(|all| !all.is_empty()).ok_or(Unmade::Unfit)
}

/// The alias of the entry at place `at`: the name, and numbers for what is beyond the first.
pub(super) fn numbered(alias: &str, at: usize) -> Cow<'_, str> {
    if at == 0 { alias.into() } else { format!("{alias}-{}", at + 1).into() }
}
