//! `[certificates.NAME]`: what is read, and each mistake.

use std::time::Duration;

use super::*;
use crate::config::{KeyOrigin, KeyType};

const WEB: &str = "[certificates.web]\nrole = 'web'\ncommon_name = 'a.example.io'\n";

#[test]
fn little_is_needed() {
    let config = config(&format!("{WEB}{REST}"));
    let web = &config.certificates["web"];
    assert_eq!((web.mount.as_str(), &*web.role, &*web.common_name), ("pki", "web", "a.example.io"));
    assert_eq!((web.ttl, web.key), (None, KeyOrigin::Auto(KeyType::P256)));
    assert_eq!((web.renew_at_percent, web.required, web.revoke), (67, true, true));
    assert_eq!(web.revoke_replaced_after, None);
    assert!(web.alt_names.is_empty() && web.ip_sans.is_empty() && web.uri_sans.is_empty());
}

#[test]
fn everything_is_read_with_placeholders() {
    let text = format!(
        "[identity]\napp = 'timeline'\nstage = 'test'\n\
         [certificates.web]\nmount = 'pki-{{stage}}'\nrole = '{{app}}'\n\
         common_name = '{{app}}.{{stage}}.example.io'\nalt_names = ['*.{{app}}.example.io', 'x']\n\
         ip_sans = '::1'\nuri_sans = ['spiffe://example.io/{{app}}']\nttl = '1h'\n\
         key = 'local'\nkey_bits = 384\nrenew_at_percent = 50\nrequired = false\n\
         revoke_replaced_after = '10m'\n{REST}"
    );
    let config = config(&text);
    let web = &config.certificates["web"];
    assert_eq!((web.mount.as_str(), &*web.role), ("pki-test", "timeline"));
    assert_eq!(web.common_name, "timeline.test.example.io");
    assert_eq!(web.alt_names, ["*.timeline.example.io", "x"]);
    assert_eq!(web.ip_sans, ["::1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(web.uri_sans, ["spiffe://example.io/timeline"]);
    assert_eq!(
        (web.ttl, web.key),
        (Some(Duration::from_hours(1)), KeyOrigin::Local(KeyType::P384))
    );
    assert_eq!((web.renew_at_percent, web.required), (50, false));
    assert_eq!(web.revoke_replaced_after, Some(Duration::from_mins(10)));
    let names = ["timeline.test.example.io", "*.timeline.example.io", "x"];
    assert!(web.host_names().eq(names));
}

#[test]
fn a_certificate_alone_is_a_configuration_and_callers_may_name_it() {
    let rule = "[[callers]]\nname = 'app'\nuid = 1\nallow = ['web']\n";
    let config = config(&format!("{WEB}{rule}"));
    assert!(config.secrets.is_empty() && config.callers[0].allow.permits("web"));
}

#[test]
fn each_mistake_is_named() {
    for (text, expected) in [
        (
            "[certificates.web]\n",
            "1: certificates.web.role: is missing\n  hint: the role of the PKI mount that issues \
             it\nsidekey.toml:1: certificates.web.common_name: is missing\n  hint: whom it is \
             for, such as {app}.example.io",
        ),
        (
            "[certificates]\nweb = 1\n",
            "2: certificates.web: expected a table, found an integer\n  hint: write \
             [certificates.web] above its keys",
        ),
        (
            "[certificates.db]\nrole = 'web'\ncommon_name = 'a.example.io'\n",
            "1: certificates.db: a secret has this name too\n  hint: callers' rules name secrets \
             and certificates alike: rename one",
        ),
        (
            "[certificates.web]\nrole = 'a/b'\ncommon_name = 'a.example.io'\n",
            "2: certificates.web.role: expected the name of a role",
        ),
        (
            "[certificates.web]\nrole = 'web'\ncommon_name = '{ap}.example.io'\n",
            "3: certificates.web.common_name: unknown placeholder `{ap}`\n  hint: declare it: \
             [identity] ap = …",
        ),
        (
            "[certificates.web]\nrole = 'web'\ncommon_name = 'a b'\n",
            "3: certificates.web.common_name: expected a name of 1 to 253 characters without \
             spaces, found \"a b\"\n  hint: a host name such as app.example.io, or an e-mail \
             address, as the role permits",
        ),
    ] {
        let expected = format!("sidekey.toml:{expected}");
        assert_eq!(problems(&format!("{text}{REST}")), expected, "{text}");
    }
}

#[test]
fn each_mistake_of_a_key_is_named() {
    for (line, expected) in [
        (
            "mount = 'a//b'",
            "mount: expected the path of a mount such as pki\n  hint: without a trailing slash, empty or `..` segments",
        ),
        (
            "alt_names = 'a b'",
            "alt_names: expected a host name such as app.example.io, found \"a b\"",
        ),
        ("alt_names = ['ok', 7]", "alt_names[1]: expected a string, found an integer"),
        (
            "alt_names = '10.0.0.1'",
            "alt_names: expected a host name such as app.example.io, found \"10.0.0.1\"",
        ),
        ("ip_sans = ['10.0.0']", "ip_sans[0]: expected an IP address, found \"10.0.0\""),
        ("uri_sans = 'x'", "uri_sans: expected a URI such as spiffe://example.io/app, found \"x\""),
        (
            "key = 'here'",
            "key: expected auto, local or vault, found \"here\"\n  hint: local: the key is made here and never leaves; vault: Vault makes it; auto: local where the role signs such keys, else vault",
        ),
        (
            "key_type = 'rsa'",
            "key_type: RSA keys are not made here\n  hint: key = \"vault\" has Vault make the key that the role says; or use ec",
        ),
        (
            "key_type = 'dsa'",
            "key_type: expected ec or ed25519, found \"dsa\"\n  hint: as Vault's roles name them",
        ),
        ("key_bits = 521", "key_bits: expected 256 or 384, found 521\n  hint: of key type ec"),
        (
            "key = 'vault'\nkey_bits = 384",
            "key_bits: the role decides about a key that Vault makes\n  hint: take key_bits out",
        ),
        (
            "renew_at_percent = 95",
            "renew_at_percent: expected a whole number from 10 to 90, found 95",
        ),
        (
            "revoke = false\nrevoke_replaced_after = '1m'",
            "revoke_replaced_after: `revoke` is false\n  hint: take one of the two out",
        ),
        (
            "private_key = 'x'",
            "private_key: secret material does not stand in this file\n  hint: keep it in Vault, or in a file that a `…_file` key names",
        ),
        ("comon_name = 'x'", "comon_name: unknown key\n  hint: did you mean `common_name`?"),
    ] {
        let found = problems(&format!("{WEB}{line}\n{REST}"));
        let (_, found) = found.split_once("certificates.web.").unwrap_or(("", &found));
        assert_eq!(found, expected, "{line}");
    }
    let short = problems(&format!("{WEB}ttl = '1s'\n{REST}"));
    assert!(short.contains("certificates.web.ttl: expected at least 5s, found \"1s\""), "{short}");
}
