//! SPIFFE IDs: <https://spiffe.io/docs/latest/spiffe-specs/spiffe-id/>.

const LONGEST: usize = 2048;

/// `spiffe://TRUST-DOMAIN/PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeId {
    trust_domain: Box<str>,
    segments: Vec<Box<str>>,
}

impl SpiffeId {
    /// `None` for what breaks the specification: capitals in the trust domain, ports, queries,
    /// percent-encoding, empty or dot segments, a slash at the end.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("spiffe://").filter(|_| text.len() <= LONGEST)?;
        let (trust_domain, path) = match rest.split_once('/') {
            Some((trust_domain, path)) => (trust_domain, Some(path)),
            None => (rest, None),
        };
        let of_domain =
            |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'-' | b'_');
        if trust_domain.is_empty() || !trust_domain.bytes().all(of_domain) {
            return None;
        }
        let segments: Option<Vec<_>> = path
            .into_iter()
            .flat_map(|path| path.split('/'))
            .map(|segment| is_segment(segment).then(|| segment.into()))
            .collect();
        Some(Self { trust_domain: trust_domain.into(), segments: segments? })
    }
}

fn is_segment(segment: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
    !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed)
}

/// An ID as it is, or with `/*` at the end for all that lie below it, by whole segments:
/// `spiffe://example.org/ns/shop/*`, `spiffe://example.org/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffePattern {
    id: SpiffeId,
    below: bool,
}

impl SpiffePattern {
    /// `None` for what is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, below) = match text.strip_suffix("/*") {
            Some(id) => (id, true),
            None => (text, false),
        };
        Some(Self { id: SpiffeId::parse(id)?, below })
    }

    /// Whether `id` is meant.
    pub fn admits(&self, id: &SpiffeId) -> bool {
        let same_domain = id.trust_domain == self.id.trust_domain;
        let wanted = &self.id.segments;
        same_domain
            && if self.below {
                id.segments.len() > wanted.len() && id.segments.starts_with(wanted)
            } else {
                id.segments == *wanted
            }
    }
}
