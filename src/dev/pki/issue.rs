//! `issue` and `sign`: a leaf for a key made here, or for a request.

use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use serde_json::Value;

use super::authority::{failed, named, parse_request};
use super::role::Role;
use super::{Issued, Pki, answer, lease_suffix, new_serial, pem};
use crate::dev::fields::Fields;
use crate::dev::lease::NewLease;
use crate::dev::reply::{Failure, raw};
use crate::dev::request::{Call, Engaged, Outcome, data};

impl Pki {
    /// The key is made here, and sent.
    pub(super) fn issue(&mut self, call: &Call<'_>, role: &str) -> Engaged {
        let rules = self.rules(role)?;
        let algorithm = match (rules.key_type.as_str(), rules.key_bits) {
            ("ec", 384) => &rcgen::PKCS_ECDSA_P384_SHA384,
            ("ec", _) => &rcgen::PKCS_ECDSA_P256_SHA256,
            ("ed25519", _) => &rcgen::PKCS_ED25519,
            (other, _) => {
                let error = format!("the dev server makes no key of type {other}: try ec");
                return Err(Failure::bad(error));
            }
        };
        let fields = call.fields();
        let name = fields.required("common_name")?;
        let mut names = vec![name.clone()];
        names.extend(fields.list("alt_names")?.unwrap_or_default());
        let mut names = names.into_iter().map(host).collect::<Result<Vec<_>, _>>()?;
        names.extend(other_names(fields)?);
        let key = KeyPair::generate_for(algorithm).map_err(failed)?;
        let private_key = pem("PRIVATE KEY", key.serialized_der());
        let with_key = |answer: &mut Value| {
            answer["private_key"] = private_key.trim().into();
            answer["private_key_type"] = self::kind(&key).into();
        };
        self.make(call, role, &name, names, &key, with_key)
    }

    /// The names are those of the request.
    pub(super) fn sign(&mut self, call: &Call<'_>, role: &str) -> Engaged {
        let rules = self.rules(role)?;
        let request = parse_request(&call.fields().required("csr")?)?;
        rules.takes_key(&request.public_key)?;
        let name = match request.params.distinguished_name.get(&rcgen::DnType::CommonName) {
            Some(rcgen::DnValue::Utf8String(name)) => name.clone(),
            Some(rcgen::DnValue::PrintableString(name)) => name.as_str().to_owned(),
            _ => call.fields().required("common_name")?,
        };
        let names = request.params.subject_alt_names;
        self.make(call, role, &name, names, &request.public_key, |_| {})
    }

    fn rules(&self, role: &str) -> Result<&Role, Failure> {
        self.roles.get(role).ok_or_else(|| Failure::bad(format!("unknown role: {role}")))
    }

    fn make(
        &mut self,
        call: &Call<'_>,
        role: &str,
        name: &str,
        names: Vec<SanType>,
        key: &impl PublicKeyData,
        complete: impl FnOnce(&mut Value),
    ) -> Engaged {
        let rules = self.rules(role)?;
        rules.permits_common_name(name)?;
        names.iter().try_for_each(|name| rules.permits(name))?;
        let life = rules.life(call.fields().duration("ttl")?);
        let (serial, ends, leased) = (new_serial()?, call.now + life, rules.generate_lease);
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        params.subject_alt_names = names;
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let authority = self.authority()?;
        let leaf = authority.sign(params, key, &serial, call.now, ends)?;
        let mut answer = answer(authority, &leaf, &serial, ends);
        complete(&mut answer);
        let issued = Issued { pem: leaf, expires: ends, revoked: None, leased };
        self.issued.insert(serial.clone(), issued);
        if !leased {
            return data(&answer);
        }
        Ok(Outcome::Lease(Box::new(NewLease {
            data: raw(&answer)?,
            ttl: life,
            max_ttl: life,
            renewable: false,
            mount_type: "pki".to_owned(),
            suffix: Some(lease_suffix(&serial)),
        })))
    }
}

fn kind(key: &KeyPair) -> &'static str {
    if PublicKeyData::algorithm(key) == &rcgen::PKCS_ED25519 { "ed25519" } else { "ec" }
}

fn host(name: String) -> Result<SanType, Failure> {
    let unfit = |_| Failure::bad("a name is not ASCII");
    name.try_into().map(SanType::DnsName).map_err(unfit)
}

fn other_names(fields: &Fields) -> Result<Vec<SanType>, Failure> {
    let mut names = Vec::new();
    for ip in fields.list("ip_sans")?.unwrap_or_default() {
        let ip = ip
            .parse()
            .map_err(|_| Failure::bad(format!("the value {ip:?} is not a valid IP address")))?;
        names.push(SanType::IpAddress(ip));
    }
    for uri in fields.list("uri_sans")?.unwrap_or_default() {
        let uri = uri.try_into().map_err(|_| Failure::bad("a URI is not ASCII"))?;
        names.push(SanType::URI(uri));
    }
    Ok(names)
}
