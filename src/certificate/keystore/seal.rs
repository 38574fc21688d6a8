//! Encryption and MAC of a PKCS #12, under a password.

use std::num::NonZeroU32;

use cbc::cipher::{Array, BlockModeEncrypt, KeyIvInit};
use ring::{digest, hmac, pbkdf2};
use yasna::DERWriter;

use super::derive::{Purpose, derive};
use super::oid::{self, oid};
use super::{KeystorePassword, Profile, Unmade, random};
use crate::memory::SecretBuf;

/// Rounds of each derivation, as Java's `keytool` has them. They slow down whoever guesses a
/// caller's own password with a keystore in hand, and nobody where the password is generated:
/// 192 random bits are not guessed. A keystore crosses loopback beside its password and is
/// stored nowhere, so that more rounds would cost every load and protect against nothing else.
pub(super) const ITERATIONS: u32 = 10_000;

/// In bytes, as RFC 8018 asks for at least 8 and NIST SP 800-132 for 16.
const SALT: usize = 16;

/// What was encrypted, and how.
pub(super) struct Sealed {
    how: How,
    pub(super) ciphertext: Vec<u8>,
}

enum How {
    Modern { salt: [u8; SALT], iv: [u8; 16] },
    Legacy { salt: [u8; SALT] },
}

/// Encrypts `plaintext`.
pub(super) fn seal(
    plaintext: &[u8],
    profile: Profile,
    password: &KeystorePassword,
) -> Result<Sealed, Unmade> {
    let salt = random()?;
    let sealed = match profile {
        Profile::Modern => {
            let iv = random()?;
            let mut key = SecretBuf::zeroed(32);
            let rounds = NonZeroU32::new(ITERATIONS).unwrap_or(NonZeroU32::MIN);
            let prf = pbkdf2::PBKDF2_HMAC_SHA256;
            pbkdf2::derive(prf, rounds, &salt, password.expose(), key.expose_mut());
            let ciphertext = encrypt::<cbc::Encryptor<aes::Aes256>, 16>(&key, &iv, plaintext)?;
            Sealed { how: How::Modern { salt, iv }, ciphertext }
        }
        Profile::Legacy => {
            let password = password.in_two_bytes(&[0, 0]);
            let derived = |purpose, len| {
                let hash = &digest::SHA1_FOR_LEGACY_USE_ONLY;
                derive(hash, purpose, password.expose(), &salt, ITERATIONS, len)
            };
            let (key, iv) = (derived(Purpose::Key, 24), derived(Purpose::Iv, 8));
            let ciphertext =
                encrypt::<cbc::Encryptor<des::TdesEde3>, 8>(&key, iv.expose(), plaintext)?;
            Sealed { how: How::Legacy { salt }, ciphertext }
        }
    };
    Ok(sealed)
}

/// In CBC mode, padded as RFC 8018 says.
fn encrypt<C, const BLOCK: usize>(
    key: &SecretBuf,
    iv: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, Unmade>
where
    C: KeyIvInit + BlockModeEncrypt,
{
    let padding = BLOCK - plaintext.len() % BLOCK;
    let padding_byte = u8::try_from(padding).map_err(|_| Unmade::System)?;
    let mut padded = SecretBuf::zeroed(plaintext.len() + padding);
    let bytes = plaintext.iter().chain(std::iter::repeat(&padding_byte));
    padded.expose_mut().iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    let mut cipher = C::new_from_slices(key.expose(), iv).map_err(|_| Unmade::System)?;
    let mut ciphertext = Vec::with_capacity(padded.len());
    for chunk in padded.expose_mut().chunks_exact_mut(BLOCK) {
        let block = <&mut Array<u8, C::BlockSize>>::try_from(chunk).map_err(|_| Unmade::System)?;
        cipher.encrypt_block(block);
        ciphertext.extend_from_slice(block);
    }
    Ok(ciphertext)
}

impl Sealed {
    /// The `AlgorithmIdentifier`.
    pub(super) fn write_algorithm(&self, writer: DERWriter<'_>) {
        writer.write_sequence(|writer| match &self.how {
            How::Modern { salt, iv } => {
                writer.next().write_oid(&oid(oid::PBES2));
                writer.next().write_sequence(|writer| {
                    writer.next().write_sequence(|writer| write_pbkdf2(writer, salt));
                    writer.next().write_sequence(|writer| {
                        writer.next().write_oid(&oid(oid::AES_256_CBC));
                        writer.next().write_bytes(iv);
                    });
                });
            }
            How::Legacy { salt } => {
                writer.next().write_oid(&oid(oid::PBE_SHA1_3DES));
                writer.next().write_sequence(|writer| {
                    writer.next().write_bytes(salt);
                    writer.next().write_u32(ITERATIONS);
                });
            }
        });
    }
}

fn write_pbkdf2(writer: &mut yasna::DERWriterSeq<'_>, salt: &[u8]) {
    writer.next().write_oid(&oid(oid::PBKDF2));
    writer.next().write_sequence(|writer| {
        writer.next().write_bytes(salt);
        writer.next().write_u32(ITERATIONS);
        // The length of the key may be left out, but Java never does.
        writer.next().write_u32(32);
        writer.next().write_sequence(|writer| {
            writer.next().write_oid(&oid(oid::HMAC_SHA256));
            writer.next().write_null();
        });
    });
}

/// The `MacData` over `content`.
pub(super) struct Mac {
    hash: &'static [u64],
    tag: hmac::Tag,
    salt: [u8; SALT],
}

impl Mac {
    pub(super) fn over(
        content: &[u8],
        profile: Profile,
        password: &KeystorePassword,
    ) -> Result<Self, Unmade> {
        let (oid, algorithm) = match profile {
            Profile::Modern => (oid::SHA256, hmac::HMAC_SHA256),
            Profile::Legacy => (oid::SHA1, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        };
        let (salt, hash) = (random()?, algorithm.digest_algorithm());
        let password = password.in_two_bytes(&[0, 0]);
        let len = hash.output_len();
        let key = derive(hash, Purpose::Mac, password.expose(), &salt, ITERATIONS, len);
        let tag = hmac::sign(&hmac::Key::new(algorithm, key.expose()), content);
        Ok(Self { hash: oid, tag, salt })
    }

    pub(super) fn write(&self, writer: DERWriter<'_>) {
        writer.write_sequence(|writer| {
            writer.next().write_sequence(|writer| {
                writer.next().write_sequence(|writer| {
                    writer.next().write_oid(&oid(self.hash));
                    writer.next().write_null();
                });
                writer.next().write_bytes(self.tag.as_ref());
            });
            writer.next().write_bytes(&self.salt);
            writer.next().write_u32(ITERATIONS);
        });
    }
}
