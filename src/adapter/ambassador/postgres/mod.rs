//! PostgreSQL: the application starts a session without a password, and gets one of the user
//! that the secret names, or the client certificate stands for.
//!
//! The first message is read strictly ([`startup`]), user and database are put in, the login is
//! done here ([`login`]), and from then on bytes are copied ([`relay`]) until a side ends or the
//! credential does ([`super::tenure`]).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postgres_protocol::message::frontend::ssl_request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::connect::{ConnectError, Outbound, Unreached};
use super::tenure::Tenure;
use super::{Station, Use, identity};
use crate::cache::Served;
use crate::config::{AmbassadorProtocol, PostgresUser, SecretName};
use crate::lease::now;
use crate::memory::{InSecretMemory, scrubbed};
use crate::secret::Etag;
use crate::server::{Peer, Stream};

mod frames;
mod login;
mod message;
mod refusal;
mod relay;
mod startup;

use login::{Credential, LoginError, login};
use refusal::Refusal;
use relay::{End, relay};
use startup::{BadStartup, First, Startup};

/// `SSLRequest` and `GSSENCRequest`, each of which is answered once.
const MOST_OFFERS: usize = 2;
/// For the start of a session that is refused anyway. Not at once: clients show no error that
/// comes in answer to their `SSLRequest`.
const STRANGERS: Duration = Duration::from_millis(500);
/// Between two reads after a refusal: with a dynamic engine each makes a lease, and replaces the
/// credential of all sessions.
const READ_PAUSE: Duration = Duration::from_secs(5);

/// One PostgreSQL ambassador.
pub(super) struct Postgres {
    pub(super) station: Arc<Station>,
    /// When a refusal last had the secret read again.
    read_again: Mutex<Option<Instant>>,
}

/// A session at the server, ready to be used.
struct Session {
    server: Outbound,
    /// What the server said on the side during the login.
    aside: Vec<u8>,
    tenure: Tenure,
    /// The secret that it was started with.
    served: Option<Served>,
}

impl Postgres {
    pub(super) fn new(station: Arc<Station>) -> Self {
        Self { station, read_again: Mutex::new(None) }
    }

    /// Serves one connection to its end.
    pub(super) async fn serve(&self, mut stream: Stream, peer: Peer, stop: CancellationToken) {
        let mut used =
            Use { action: "session", peer: &peer, caller: None, outcome: "ok", served: None };
        let caller = self.station.identify(&peer, None);
        let patience = match &caller {
            Ok(_) => self.station.shared.policy.load().limits().header_timeout,
            Err(_) => STRANGERS,
        };
        let first = tokio::select! {
            first = timeout(patience, receive(&mut stream)) => first,
            () = stop.cancelled() => return,
        };
        // Who says nothing, or goes away, wants nothing.
        let first = match (first, &caller) {
            (Ok(Ok(first)), _) => first,
            (Err(_), Err(_)) => Err(BadStartup::Malformed),
            (Err(_), Ok(_)) => return self.station.numbers.count("idle_timeout"),
            (Ok(Err(error)), _) => return self.station.numbers.count(before_start(&error)),
        };
        let started = match (caller, first) {
            (Err(denied), _) => Err(denied.into()),
            (Ok(caller), Ok(First::Startup(startup))) => {
                used.caller = Some(&caller);
                let started = self.start(&startup, &stop).await;
                return self.run(stream, started, used).await;
            }
            (Ok(_), Ok(First::Cancel(request))) => return self.cancel(&request).await,
            // Asked for again after it was declined.
            (Ok(_), Ok(First::Ssl | First::Gss)) => Err(Refusal::Malformed),
            (Ok(_), Err(bad)) => Err(bad.into()),
        };
        self.run(stream, started, used).await;
    }

    async fn run(&self, mut stream: Stream, started: Result<Session, Refusal>, mut used: Use<'_>) {
        let session = match started {
            Ok(session) => session,
            Err(refusal) => {
                used.outcome = refusal.code();
                self.station.note(&used);
                let _ = stream.write_all(&refusal.message()).await;
                let _ = stream.shutdown().await;
                return;
            }
        };
        let Session { server, aside, mut tenure, served } = session;
        used.served = served.as_ref();
        self.station.note(&used);
        drop(served);
        let ready = [&aside[..], &message::AUTHENTICATED].concat();
        let end = match stream.write_all(&ready).await {
            Ok(()) => relay(stream, server, &mut tenure).await,
            Err(_) => End::Broken,
        };
        self.station.numbers.count(end.word());
    }

    /// A session with the credential of now. One whose password the server refuses may just have
    /// been replaced behind our back: then it is tried once more with another one.
    async fn start(&self, startup: &Startup, stop: &CancellationToken) -> Result<Session, Refusal> {
        let Some(name) = self.station.spec.secret() else {
            return self.start_with(None, startup, stop).await;
        };
        let served = self.station.secret(name).await.ok_or(Refusal::CredentialUnavailable)?;
        let etag = *served.secret.etag();
        match self.start_with(Some(served), startup, stop).await {
            Err(Refusal::CredentialRefused) => {
                let other = self.other_than(&etag, name).await;
                let other = other.ok_or(Refusal::CredentialRefused)?;
                self.start_with(Some(other), startup, stop).await
            }
            // Its user may have gone with its lease while it logged in.
            Err(Refusal::Said(said)) => match self.replaced_by(&etag, name) {
                Some(other) => self.start_with(Some(other), startup, stop).await,
                None => Err(Refusal::Said(said)),
            },
            outcome => outcome,
        }
    }

    /// What is there in the place of `former` by now.
    fn replaced_by(&self, former: &Etag, name: &SecretName) -> Option<Served> {
        let now = self.station.shared.cache.cached(name, None).and_then(Result::ok);
        now.filter(|served| served.secret.etag() != former)
    }

    /// Another secret than the one that was `refused`, read now if it has to be. Sessions that
    /// were refused at once wait for one read.
    async fn other_than(&self, refused: &Etag, name: &SecretName) -> Option<Served> {
        let cache = &self.station.shared.cache;
        let mut last = self.read_again.lock().await;
        let now = self.replaced_by(refused, name);
        if now.is_some() || last.is_some_and(|last| last.elapsed() < READ_PAUSE) {
            return now;
        }
        let read = cache.refresh(name).await;
        *last = Some(Instant::now());
        read.ok().filter(|served| served.secret.etag() != refused)
    }

    async fn start_with(
        &self,
        served: Option<Served>,
        startup: &Startup,
        stop: &CancellationToken,
    ) -> Result<Session, Refusal> {
        let certificate = self.station.certificate().await;
        let certificate = certificate.map_err(|error| Refusal::from(&error))?;
        // What they have left counts from here, not from the end of the login.
        let since = now();
        let credential = self.credential(served.as_ref()).ok_or(Refusal::CredentialUnusable)?;
        let database = self.database(startup).ok_or(Refusal::NoDatabase)?;
        let message = startup.encode(&credential.user, database).ok_or(Refusal::Malformed)?;
        let mut outbound = self.connect(certificate.as_ref()).await.map_err(|error| {
            self.station.reached(Err(&error));
            Refusal::from(&error)
        })?;
        let patience = self.station.spec.response_timeout;
        // What SCRAM computes with outlives its steps: a server may take its time in between.
        let login = InSecretMemory::with_itself(login(&mut outbound, &message, &credential));
        let entered = timeout(patience, scrubbed(login)).await;
        let aside = match entered {
            Ok(Ok(aside)) => aside,
            Ok(Err(error)) => {
                // What the server says to this application is no news of the destination.
                if !matches!(error, LoginError::Said(_)) {
                    self.station.reached(Err(&error));
                }
                return Err(error.into());
            }
            Err(_) => {
                self.station.reached(Err(&ConnectError::Timeout(patience)));
                return Err(Refusal::Unreached(Unreached::Timeout));
            }
        };
        self.station.reached(Ok(()));
        let tenure = Tenure::new(Arc::clone(&self.station), stop.clone());
        let mut tenure = tenure.with_certificate(certificate.as_ref(), since);
        if let (Some(served), Some(PostgresUser::OfSecret { user_field, .. })) =
            (&served, self.user())
        {
            tenure = tenure.with_secret((served, since), user_field, &credential.user);
        }
        Ok(Session { server: outbound, aside, tenure, served })
    }

    fn user(&self) -> Option<&PostgresUser> {
        match &self.station.spec.protocol {
            AmbassadorProtocol::Postgres { user, .. } => Some(user),
            _ => None,
        }
    }

    fn credential(&self, served: Option<&Served>) -> Option<Credential> {
        let field = |name: &str| {
            let (value, _) = served?.secret.field(name)?;
            let trimmed: Bytes = value.slice_ref(value.trim_ascii());
            (!trimmed.is_empty() && !trimmed.contains(&0)).then_some(trimmed)
        };
        match self.user()? {
            PostgresUser::OfSecret { user_field, password_field, .. } => Some(Credential {
                user: field(user_field)?,
                password: Some(field(password_field)?),
            }),
            PostgresUser::Certified(user) => {
                let user = Bytes::copy_from_slice(user.as_bytes());
                Some(Credential { user, password: None })
            }
        }
    }

    /// What the application names; else what the configuration does; else what a client without
    /// a database means.
    fn database<'a>(&'a self, startup: &'a Startup) -> Option<&'a [u8]> {
        let AmbassadorProtocol::Postgres { database, .. } = &self.station.spec.protocol else {
            return None;
        };
        let configured = database.as_ref().filter(|_| !startup.names_database());
        configured.map(|name| name.as_bytes()).or_else(|| startup.database())
    }

    /// A connection on which a session can be started.
    async fn connect(&self, certificate: Option<&Served>) -> Result<Outbound, ConnectError> {
        let identity = identity(certificate)?;
        let connector = &self.station.connector;
        connector
            .within(async {
                let mut stream = connector.tcp().await?;
                if connector.has_tls() {
                    let mut request = bytes::BytesMut::new();
                    ssl_request(&mut request);
                    stream.write_all(&request).await.map_err(ConnectError::Connect)?;
                    // One byte and no more: what came with it would not be encrypted.
                    match stream.read_u8().await.map_err(ConnectError::Connect)? {
                        b'S' => {}
                        b'N' => return Err(ConnectError::NoTls),
                        _ => return Err(ConnectError::Tls(io::ErrorKind::InvalidData.into())),
                    }
                }
                connector.secure(stream, identity).await
            })
            .await
    }

    /// Passes on the wish to end a query. The server's key for it is the application's.
    async fn cancel(&self, request: &[u8]) {
        self.station.numbers.count("cancel");
        let Ok(certificate) = self.station.certificate().await else { return };
        let Ok(mut server) = self.connect(certificate.as_ref()).await else { return };
        let patience = self.station.spec.response_timeout;
        let passed = async {
            server.write_all(request).await?;
            server.flush().await?;
            // It closes once it is done.
            server.read(&mut [0; 1]).await
        };
        let _ = timeout(patience, passed).await;
    }
}

/// How a connection ended that no session was asked for on: probes of a port do so in order.
fn before_start(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => End::Closed.word(),
        _ => End::Broken.word(),
    }
}

/// The message that a client begins with; encryption, which loopback does not need, is declined.
async fn receive(stream: &mut Stream) -> io::Result<Result<First, BadStartup>> {
    for offer in 0..=MOST_OFFERS {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await?;
        let length = match startup::length(head) {
            Ok(length) => length,
            Err(bad) => return Ok(Err(bad)),
        };
        let mut message = vec![0; length];
        stream.read_exact(&mut message).await?;
        match startup::parse(&message) {
            Ok(First::Ssl | First::Gss) if offer < MOST_OFFERS => stream.write_all(b"N").await?,
            first => return Ok(first),
        }
    }
    Ok(Err(BadStartup::Malformed))
}

/// Everything that is read from an application before it is known what it wants, and what is
/// watched after: for the fuzz target.
#[doc(hidden)]
pub fn parse_client(bytes: &[u8]) {
    if let Ok(First::Startup(startup)) = startup::parse(bytes)
        && let Some(encoded) = startup.encode(b"user", b"database")
        && let Some((_, rest)) = encoded.split_first_chunk::<4>()
    {
        assert!(matches!(startup::parse(rest), Ok(First::Startup(_))));
    }
    let (mut whole, mut pieces) = (frames::Frames::default(), frames::Frames::default());
    let (mut one, mut other) = (Vec::new(), Vec::new());
    let passed = whole.pass(bytes, |tag, first| one.push((tag, first)));
    let in_pieces = bytes
        .chunks(3)
        .try_for_each(|piece| pieces.pass(piece, |tag, first| other.push((tag, first))));
    assert_eq!((passed, one), (in_pieces, other));
}
