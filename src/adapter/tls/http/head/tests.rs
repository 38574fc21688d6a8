use super::*;
use http::Request;

fn parts(version: Version, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().version(version).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn sent(version: Version, headers: &[(&str, &str)]) -> Vec<String> {
    let mut parts = parts(version, "/", headers);
    let (client, server) = ("[2001:db8::1]:9".parse(), "192.0.2.1:443".parse());
    let origin = Origin::new(client.unwrap(), server.unwrap(), None);
    let addressed = origin.addressed(&parts).unwrap();
    let out = outgoing(&mut parts, &addressed, None, &origin);
    let mut out: Vec<_> =
        out.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
    out.sort();
    out
}

/// What is said about each of them.
const SAID: [&str; 7] = [
    "forwarded=for=\"[2001:db8::1]\";host=\"a.example:8443\";proto=https",
    "host=a.example:8443",
    "via=1.1 sidekey",
    "x-forwarded-for=2001:db8::1",
    "x-forwarded-host=a.example:8443",
    "x-forwarded-port=443",
    "x-forwarded-proto=https",
];

const HOST: (&str, &str) = ("host", "a.example:8443");

#[test]
fn who_asked_is_for_us_to_say() {
    let out = sent(
        Version::HTTP_11,
        &[
            HOST,
            ("x-forwarded-for", "6.6.6.6"),
            ("x_forwarded_for", "6.6.6.6"),
            ("x-forwarded_proto", "http"),
            ("x-forwarded-client-cert", "Subject=\"CN=root\""),
            ("x_forwarded_client_cert", "Subject=\"CN=root\""),
            ("forwarded", "for=6.6.6.6"),
            ("x_real_ip", "6.6.6.6"),
            ("proxy", "http://6.6.6.6"),
            ("expect", "100-continue"),
        ],
    );
    assert_eq!(out, SAID);
}

#[test]
fn who_showed_which_certificate_too() {
    let names = [
        "client-cert",
        "client_cert",
        "Client-Cert-Chain",
        "client_cert_chain",
        "X-Client-Cert",
        "x_client_cert_subject",
        "x-client-certificate",
        "Ssl-Client-Verify",
        "SSL_CLIENT_S_DN",
        "X-SSL-Client-CN",
        "True-Client-IP",
        "true_client_ip",
        "X-Client-IP",
        "x_client_ip",
    ];
    for name in names {
        assert_eq!(sent(Version::HTTP_11, &[HOST, (name, "forged")]), SAID, "{name}");
        let mut map = HeaderMap::new();
        map.insert(HeaderName::try_from(name).unwrap(), HeaderValue::from_static("forged"));
        trailers(&mut map);
        assert!(map.is_empty(), "{name}");
    }
    for name in ["x-client", "client-certs", "ssl-session-id", "x-ip"] {
        assert_eq!(sent(Version::HTTP_11, &[HOST, (name, "1")]).len(), SAID.len() + 1, "{name}");
    }
}

#[test]
fn what_belongs_to_one_connection_stays_behind() {
    let out = sent(
        Version::HTTP_11,
        &[
            HOST,
            ("connection", "close, X-Hop, X-Forwarded-For, host"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("transfer_encoding", "chunked"),
            ("content_length", "5"),
            ("upgrade", "h2c"),
        ],
    );
    assert_eq!(out, SAID);
}

#[test]
fn trailers_are_passed_on_but_not_under_our_names() {
    let out = sent(Version::HTTP_11, &[HOST, ("te", "gzip, trailers"), ("trailer", "x-sum")]);
    for expected in ["te=trailers", "connection=te", "trailer=x-sum"] {
        assert!(out.iter().any(|line| line == expected), "{out:?}");
    }
    let mut map = HeaderMap::new();
    for name in ["x-sum", "x-forwarded-for", "x_forwarded_for", "host", "content-length"] {
        map.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
    }
    trailers(&mut map);
    assert_eq!(map.keys().collect::<Vec<_>>(), ["x-sum"]);
}

#[test]
fn cookies_become_one() {
    let out = sent(Version::HTTP_11, &[HOST, ("cookie", "a=1"), ("cookie", "b=2; c=3")]);
    assert!(out.contains(&"cookie=a=1; b=2; c=3".to_owned()), "{out:?}");
}

#[test]
fn one_host() {
    let host = |version, target: &str, headers: &[(&str, &str)]| {
        let found = super::host(&parts(version, target, headers));
        found.map(|host| host.map(|host| host.to_string()))
    };
    let (one, two) = (Version::HTTP_11, Version::HTTP_2);
    assert_eq!(host(one, "/", &[HOST]), Ok(Some("a.example:8443".into())));
    assert_eq!(host(one, "/", &[]), Err(Refusal::Host));
    assert_eq!(host(Version::HTTP_10, "/", &[]), Ok(None));
    assert_eq!(host(one, "/", &[HOST, HOST]), Err(Refusal::Host));
    for bad in ["", "a b", "a@b", "a/b", "a\"b"] {
        assert_eq!(host(one, "/", &[("host", bad)]), Err(Refusal::Host), "{bad}");
    }
    // The target goes before the header (RFC 9112, 3.2.2); in HTTP/2 they say the same.
    assert_eq!(host(one, "https://b.example/", &[HOST]), Ok(Some("b.example".into())));
    assert_eq!(host(two, "https://b.example/", &[HOST]), Err(Refusal::Host));
    assert_eq!(host(two, "https://b.example/", &[]), Ok(Some("b.example".into())));
}

#[test]
fn each_request_of_a_connection_says_whom_it_is_for() {
    let (client, server) = ("192.0.2.7:9".parse(), "192.0.2.1:443".parse());
    let origin = Origin::new(client.unwrap(), server.unwrap(), None);
    let said = |version, target: &str, headers: &[(&str, &str)]| {
        let addressed = origin.addressed(&parts(version, target, headers));
        addressed.map(|addressed| addressed.forwarded.to_str().unwrap().to_owned())
    };
    let for_host = |host: &str| Ok(format!("for=192.0.2.7;host=\"{host}\";proto=https"));
    let (one, two) = (Version::HTTP_11, Version::HTTP_2);
    assert_eq!(said(Version::HTTP_10, "/", &[]), Ok("for=192.0.2.7;proto=https".into()));
    assert_eq!(said(one, "/", &[("host", "")]), Err(Refusal::Host));
    for _ in 0..2 {
        assert_eq!(said(one, "/", &[HOST]), for_host("a.example:8443"));
        assert_eq!(said(two, "https://a.example:8443/", &[]), for_host("a.example:8443"));
        assert_eq!(said(one, "/", &[("host", "b.example")]), for_host("b.example"));
        assert_eq!(said(two, "https://b.example/", &[HOST]), Err(Refusal::Host));
        assert_eq!(said(one, "/", &[HOST, HOST]), Err(Refusal::Host));
    }
}

#[test]
fn what_is_not_passed_on() {
    let refusal = |method: Method, target: &str| {
        let mut parts = parts(Version::HTTP_11, target, &[HOST]);
        parts.method = method;
        fits(&parts).err()
    };
    assert_eq!(refusal(Method::GET, "/a//b/../c?d"), None);
    assert_eq!(refusal(Method::OPTIONS, "*"), Some(Refusal::Target));
    assert_eq!(refusal(Method::TRACE, "/"), Some(Refusal::Method));
    assert_eq!(refusal(Method::CONNECT, "a.example:443"), Some(Refusal::Method));
}
