//! PKCS #12: RFC 7292.
//!
//! The private key is in a safe of its own, encrypted by itself; the certificates are in a second
//! one that is encrypted as a whole. A MAC over both tells a wrong password from a damaged file.

use ring::digest;
use rustls_pki_types::CertificateDer;
use yasna::{DERWriter, DERWriterSeq, Tag, construct_der};

use super::content::Content;
use super::oid::{self, oid};
use super::seal::{Mac, Sealed, seal};
use super::{KeystorePassword, Profile, Unmade};
use crate::memory::SecretBuf;

/// The whole file, a `PFX`.
pub(super) fn write(
    content: &Content,
    alias: &str,
    profile: Profile,
    password: &KeystorePassword,
) -> Result<SecretBuf, Unmade> {
    let safes = match content {
        Content::Key { pkcs8, chain } => {
            let id = key_id(chain);
            let key = seal(pkcs8.expose(), profile, password)?;
            let certificates = seal(&chain_safe(chain, alias, &id), profile, password)?;
            construct_der(|writer| {
                writer.write_sequence_of(|writer| {
                    write_data(writer.next(), &key_safe(&key, alias, &id));
                    write_encrypted(writer.next(), &certificates);
                });
            })
        }
        Content::Authorities(authorities) => {
            let certificates = seal(&authority_safe(authorities, alias), profile, password)?;
            construct_der(|writer| {
                writer.write_sequence_of(|writer| write_encrypted(writer.next(), &certificates));
            })
        }
    };
    let mac = Mac::over(&safes, profile, password)?;
    let pfx = construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_u8(3);
            write_data(writer.next(), &safes);
            mac.write(writer.next());
        });
    });
    Ok(SecretBuf::copy_from(&pfx))
}

/// What ties the key to its certificate: the certificate's hash, as OpenSSL has it.
fn key_id(chain: &[CertificateDer<'_>]) -> digest::Digest {
    let own = chain.first().map(AsRef::as_ref).unwrap_or_default();
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, own)
}

fn key_safe(key: &Sealed, alias: &str, id: &digest::Digest) -> Vec<u8> {
    construct_der(|writer| {
        writer.write_sequence_of(|writer| {
            write_bag(writer.next(), oid::SHROUDED_KEY_BAG, &[name(alias), local(id)], |writer| {
                write_sealed_key(writer, key);
            });
        });
    })
}

fn write_sealed_key(writer: DERWriter<'_>, key: &Sealed) {
    writer.write_sequence(|writer| {
        key.write_algorithm(writer.next());
        writer.next().write_bytes(&key.ciphertext);
    });
}

fn chain_safe(chain: &[CertificateDer<'_>], alias: &str, id: &digest::Digest) -> Vec<u8> {
    construct_der(|writer| {
        writer.write_sequence_of(|writer| {
            for (at, certificate) in chain.iter().enumerate() {
                // Those above it have no name of their own: readers find them by who issued whom.
                let attributes = if at == 0 { vec![name(alias), local(id)] } else { Vec::new() };
                write_certificate(writer, certificate, &attributes);
            }
        });
    })
}

fn authority_safe(authorities: &[CertificateDer<'_>], alias: &str) -> Vec<u8> {
    construct_der(|writer| {
        writer.write_sequence_of(|writer| {
            for (at, certificate) in authorities.iter().enumerate() {
                let attributes = [name(&super::content::numbered(alias, at)), trusted()];
                write_certificate(writer, certificate, &attributes);
            }
        });
    })
}

fn write_certificate(
    writer: &mut DERWriterSeq<'_>,
    certificate: &CertificateDer<'_>,
    attributes: &[Vec<u8>],
) {
    write_bag(writer.next(), oid::CERTIFICATE_BAG, attributes, |writer| {
        writer.write_sequence(|writer| {
            writer.next().write_oid(&oid(oid::X509_CERTIFICATE));
            let tag = Tag::context(0);
            writer.next().write_tagged(tag, |writer| writer.write_bytes(certificate));
        });
    });
}

/// A `SafeBag`.
fn write_bag(
    writer: DERWriter<'_>,
    kind: &[u64],
    attributes: &[Vec<u8>],
    value: impl FnOnce(DERWriter<'_>),
) {
    writer.write_sequence(|writer| {
        writer.next().write_oid(&oid(kind));
        writer.next().write_tagged(Tag::context(0), value);
        if !attributes.is_empty() {
            writer.next().write_set_of(|writer| {
                for attribute in attributes {
                    writer.next().write_der(attribute);
                }
            });
        }
    });
}

fn name(alias: &str) -> Vec<u8> {
    attribute(oid::FRIENDLY_NAME, |writer| writer.write_bmp_string(alias))
}

fn local(id: &digest::Digest) -> Vec<u8> {
    attribute(oid::LOCAL_KEY_ID, |writer| writer.write_bytes(id.as_ref()))
}

fn trusted() -> Vec<u8> {
    attribute(oid::TRUSTED_KEY_USAGE, |writer| {
        writer.write_oid(&oid(oid::ANY_EXTENDED_KEY_USAGE));
    })
}

/// An attribute with one value.
fn attribute(kind: &[u64], value: impl FnOnce(DERWriter<'_>)) -> Vec<u8> {
    construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_oid(&oid(kind));
            writer.next().write_set_of(|writer| value(writer.next()));
        });
    })
}

/// A `ContentInfo` with plain data.
fn write_data(writer: DERWriter<'_>, data: &[u8]) {
    writer.write_sequence(|writer| {
        writer.next().write_oid(&oid(oid::DATA));
        writer.next().write_tagged(Tag::context(0), |writer| writer.write_bytes(data));
    });
}

/// A `ContentInfo` with encrypted data.
fn write_encrypted(writer: DERWriter<'_>, sealed: &Sealed) {
    writer.write_sequence(|writer| {
        writer.next().write_oid(&oid(oid::ENCRYPTED_DATA));
        writer.next().write_tagged(Tag::context(0), |writer| {
            writer.write_sequence(|writer| {
                writer.next().write_u8(0);
                writer.next().write_sequence(|writer| {
                    writer.next().write_oid(&oid(oid::DATA));
                    sealed.write_algorithm(writer.next());
                    let tag = Tag::context(0);
                    let ciphertext = &sealed.ciphertext;
                    writer
                        .next()
                        .write_tagged_implicit(tag, |writer| writer.write_bytes(ciphertext));
                });
            });
        });
    });
}
