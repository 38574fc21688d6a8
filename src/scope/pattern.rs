//! Paths as a configuration writes them: decoded, with `*` for what may vary.

/// `/health`, `/users/*/profile` or `/api/*`. A `*` is one whole segment; the last segment
/// `*` is one or more, so that `/api/*` admits what lies below `/api/`, and neither `/api` nor
/// `/api/`. Case counts, and so does a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    segments: Box<[Segment]>,
    /// Whether more segments may follow.
    open: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    Any,
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// It does not start with a slash.
    #[error("expected a path that starts with `/`")]
    NotAPath,
    /// A `*` beside other characters.
    #[error("`*` stands for a whole segment")]
    Wildcard,
    /// A path that is refused whatever the rules say.
    #[error("no request with such a path is let through")]
    Refused,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`BadPattern`].
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let rest = text.strip_prefix('/').ok_or(BadPattern::NotAPath)?;
        if text.contains(['%', '\\', ';', '?', '#']) || text.contains(char::is_control) {
            return Err(BadPattern::Refused);
        }
        let mut segments = Vec::new();
        let last = rest.split('/').count() - 1;
        for (at, segment) in rest.split('/').enumerate() {
            segments.push(match segment {
                "*" => Segment::Any,
                "." | ".." => return Err(BadPattern::Refused),
                "" if at != last => return Err(BadPattern::Refused),
                other if other.contains('*') => return Err(BadPattern::Wildcard),
                other => Segment::Literal(other.into()),
            });
        }
        let open = segments.last() == Some(&Segment::Any);
        Ok(Self { segments: segments.into(), open })
    }

    /// Whether it admits a path that was read by `Target::read`.
    pub(super) fn admits(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix('/') else { return false };
        let mut found = rest.split('/');
        let fits = |segment: &Segment| match (segment, found.next()) {
            (Segment::Literal(wanted), Some(segment)) => **wanted == *segment,
            (Segment::Any, Some(segment)) => !segment.is_empty(),
            (_, None) => false,
        };
        self.segments.iter().all(fits) && (self.open || found.next().is_none())
    }
}
