//! Mutual TLS: who may have issued the certificates of clients, and which are revoked.

use std::time::Duration;

use super::{
    ClientAuth, ClientAuthority, ClientTrust, MOMENT, Revocation, RevocationSource, one_of,
};
use crate::config::CertificateSpec;
use crate::config::load::Context;
use crate::config::section::Section;

const OF_CLIENTS: [&str; 4] = ["client_ca", "client_crl", "crl_refresh", "crl_max_stale"];

/// `issuer` is how the adapter's own certificate is issued. `None` after a problem was reported.
pub(super) fn read(
    section: &mut Section<'_>,
    issuer: Option<&CertificateSpec>,
    context: &Context<'_>,
) -> Option<ClientAuth> {
    let word = one_of(section, "client_auth", &["none", "optional", "required"], context);
    let authority = authority(section);
    let revocation = revocation(section, authority.as_ref(), issuer, context);
    let Some(word) = word.filter(|word| word != "none") else {
        if !section.has("client_auth") || section.is_word("client_auth", "none") {
            refuse_rest(section);
        }
        return Some(ClientAuth::None);
    };
    section.missing(
        "client_ca",
        "\"vault\" for the authority that issued the adapter's own certificate, \
         or a PEM file with others",
    );
    let trust = ClientTrust { authority: authority?, revocation: revocation? };
    Some(if word == "required" { ClientAuth::Required(trust) } else { ClientAuth::Optional(trust) })
}

fn refuse_rest(section: &Section<'_>) {
    let hint = "client_auth = \"required\" or \"optional\" does";
    section.refuse(&OF_CLIENTS, "clients are not asked for a certificate", hint);
}

fn authority(section: &mut Section<'_>) -> Option<ClientAuthority> {
    let text = section.file_path("client_ca")?;
    Some(if text.value.as_os_str() == "vault" {
        ClientAuthority::Issuer
    } else {
        ClientAuthority::File(text.value)
    })
}

/// The outer `None` after a problem was reported.
#[expect(clippy::option_option, reason = "off, and not understood")]
fn revocation(
    section: &mut Section<'_>,
    authority: Option<&ClientAuthority>,
    issuer: Option<&CertificateSpec>,
    context: &Context<'_>,
) -> Option<Option<Revocation>> {
    let crl = section.file_path("client_crl");
    let refresh = section.duration("crl_refresh", MOMENT);
    let max_stale = section.duration("crl_max_stale", MOMENT);
    let is_there = section.has("client_crl");
    let of_vault = || Some(RevocationSource::Vault(issuer?.mount.clone()));
    let word = crl.as_ref().map(|crl| crl.value.as_os_str());
    let source = match (word, authority) {
        (None, _) if is_there => return None,
        (None, Some(ClientAuthority::File(_))) => {
            section.missing(
                "client_crl",
                "which certificates are revoked: a PEM file, \"vault\" for the list of the \
                 mount that issues the adapter's certificate, or \"none\"",
            );
            return None;
        }
        (Some(word), _) if word == "none" => {
            context.report.warn(format!(
                "{}: revoked certificates of clients are let in",
                section.at("client_crl").path
            ));
            None
        }
        (Some(word), _) if word != "vault" => crl.map(|crl| RevocationSource::File(crl.value)),
        _ => Some(of_vault()?),
    };
    Some(source.map(|source| Revocation {
        source,
        refresh: refresh.unwrap_or(Duration::from_mins(5)),
        max_stale: max_stale.unwrap_or(Duration::from_hours(1)),
    }))
}
