//! What no request of an application looks like.

use super::super::head::Single;
use super::{Candidate, Denied};

/// Target and head are of a sensible size.
pub(super) fn sizes(candidate: &mut Candidate<'_>) -> Result<(), Denied> {
    candidate.head.fits()
}

/// No proxy was passed: an application tricked into fetching a URL (SSRF) often adds these.
pub(super) fn forwarded(candidate: &mut Candidate<'_>) -> Result<(), Denied> {
    if candidate.head.forwarded { Err(Denied::Forwarded) } else { Ok(()) }
}

/// No web page asks: browsers say so in headers that pages cannot leave out.
pub(super) fn cross_site(candidate: &mut Candidate<'_>) -> Result<(), Denied> {
    let from_page = match candidate.head.fetch_site {
        Single::None => false,
        Single::One(site) => site != "none",
        Single::Repeated => true,
    };
    if candidate.head.origin || from_page { Err(Denied::CrossSite) } else { Ok(()) }
}

/// There is no body.
pub(super) fn body(candidate: &mut Candidate<'_>) -> Result<(), Denied> {
    candidate.head.has_no_body()
}
