//! X25519MLKEM768: X25519 and ML-KEM-768 (FIPS 203) at once, so that both would have to be broken.
//! <https://datatracker.ietf.org/doc/html/draft-ietf-tls-ecdhe-mlkem>

use ml_kem::{Decapsulate as _, DecapsulationKey, Encapsulate as _, Generate as _, Kem, KeyExport};
use ml_kem::{EncapsulationKey, MlKem768};
use rustls::crypto::ring::kx_group::X25519;
use rustls::crypto::{
    ActiveKeyExchange, CompletedKeyExchange, GetRandomFailed, SharedSecret, SupportedKxGroup,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};
use zeroize::Zeroizing;

/// The group, for the list of a provider.
pub(super) const X25519_ML_KEM_768: &dyn SupportedKxGroup = &Hybrid;

/// The length of an X25519 share, and of the secret of either half.
const HALF: usize = 32;

/// What a peer sends that is no share of this group.
const INVALID: Error = Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);

#[derive(Debug)]
struct Hybrid;

impl SupportedKxGroup for Hybrid {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let classical = X25519.start()?;
        let post_quantum = Box::new(DecapsulationKey::try_generate().map_err(|_| GetRandomFailed)?);
        let ours = post_quantum.encapsulation_key().to_bytes();
        let share = [ours.as_slice(), classical.pub_key()].concat();
        Ok(Box::new(Started { classical, post_quantum, share }))
    }

    fn start_and_complete(&self, theirs: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let (theirs, classical) = split(theirs)?;
        let theirs = theirs.try_into().map_err(|_| INVALID)?;
        let theirs = EncapsulationKey::<MlKem768>::new(theirs).map_err(|_| INVALID)?;
        let classical = X25519.start_and_complete(classical)?;
        let (ours, secret) = theirs.encapsulate();
        let secret = Zeroizing::new(<[u8; HALF]>::from(secret));
        Ok(CompletedKeyExchange {
            group: self.name(),
            pub_key: [ours.as_slice(), &classical.pub_key].concat(),
            secret: both(&secret, &classical.secret),
        })
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

/// A client's key exchange under way. The keys are wiped with it.
struct Started {
    classical: Box<dyn ActiveKeyExchange>,
    post_quantum: Box<<MlKem768 as Kem>::DecapsulationKey>,
    share: Vec<u8>,
}

impl ActiveKeyExchange for Started {
    fn complete(self: Box<Self>, theirs: &[u8]) -> Result<SharedSecret, Error> {
        let (theirs, classical) = split(theirs)?;
        let secret = self.post_quantum.decapsulate_slice(theirs).map_err(|_| INVALID)?;
        let secret = Zeroizing::new(<[u8; HALF]>::from(secret));
        Ok(both(&secret, &self.classical.complete(classical)?))
    }

    /// So that a server without ML-KEM can take the X25519 half at once.
    fn hybrid_component(&self) -> Option<(NamedGroup, &[u8])> {
        Some((self.classical.group(), self.classical.pub_key()))
    }

    fn complete_hybrid_component(self: Box<Self>, theirs: &[u8]) -> Result<SharedSecret, Error> {
        self.classical.complete(theirs)
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }
}

/// A peer's share: that of ML-KEM, whose length its reader checks, and that of X25519.
fn split(share: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    share.split_at_checked(share.len().saturating_sub(HALF)).ok_or(INVALID)
}

fn both(post_quantum: &[u8; HALF], classical: &SharedSecret) -> SharedSecret {
    [post_quantum, classical.secret_bytes()].concat().into()
}
