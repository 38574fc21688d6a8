//! Our side of the login at the server: the application is not asked for anything.

use std::io;

use bytes::{Bytes, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;
use ring::digest::{SHA256, SHA384, SHA512, digest};
use rustls::pki_types::CertificateDer;
use tokio::io::AsyncWriteExt as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::super::connect::Outbound;
use super::message::{Message, fatal};

/// A server that asks for more wants to keep us busy; the default is 4096.
const MOST_ITERATIONS: u32 = 200_000;

/// The class of errors that speak of the password, and so of the secret. Others of class 28 speak of
/// what the application asked for, as a database that the server lets this user not have.
const INVALID_PASSWORD: &[u8] = b"28P01";
/// What is shorter is found in any text.
const SHORTEST_ECHO: usize = 4;

const OK: u32 = 0;
const CLEARTEXT: u32 = 3;
const MD5: u32 = 5;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoginError {
    /// The server does not take user and password.
    #[error("the server refused the credential")]
    Refused,
    /// The server said no for another reason, which the application may know.
    #[error("the server refused the session")]
    Said(Vec<u8>),
    /// It asks for something that we do not do, or not like this.
    #[error("the server asks for a login by {0}")]
    Method(&'static str),
    /// It did not prove that it knows the password.
    #[error("the server did not prove itself")]
    Unproven,
    /// The connection broke, or made no sense.
    #[error("the login broke off")]
    Io(#[from] io::Error),
}

/// Who logs in, and how: without a password the client certificate has to do.
pub(super) struct Credential {
    pub(super) user: Bytes,
    pub(super) password: Option<Bytes>,
}

impl Credential {
    /// A server may have been told the password, and say it again.
    fn is_in(&self, text: &[u8]) -> bool {
        let password = self.password.as_ref().filter(|password| password.len() >= SHORTEST_ECHO);
        password.is_some_and(|password| text.windows(password.len()).any(|part| part == password))
    }

    fn password(&self) -> Result<&Bytes, LoginError> {
        let none = LoginError::Method("a password, and there is none but a client certificate");
        self.password.as_ref().ok_or(none)
    }
}

/// Sends `startup` and answers what the server asks, up to its consent. Returns what it said on
/// the side, for the application.
///
/// Cancel safety: none; the connection is of no use then.
pub(super) async fn login(
    server: &mut Outbound,
    startup: &[u8],
    credential: &Credential,
) -> Result<Vec<u8>, LoginError> {
    server.write_all(startup).await?;
    server.flush().await?;
    let mut aside = Vec::new();
    loop {
        let message = Message::read(server).await?;
        match message.tag() {
            b'R' => {
                if authenticate(server, &message, credential).await? {
                    return Ok(aside);
                }
            }
            b'E' => return Err(refused(message, credential)),
            // Notices, and the version of the protocol that it speaks.
            b'N' | b'v' if aside.len() < 64 << 10 => aside.extend(message.whole),
            _ => return Err(nonsense()),
        }
    }
}

/// Answers one demand; true when there is none left.
async fn authenticate(
    server: &mut Outbound,
    message: &Message,
    credential: &Credential,
) -> Result<bool, LoginError> {
    let (code, rest) = code(message)?;
    let mut answer = BytesMut::new();
    match code {
        OK => return Ok(true),
        CLEARTEXT if server.certificate().is_some() => {
            frontend::password_message(credential.password()?, &mut answer)?;
        }
        CLEARTEXT => return Err(LoginError::Method("a password in the clear, without TLS")),
        MD5 if server.is_private() => {
            let salt = rest.try_into().map_err(|_| nonsense())?;
            let hash = md5_hash(&credential.user, credential.password()?, salt);
            frontend::password_message(hash.as_bytes(), &mut answer)?;
        }
        // Whoever sits in between could ask for it in the place of SCRAM, and guess at leisure.
        MD5 => return Err(LoginError::Method("a password by MD5, without TLS")),
        SASL => {
            scram(server, rest, credential).await?;
            return Ok(false);
        }
        _ => return Err(LoginError::Method("a method that is not supported")),
    }
    server.write_all(&answer).await?;
    server.flush().await?;
    Ok(false)
}

async fn scram(
    server: &mut Outbound,
    offered: &[u8],
    credential: &Credential,
) -> Result<(), LoginError> {
    let password = credential.password()?;
    let offers = |wanted: &str| offered.split(|byte| *byte == 0).any(|m| m == wanted.as_bytes());
    let binding = server.certificate().and_then(end_point);
    let (mechanism, binding) = match binding {
        Some(hash) if offers(SCRAM_SHA_256_PLUS) => {
            (SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(hash))
        }
        // It would notice if somebody took the better one off its list.
        Some(_) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
        None => (SCRAM_SHA_256, ChannelBinding::unsupported()),
    };
    if !offers(mechanism) {
        return Err(LoginError::Method("a SASL mechanism that is not supported"));
    }
    let mut scram = ScramSha256::new(password, binding);
    let mut answer = BytesMut::new();
    frontend::sasl_initial_response(mechanism, scram.message(), &mut answer)?;
    server.write_all(&answer).await?;
    server.flush().await?;

    let challenge = next(server, SASL_CONTINUE, credential).await?;
    if iterations(&challenge).is_none_or(|n| n > MOST_ITERATIONS) {
        return Err(LoginError::Method("SCRAM with too many iterations"));
    }
    scram.update(&challenge).map_err(|_| nonsense())?;
    answer.clear();
    frontend::sasl_response(scram.message(), &mut answer)?;
    server.write_all(&answer).await?;
    server.flush().await?;

    let proof = next(server, SASL_FINAL, credential).await?;
    scram.finish(&proof).map_err(|_| LoginError::Unproven)
}

/// The next message, which has to be of this kind.
async fn next(
    server: &mut Outbound,
    wanted: u32,
    credential: &Credential,
) -> Result<Vec<u8>, LoginError> {
    let message = Message::read(server).await?;
    match message.tag() {
        b'R' => match code(&message)? {
            (found, rest) if found == wanted => Ok(rest.to_vec()),
            _ => Err(nonsense()),
        },
        b'E' => Err(refused(message, credential)),
        _ => Err(nonsense()),
    }
}

/// What an error of the server means: its own words are the application's to read, but for those
/// about the password, which it does not have.
fn refused(message: Message, credential: &Credential) -> LoginError {
    let state = message.sqlstate().unwrap_or_default();
    if state == INVALID_PASSWORD {
        return LoginError::Refused;
    }
    if !credential.is_in(&message.whole) {
        return LoginError::Said(message.whole);
    }
    let state = state.iter().all(u8::is_ascii_alphanumeric).then_some(state);
    let state = state.and_then(|state| std::str::from_utf8(state).ok()).unwrap_or("08006");
    let text = "sidekey: the destination refused the session";
    LoginError::Said(fatal(state, text, "destination_refused"))
}

fn code(message: &Message) -> Result<(u32, &[u8]), LoginError> {
    let (code, rest) = message.body().split_first_chunk().ok_or_else(nonsense)?;
    Ok((u32::from_be_bytes(*code), rest))
}

/// `i=` of the server's first message.
fn iterations(challenge: &[u8]) -> Option<u32> {
    let mut parts = challenge.split(|byte| *byte == b',');
    let count = parts.find_map(|part| part.strip_prefix(b"i="))?;
    std::str::from_utf8(count).ok()?.parse().ok()
}

/// RFC 5929, 4.1: the certificate's hash, by the algorithm of its signature. `None` for one that
/// says nothing about a hash.
fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let algorithm = match parsed.signature_algorithm.algorithm.to_id_string().as_str() {
        // MD5 and SHA-1 count as SHA-256.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => &SHA256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => &SHA384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => &SHA512,
        _ => return None,
    };
    Some(digest(algorithm, certificate).as_ref().to_vec())
}

fn nonsense() -> LoginError {
    LoginError::Io(io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_wrong_password_is_the_credentials_fault() {
        let credential = Credential { user: "u".into(), password: Some("canary-p0".into()) };
        let say = |state: &str, text: &str| {
            refused(Message { whole: fatal(state, text, "") }, &credential)
        };
        assert!(matches!(say("28P01", "password authentication failed"), LoginError::Refused));
        let hba = fatal("28000", "no pg_hba.conf entry", "");
        assert!(
            matches!(say("28000", "no pg_hba.conf entry"), LoginError::Said(said) if said == hba)
        );
        let LoginError::Said(said) = say("28000", "not canary-p0!") else { panic!("passed on") };
        let said = Message { whole: said };
        assert_eq!(said.sqlstate(), Some(&b"28000"[..]));
        assert!(!credential.is_in(&said.whole));
    }

    #[test]
    fn iterations_are_found() {
        assert_eq!(iterations(b"r=abc,s=def,i=4096"), Some(4096));
        for none in [&b"r=abc,s=def"[..], b"i=", b"i=-1", b"i=99999999999"] {
            assert_eq!(iterations(none), None);
        }
    }

    #[test]
    fn the_end_point_follows_the_signature() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let made = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        assert_eq!(end_point(made.der()).unwrap().len(), 48);
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let made = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        assert_eq!(end_point(made.der()), None);
    }
}
