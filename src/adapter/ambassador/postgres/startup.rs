//! The first message of a PostgreSQL connection, which has no type, only a length:
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

/// As in PostgreSQL itself.
const LONGEST: usize = 10_000;
/// A key of protocol 3.2 has up to 256 bytes.
const LONGEST_CANCEL: usize = 12 + 256;

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// What a client begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum First {
    /// Asks for TLS.
    Ssl,
    /// Asks for GSSAPI encryption.
    Gss,
    /// Asks for the end of a query on another connection. The message as it came.
    Cancel(Vec<u8>),
    /// Begins a session.
    Startup(Startup),
}

/// Name and value.
type Parameter = (Vec<u8>, Vec<u8>);

/// The beginning of a session.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Startup {
    /// Protocol 3, with the minor version that the client speaks.
    minor: u16,
    /// Names and values, in order; no name twice.
    parameters: Vec<Parameter>,
}

/// Why it cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadStartup {
    /// Not a message of the protocol.
    Malformed,
    /// A protocol other than 3.
    Version,
}

/// How much follows the four bytes of the length.
pub(super) fn length(head: [u8; 4]) -> Result<usize, BadStartup> {
    let total = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if (8..=LONGEST).contains(&total) { Ok(total - 4) } else { Err(BadStartup::Malformed) }
}

/// What follows the length.
pub(super) fn parse(message: &[u8]) -> Result<First, BadStartup> {
    let (code, rest) = message.split_first_chunk().ok_or(BadStartup::Malformed)?;
    match u32::from_be_bytes(*code) {
        SSL_REQUEST if rest.is_empty() => Ok(First::Ssl),
        GSS_REQUEST if rest.is_empty() => Ok(First::Gss),
        CANCEL_REQUEST if (8..=LONGEST_CANCEL).contains(&rest.len()) => {
            let total = u32::try_from(message.len() + 4).map_err(|_| BadStartup::Malformed)?;
            Ok(First::Cancel([&total.to_be_bytes()[..], message].concat()))
        }
        SSL_REQUEST | GSS_REQUEST | CANCEL_REQUEST => Err(BadStartup::Malformed),
        version if version >> 16 == 3 => {
            let minor = u16::try_from(version & 0xffff).unwrap_or_default();
            Ok(First::Startup(Startup { minor, parameters: parameters(rest)? }))
        }
        _ => Err(BadStartup::Version),
    }
}

/// Pairs of strings that end with a NUL each, and an empty name at the very end.
fn parameters(mut rest: &[u8]) -> Result<Vec<Parameter>, BadStartup> {
    let mut parameters: Vec<Parameter> = Vec::new();
    loop {
        let name = string(&mut rest)?;
        if name.is_empty() {
            return if rest.is_empty() { Ok(parameters) } else { Err(BadStartup::Malformed) };
        }
        let value = string(&mut rest)?;
        // Which of two counts, is not ours to guess.
        if parameters.iter().any(|(other, _)| other == name) {
            return Err(BadStartup::Malformed);
        }
        parameters.push((name.to_vec(), value.to_vec()));
    }
}

fn string<'m>(rest: &mut &'m [u8]) -> Result<&'m [u8], BadStartup> {
    let end = rest.iter().position(|byte| *byte == 0).ok_or(BadStartup::Malformed)?;
    let (string, after) = rest.split_at_checked(end).ok_or(BadStartup::Malformed)?;
    *rest = after.get(1..).unwrap_or_default();
    Ok(string)
}

impl Startup {
    /// The database that it is about. A client that names none means the one of its user's name.
    pub(super) fn database(&self) -> Option<&[u8]> {
        let value = |wanted: &[u8]| {
            let found = self.parameters.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| &**value).filter(|value| !value.is_empty())
        };
        value(b"database").or_else(|| value(b"user"))
    }

    /// Whether it names the database itself.
    pub(super) fn names_database(&self) -> bool {
        self.parameters.iter().any(|(name, value)| name == b"database" && !value.is_empty())
    }

    /// The message for the destination: everything as it was but for user and database.
    /// `None` when it would be too long, or a name has a NUL byte.
    pub(super) fn encode(&self, user: &[u8], database: &[u8]) -> Option<Vec<u8>> {
        if user.contains(&0) || database.contains(&0) {
            return None;
        }
        let mut message = vec![0; 4];
        message.extend((3 << 16 | u32::from(self.minor)).to_be_bytes());
        let own: [(&[u8], &[u8]); 2] = [(b"user", user), (b"database", database)];
        let theirs = self.parameters.iter().map(|(name, value)| (&**name, &**value));
        let theirs = theirs.filter(|(name, _)| *name != b"user" && *name != b"database");
        for (name, value) in own.into_iter().chain(theirs) {
            message.extend([name, b"\0", value, b"\0"].concat());
        }
        message.push(0);
        let total = u32::try_from(message.len()).ok().filter(|_| message.len() <= LONGEST)?;
        message.get_mut(..4)?.copy_from_slice(&total.to_be_bytes());
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn startup(parameters: &[u8]) -> Vec<u8> {
        [&[0, 3, 0, 0][..], parameters].concat()
    }

    fn parsed(message: &[u8]) -> Startup {
        let Ok(First::Startup(startup)) = parse(message) else { panic!("{:?}", parse(message)) };
        startup
    }

    #[test]
    fn user_and_database_are_replaced_and_nothing_else() {
        let message = startup(b"user\0me\0database\0app\0application_name\0psql\0\0");
        let parsed = parsed(&message);
        assert_eq!(parsed.database(), Some(&b"app"[..]));
        let encoded = parsed.encode(b"v-token-1", b"app").unwrap();
        let (length_bytes, rest) = encoded.split_first_chunk().unwrap();
        assert_eq!(length(*length_bytes), Ok(rest.len()));
        assert_eq!(rest, startup(b"user\0v-token-1\0database\0app\0application_name\0psql\0\0"));
    }

    #[test]
    fn a_client_without_a_database_means_that_of_its_user() {
        let without = parsed(&startup(b"user\0me\0\0"));
        assert_eq!((without.database(), without.names_database()), (Some(&b"me"[..]), false));
        assert_eq!(parsed(&startup(b"\0")).database(), None);
    }

    #[test]
    fn what_is_no_startup() {
        for malformed in [
            &b"user\0me\0"[..],
            b"user\0me",
            b"user",
            b"user\0me\0\0x",
            b"user\0me\0user\0root\0\0",
            b"",
        ] {
            assert_eq!(parse(&startup(malformed)), Err(BadStartup::Malformed), "{malformed:?}");
        }
        assert_eq!(parse(&[0, 2, 0, 0, 0]), Err(BadStartup::Version));
        assert_eq!(parse(&[0, 3]), Err(BadStartup::Malformed));
        for total in [0, 7, 10_001, u32::MAX] {
            assert_eq!(length(total.to_be_bytes()), Err(BadStartup::Malformed), "{total}");
        }
        let user = parsed(&startup(b"user\0me\0\0"));
        assert_eq!(user.encode(b"a\0user\0postgres", b"d"), None);
        assert_eq!(user.encode(&[b'x'; 10_000], b"d"), None);
    }

    #[test]
    fn requests_without_a_session() {
        assert_eq!(parse(&SSL_REQUEST.to_be_bytes()), Ok(First::Ssl));
        assert_eq!(parse(&GSS_REQUEST.to_be_bytes()), Ok(First::Gss));
        let cancel = [&CANCEL_REQUEST.to_be_bytes()[..], &[7; 8]].concat();
        let Ok(First::Cancel(whole)) = parse(&cancel) else { panic!("no cancel") };
        assert_eq!(whole, [&16_u32.to_be_bytes()[..], &cancel].concat());
        assert_eq!(parse(&cancel[..8]), Err(BadStartup::Malformed));
    }

    proptest! {
        #[test]
        fn never_panics_and_keeps_what_it_keeps(message: Vec<u8>) {
            if let Ok(First::Startup(startup)) = parse(&message)
                && let Some(encoded) = startup.encode(b"user", b"database")
            {
                let Ok(First::Startup(again)) = parse(&encoded[4..]) else { panic!("not read back") };
                let theirs = |startup: &Startup| {
                    let own = |name: &[u8]| name == b"user" || name == b"database";
                    let all = startup.parameters.iter().filter(|(name, _)| !own(name));
                    all.cloned().collect::<Vec<_>>()
                };
                assert_eq!(theirs(&startup), theirs(&again));
            }
        }
    }
}
