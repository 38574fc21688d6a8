//! What can be asked for: one table of methods, paths and actions.

use http::Method;

use super::target::Target;
use crate::config::NameKind;

/// What an admitted request wants. One handler each, in `secret.rs` and
/// `certificate.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Names, without values.
    List,
    /// All fields.
    Secret,
    /// One bare value.
    Field,
    /// All fields, as the SDKs of AWS want them.
    AwsCredentials,
    /// Read again from Vault.
    Refresh,
    /// Names of certificates.
    ListCertificates,
    /// A whole issuance, as JSON.
    Certificate,
    /// One form of it.
    Form,
    /// Issue another one.
    Reissue,
    /// A stream of rotations.
    Events,
}

impl Action {
    /// For the audit log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::List | Self::ListCertificates => "list",
            Self::Secret | Self::Field | Self::AwsCredentials | Self::Certificate | Self::Form => {
                "read"
            }
            Self::Refresh | Self::Reissue => "refresh",
            Self::Events => "events",
        }
    }

    /// What the name that it is about must stand for; `None` when it is about no single name.
    pub(super) fn names(self) -> Option<NameKind> {
        match self {
            Self::Secret | Self::Field | Self::AwsCredentials | Self::Refresh => {
                Some(NameKind::Secret)
            }
            Self::Certificate | Self::Form | Self::Reissue => Some(NameKind::Certificate),
            Self::List | Self::ListCertificates | Self::Events => None,
        }
    }

    /// Whether the segment after the name is a part of what the name stands for.
    pub(super) fn has_field(self) -> bool {
        matches!(self, Self::Field | Self::Form)
    }
}

#[derive(Clone, Copy)]
enum Segment {
    Is(&'static str),
    Name,
    Field,
}

struct Route {
    methods: &'static [Method],
    path: &'static [Segment],
    action: Action,
}

const READ: &[Method] = &[Method::GET, Method::HEAD];

const ROUTES: [Route; 10] = {
    use Segment::{Field, Is, Name};
    [
        Route { methods: READ, path: &[Is("secrets")], action: Action::List },
        Route { methods: &[Method::GET], path: &[Is("events")], action: Action::Events },
        Route { methods: READ, path: &[Is("secrets"), Name], action: Action::Secret },
        Route { methods: READ, path: &[Is("secrets"), Name, Field], action: Action::Field },
        Route {
            methods: &[Method::POST],
            path: &[Is("secrets"), Name, Is("refresh")],
            action: Action::Refresh,
        },
        Route { methods: READ, path: &[Is("aws"), Name], action: Action::AwsCredentials },
        Route { methods: READ, path: &[Is("certificates")], action: Action::ListCertificates },
        Route { methods: READ, path: &[Is("certificates"), Name], action: Action::Certificate },
        Route { methods: READ, path: &[Is("certificates"), Name, Field], action: Action::Form },
        Route {
            methods: &[Method::POST],
            path: &[Is("certificates"), Name, Is("refresh")],
            action: Action::Reissue,
        },
    ]
};

/// What the table says to a method and a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Go ahead.
    Action(Action),
    /// The path is there, for other methods: those of the `Allow` header.
    OtherMethods(&'static str),
    /// No route has this path.
    Nothing,
}

/// Looks the table up.
pub(super) fn find(method: &Method, target: &Target<'_>) -> Found {
    let [mut gets, mut heads, mut posts] = [false; 3];
    for route in ROUTES.iter().filter(|route| matches(route.path, target)) {
        if route.methods.contains(method) {
            return Found::Action(route.action);
        }
        gets |= route.methods.contains(&Method::GET);
        heads |= route.methods.contains(&Method::HEAD);
        posts |= route.methods.contains(&Method::POST);
    }
    match (gets, heads, posts) {
        (_, true, true) => Found::OtherMethods("GET, HEAD, POST"),
        (_, true, false) => Found::OtherMethods("GET, HEAD"),
        (true, false, _) => Found::OtherMethods("GET"),
        (false, false, true) => Found::OtherMethods("POST"),
        (false, false, false) => Found::Nothing,
    }
}

fn matches(path: &[Segment], target: &Target<'_>) -> bool {
    let Some(segments) = target.segments() else { return false };
    path.len() == segments.len()
        && path.iter().zip(segments).all(|(wanted, segment)| match wanted {
            Segment::Is(word) => segment == word,
            Segment::Name | Segment::Field => true,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: Method, path: &str) -> Found {
        find(&method, &Target::parse(path, None).unwrap())
    }

    #[test]
    fn each_route_is_found_by_its_methods() {
        assert_eq!(found(Method::GET, "/secrets"), Found::Action(Action::List));
        assert_eq!(found(Method::HEAD, "/secrets/db"), Found::Action(Action::Secret));
        assert_eq!(found(Method::GET, "/secrets/db/a%2Fb"), Found::Action(Action::Field));
        assert_eq!(found(Method::GET, "/secrets/db/refresh"), Found::Action(Action::Field));
        assert_eq!(found(Method::POST, "/secrets/db/refresh"), Found::Action(Action::Refresh));
        let list = Found::Action(Action::ListCertificates);
        assert_eq!(found(Method::GET, "/certificates"), list);
        assert_eq!(found(Method::GET, "/certificates/a"), Found::Action(Action::Certificate));
        assert_eq!(found(Method::GET, "/certificates/a/key.pem"), Found::Action(Action::Form));
        assert_eq!(found(Method::GET, "/aws/a"), Found::Action(Action::AwsCredentials));
        let reissue = Found::Action(Action::Reissue);
        assert_eq!(found(Method::POST, "/certificates/a/refresh"), reissue);
    }

    #[test]
    fn other_methods_are_named() {
        assert_eq!(found(Method::POST, "/secrets"), Found::OtherMethods("GET, HEAD"));
        assert_eq!(found(Method::PUT, "/secrets/db/x"), Found::OtherMethods("GET, HEAD"));
        assert_eq!(found(Method::HEAD, "/events"), Found::OtherMethods("GET"));
        let refresh = found(Method::DELETE, "/secrets/db/refresh");
        assert_eq!(refresh, Found::OtherMethods("GET, HEAD, POST"));
    }

    #[test]
    fn odd_paths_match_nothing() {
        for path in [
            "/",
            "//",
            "/secret",
            "/secrets/",
            "//secrets",
            "/secrets//db",
            "/secrets/db/",
            "/secrets/..",
            "/secrets/%2e%2e/x",
            "/secrets/db/..",
            "/secrets/db/.",
            "/Secrets/db",
            "/secrets/db/a/b",
            "/secrets/../secrets/db",
            "/secrets/db;x/../y",
        ] {
            assert_eq!(found(Method::GET, path), Found::Nothing, "{path}");
        }
    }
}
