//! JKS, as `sun.security.provider.JavaKeyStore` and `KeyProtector` of `OpenJDK` read it.
//!
//! All numbers are big-endian. The key is xored with a chain of SHA-1 hashes of the password and
//! a salt, one round for 20 bytes; the file ends in a SHA-1 of password and content. That is as
//! weak as it sounds: whoever has such a file guesses passwords at the speed of SHA-1.

use std::time::SystemTime;

use ring::digest::{Context, Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA1_OUTPUT_LEN};
use rustls_pki_types::CertificateDer;
use yasna::construct_der;

use super::content::{Content, numbered};
use super::oid::{self, oid};
use super::{KeystorePassword, Unmade, random};
use crate::memory::{SecretBuf, SecretWriter};

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
const PRIVATE_KEY: u32 = 1;
const TRUSTED_CERTIFICATE: u32 = 2;
/// What the hash over the content starts with, after the password.
const WHITENER: &[u8] = b"Mighty Aphrodite";

/// The whole file.
pub(super) fn write(
    content: &Content,
    alias: &str,
    password: &KeystorePassword,
) -> Result<SecretBuf, Unmade> {
    // Java asks for aliases in lower case, and finds no others in a JKS.
    let alias = alias.to_ascii_lowercase();
    let password = password.in_two_bytes(&[]);
    let mut file = File(SecretWriter::with_capacity(4096));
    file.number(MAGIC);
    file.number(VERSION);
    match content {
        Content::Key { pkcs8, chain } => {
            file.number(1);
            file.entry(PRIVATE_KEY, &alias)?;
            file.bytes(&protect(pkcs8, &password)?)?;
            file.length(chain.len())?;
            chain.iter().try_for_each(|certificate| file.certificate(certificate))?;
        }
        Content::Authorities(authorities) => {
            file.length(authorities.len())?;
            for (at, certificate) in authorities.iter().enumerate() {
                file.entry(TRUSTED_CERTIFICATE, &numbered(&alias, at))?;
                file.certificate(certificate)?;
            }
        }
    }
    let hash = hash(&[password.expose(), WHITENER, file.0.expose()]);
    file.0.push(hash.as_ref());
    Ok(file.0.finish())
}

struct File(SecretWriter);

impl File {
    fn number(&mut self, number: u32) {
        self.0.push(&number.to_be_bytes());
    }

    fn length(&mut self, length: usize) -> Result<(), Unmade> {
        self.number(u32::try_from(length).map_err(|_| Unmade::Unfit)?);
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Unmade> {
        self.length(bytes.len())?;
        self.0.push(bytes);
        Ok(())
    }

    /// As `DataOutput.writeUTF` writes plain text.
    fn text(&mut self, text: &str) -> Result<(), Unmade> {
        let length = u16::try_from(text.len()).map_err(|_| Unmade::Unfit)?;
        self.0.push(&length.to_be_bytes());
        self.0.push(text.as_bytes());
        Ok(())
    }

    fn entry(&mut self, kind: u32, alias: &str) -> Result<(), Unmade> {
        self.number(kind);
        self.text(alias)?;
        let made = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let milliseconds = u64::try_from(made.as_millis()).unwrap_or_default();
        self.0.push(&milliseconds.to_be_bytes());
        Ok(())
    }

    fn certificate(&mut self, certificate: &CertificateDer<'_>) -> Result<(), Unmade> {
        self.text("X.509")?;
        self.bytes(certificate)
    }
}

/// The key as an `EncryptedPrivateKeyInfo`: salt, key XOR hashes, and a hash to check it by.
fn protect(pkcs8: &SecretBuf, password: &SecretBuf) -> Result<Vec<u8>, Unmade> {
    let salt: [u8; SHA1_OUTPUT_LEN] = random()?;
    let mut protected = salt.to_vec();
    let mut link = hash(&[password.expose(), &salt]);
    for part in pkcs8.expose().chunks(SHA1_OUTPUT_LEN) {
        protected.extend(part.iter().zip(link.as_ref()).map(|(plain, mask)| plain ^ mask));
        link = hash(&[password.expose(), link.as_ref()]);
    }
    protected.extend_from_slice(hash(&[password.expose(), pkcs8.expose()]).as_ref());
    Ok(construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_sequence(|writer| {
                writer.next().write_oid(&oid(oid::JKS_KEY_PROTECTOR));
                writer.next().write_null();
            });
            writer.next().write_bytes(&protected);
        });
    }))
}

fn hash(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for part in parts {
        context.update(part);
    }
    context.finish()
}
