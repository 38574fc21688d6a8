//! The PKI engine: <https://developer.hashicorp.com/vault/api-docs/secret/pki>
//!
//! One issuer, keys on elliptic curves (ring makes no RSA keys), and a revocation list.

mod authority;
mod issue;
mod role;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use self::authority::{Authority, Pending};
use self::role::Role;
use super::clock::{Moment, rfc3339};
use super::random;
use super::reply::{Failure, Reply};
use super::request::{Call, Engaged, Operation, Outcome, data, done, listing};

/// One mount.
#[derive(Default)]
pub(super) struct Pki {
    authority: Option<Authority>,
    /// An intermediate's key, until its certificate comes.
    pending: Option<Pending>,
    roles: BTreeMap<String, Role>,
    issued: BTreeMap<String, Issued>,
    lists: u64,
}

/// A certificate that this mount signed.
struct Issued {
    pem: String,
    expires: Moment,
    revoked: Option<Moment>,
    /// It ends with its lease.
    leased: bool,
}

impl Pki {
    /// With a root and a role that permits every name for a day.
    pub(super) fn ready(role: &str, now: Moment) -> Result<Self, Failure> {
        let ends = now + Duration::from_hours(48);
        let authority = Some(Authority::root("sidekey dev", now, ends)?);
        let roles = BTreeMap::from([(role.to_owned(), Role::permissive()?)]);
        Ok(Self { authority, roles, ..Self::default() })
    }

    pub(super) fn call(&mut self, call: &Call<'_>) -> Engaged {
        let (head, rest) = call.path.split_once('/').unwrap_or((call.path, ""));
        match (call.operation, head, rest) {
            (Operation::Write, "root", "generate/internal") => self.generate_root(call),
            (Operation::Write, "root", "sign-intermediate") => self.sign_intermediate(call),
            (Operation::Write, "intermediate", "generate/internal") => {
                let pending = Pending::generate(&call.fields().required("common_name")?)?;
                let csr = pem("CERTIFICATE REQUEST", pending.request());
                self.pending = Some(pending);
                data(&json!({ "csr": csr.trim() }))
            }
            (Operation::Write, "intermediate", "set-signed") => self.set_signed(call),
            (Operation::Write, "config", _) => done(),
            (_, "roles", name) => self.role(call, name),
            (Operation::Write, "issue", role) => self.issue(call, role),
            (Operation::Write, "sign", role) => self.sign(call, role),
            (Operation::Write, "revoke", "") => self.revoke(call),
            (Operation::List, "certs", "") => listing(self.issued.keys(), ""),
            (Operation::Read, "cert", "crl") => {
                let list = pem("X509 CRL", &self.revocation_list(call.now)?);
                data(&json!({ "certificate": list.trim(), "revocation_time": 0 }))
            }
            (Operation::Read, "cert", serial) => self.lookup(serial),
            (Operation::Read, "ca", "pem") => text(self.authority()?.chain_pem(1)),
            (Operation::Read, "ca_chain", "") => text(self.authority()?.chain_pem(usize::MAX)),
            (Operation::Read, "crl", "pem") => {
                text(pem("X509 CRL", &self.revocation_list(call.now)?))
            }
            _ => Err(Failure::unsupported_path()),
        }
    }

    /// Paths that need no token, as relying parties have none.
    pub(super) fn is_public(path: &str) -> bool {
        matches!(path, "ca/pem" | "ca_chain" | "crl/pem") || path.starts_with("cert/")
    }

    /// Certificates whose lease is gone are revoked with it.
    pub(super) fn follow_leases(&mut self, now: Moment, lives: impl Fn(&str) -> bool) {
        for (serial, issued) in &mut self.issued {
            if issued.leased && issued.revoked.is_none() && !lives(&lease_suffix(serial)) {
                issued.revoked = Some(now);
            }
        }
    }

    fn authority(&self) -> Result<&Authority, Failure> {
        let none = || Failure::bad("no default issuer currently configured");
        self.authority.as_ref().ok_or_else(none)
    }

    fn generate_root(&mut self, call: &Call<'_>) -> Engaged {
        let name = call.fields().required("common_name")?;
        let ttl = call.fields().duration("ttl")?.filter(|ttl| !ttl.is_zero());
        let ends = call.now + ttl.unwrap_or(Duration::from_hours(768));
        let authority = Authority::root(&name, call.now, ends)?;
        let described = json!({
            "certificate": authority.chain_pem(1).trim(),
            "expiration": ends.as_secs(),
            "issuing_ca": authority.chain_pem(1).trim(),
        });
        self.authority = Some(authority);
        data(&described)
    }

    fn sign_intermediate(&mut self, call: &Call<'_>) -> Engaged {
        let ttl = call.fields().duration("ttl")?.filter(|ttl| !ttl.is_zero());
        let ends = call.now + ttl.unwrap_or(Duration::from_hours(768));
        let serial = new_serial()?;
        let request = call.fields().required("csr")?;
        let authority = self.authority()?;
        let signed = authority.sign_authority(&request, &serial, call.now, ends)?;
        let certificate = pem("CERTIFICATE", &signed);
        data(&json!({
            "ca_chain": authority.chain().map(|it| it.trim().to_owned()).collect::<Vec<_>>(),
            "certificate": certificate.trim(),
            "expiration": ends.as_secs(),
            "issuing_ca": authority.chain_pem(1).trim(),
            "serial_number": serial,
        }))
    }

    fn set_signed(&mut self, call: &Call<'_>) -> Engaged {
        let chain = call.fields().required("certificate")?;
        let pending = self.pending.take().ok_or_else(|| Failure::bad("no key for it"))?;
        self.authority = Some(pending.with_chain(&chain)?);
        data(&json!({ "imported_issuers": [random::uuid()?] }))
    }

    fn role(&mut self, call: &Call<'_>, name: &str) -> Engaged {
        match call.operation {
            Operation::List => listing(self.roles.keys(), ""),
            _ if name.is_empty() => Err(Failure::unsupported_path()),
            Operation::Read => {
                data(&self.roles.get(name).ok_or_else(Failure::not_found)?.describe())
            }
            Operation::Write => {
                let role = Role::read(call.fields())?;
                let described = role.describe();
                self.roles.insert(name.to_owned(), role);
                data(&described)
            }
            Operation::Delete => {
                self.roles.remove(name);
                done()
            }
            Operation::Patch => Err(Failure::unsupported_operation()),
        }
    }

    fn revoke(&mut self, call: &Call<'_>) -> Engaged {
        let serial = normal(&call.fields().required("serial_number")?);
        let unknown = || Failure::bad(format!("certificate with serial {serial} not found."));
        let issued = self.issued.get_mut(&serial).ok_or_else(unknown)?;
        let at = *issued.revoked.get_or_insert(call.now);
        data(&json!({
            "revocation_time": at.as_secs(),
            "revocation_time_rfc3339": rfc3339(at),
            "state": "revoked",
        }))
    }

    fn lookup(&self, serial: &str) -> Engaged {
        let issued = self.issued.get(&normal(serial)).ok_or_else(Failure::not_found)?;
        let revoked = issued.revoked;
        data(&json!({
            "certificate": issued.pem.trim(),
            "revocation_time": revoked.map_or(0, |at| at.as_secs()),
            "revocation_time_rfc3339": revoked.map(rfc3339).unwrap_or_default(),
        }))
    }

    fn revocation_list(&mut self, now: Moment) -> Result<Vec<u8>, Failure> {
        self.lists += 1;
        let revoked = self.issued.iter().filter(|(_, issued)| issued.expires > now);
        let revoked = revoked.filter_map(|(serial, it)| Some((serial.as_str(), it.revoked?)));
        self.authority()?.revocation_list(self.lists, now, revoked)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "an answer like its siblings'")]
fn text(text: String) -> Engaged {
    Ok(Outcome::Reply(Reply::Bare(200, Bytes::from(text))))
}

/// Vault takes colons and hyphens alike.
fn normal(serial: &str) -> String {
    serial.replace('-', ":").to_ascii_lowercase()
}

/// What the lease of a certificate ends in.
fn lease_suffix(serial: &str) -> String {
    serial.replace(':', "-")
}

/// Twenty bytes, positive, as Vault writes them.
fn new_serial() -> Result<String, Failure> {
    let digits = format!("4{}", random::hex(39)?);
    let pairs: Vec<&str> = (0..20).filter_map(|at| digits.get(at * 2..at * 2 + 2)).collect();
    Ok(pairs.join(":"))
}

fn serial_bytes(serial: &str) -> Vec<u8> {
    serial.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect()
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for (at, letter) in text.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem + &format!("\n-----END {label}-----\n")
}

/// What `issue` and `sign` answer with, but for the key.
fn answer(authority: &Authority, leaf: &str, serial: &str, ends: Moment) -> Value {
    json!({
        "ca_chain": authority.chain().map(|it| it.trim().to_owned()).collect::<Vec<_>>(),
        "certificate": leaf.trim(),
        "expiration": ends.as_secs(),
        "issuing_ca": authority.chain_pem(1).trim(),
        "serial_number": serial,
    })
}
