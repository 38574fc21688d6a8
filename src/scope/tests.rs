use proptest::prelude::*;

use super::*;

fn reading(raw: &str) -> Result<String, Ambiguous> {
    read_path(raw).map(Cow::into_owned)
}

fn admits(pattern: &str, path: &str) -> bool {
    PathPattern::parse(pattern).unwrap().admits(path)
}

#[test]
fn what_has_one_reading() {
    for (raw, path) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/", "/a/"),
        ("/a%20b/%C3%A9", "/a b/é"),
        ("/%41", "/A"),
        ("/100%25", "/100%"),
        ("/...", "/..."),
        ("/a.b/.c", "/a.b/.c"),
        ("/a+b:c@d,e=f!$&'()*~[id]", "/a+b:c@d,e=f!$&'()*~[id]"),
    ] {
        assert_eq!(reading(raw).as_deref(), Ok(path));
    }
}

#[test]
fn what_has_more_than_one_is_refused() {
    use Ambiguous::{Character, Dots, Empty, Encoding, NotAPath, Parameter, Separator, Twice};
    for (raw, why) in [
        ("", NotAPath),
        ("*", NotAPath),
        ("a/b", NotAPath),
        ("/a\\b", Character),
        ("/a b", Character),
        ("/é", Character),
        ("/a%00", Character),
        ("/a%0d%0aX", Character),
        ("/a%7f", Character),
        ("/a%C2%85", Character),
        ("/a%", Encoding),
        ("/a%2", Encoding),
        ("/a%zz", Encoding),
        ("/a%u002e", Encoding),
        ("/%ff", Encoding),
        ("/%c0%ae%c0%ae/", Encoding),
        ("/a%2Fb", Separator),
        ("/a%2fb", Separator),
        ("/a%5cb", Separator),
        ("/a%3Fb", Separator),
        ("/a%23b", Separator),
        ("/a;b", Parameter),
        ("/a/..;/b", Parameter),
        ("/a%3Bb", Parameter),
        ("/%252e%252e/", Twice),
        ("/a%252Fb", Twice),
        ("/%25%32%65", Twice),
        ("/./a", Dots),
        ("/a/..", Dots),
        ("/a/../b", Dots),
        ("/a/%2e%2E/b", Dots),
        ("/a/.%2e/b", Dots),
        ("//a", Empty),
        ("/a//b", Empty),
        ("/a//", Empty),
    ] {
        assert_eq!(reading(raw), Err(why), "{raw}");
    }
}

#[test]
fn patterns() {
    assert!(admits("/api/*", "/api/x") && admits("/api/*", "/api/x/y/"));
    assert!(!admits("/api/*", "/api") && !admits("/api/*", "/api/"));
    assert!(!admits("/api/*", "/apis/x") && !admits("/api/*", "/API/x"));
    assert!(admits("/health", "/health") && !admits("/health", "/health/"));
    assert!(!admits("/health", "/health/x") && !admits("/health/x", "/health"));
    assert!(admits("/u/*/p", "/u/1/p"));
    assert!(!admits("/u/*/p", "/u/1/2/p") && !admits("/u/*/p", "/u//p"));
    assert!(admits("/", "/") && !admits("/", "/a"));
    assert!(admits("/*", "/a") && !admits("/*", "/"));
    assert!(admits("/é/a b", "/é/a b"));
}

#[test]
fn patterns_that_cannot_be_meant() {
    use BadPattern::{NotAPath, Refused, Wildcard};
    for (text, why) in [
        ("", NotAPath),
        ("*", NotAPath),
        ("api/*", NotAPath),
        ("/a*", Wildcard),
        ("/a/**", Wildcard),
        ("/a%2fb", Refused),
        ("/a//b", Refused),
        ("/a/../b", Refused),
        ("/a;b", Refused),
        ("/a?b", Refused),
        ("/a\n", Refused),
    ] {
        assert_eq!(PathPattern::parse(text), Err(why), "{text:?}");
    }
}

fn target(method: &str, uri: &str, header: Option<&str>) -> Result<(Method, String), Ambiguous> {
    let mut request = http::Request::builder().method(method).uri(uri);
    if let Some(name) = header {
        request = request.header(name, "x");
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let target = Target::read(&parts.method, &parts.uri, &parts.headers)?;
    Ok((target.method.clone(), target.path().to_owned()))
}

#[test]
fn a_header_stands_for_no_other_request() {
    assert_eq!(target("GET", "/a?b=/../c", None), Ok((Method::GET, "/a".to_owned())));
    for name in ["X-HTTP-Method-Override", "x_http_method_override", "X-Original-URL"] {
        assert_eq!(target("GET", "/a", Some(name)), Err(Ambiguous::Override), "{name}");
    }
    assert!(target("GET", "/a", Some("x-http-version")).is_ok());
}

#[test]
fn both_have_to_fit() {
    let api = || vec![PathPattern::parse("/api/*").unwrap()];
    let admits = |scope: &Scope, method: Method, path: &str| {
        scope.admits(&Target { method: &method, path: path.into() })
    };
    let scope = Scope { methods: Some(vec![Method::GET]), paths: Some(api()) };
    assert!(admits(&scope, Method::GET, "/api/x"));
    assert!(!admits(&scope, Method::HEAD, "/api/x"));
    assert!(!admits(&scope, Method::GET, "/x"));
    assert!(admits(&Scope { paths: None, ..scope }, Method::GET, "/x"));
    assert!(admits(&Scope::default(), Method::DELETE, "/x"));
    assert!(!Scope::default().is_limited());
}

/// How servers have been seen to read a path.
fn readings(raw: &str) -> Vec<String> {
    let decode =
        |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let slashes = |text: &str| text.replace('\\', "/");
    let parameters = |text: &str| {
        let bare = text.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
        bare.collect::<Vec<_>>().join("/")
    };
    let once = decode(raw);
    let twice = decode(&once);
    let mut all = vec![
        once.clone(),
        parameters(&once),
        decode(&parameters(raw)),
        slashes(&once),
        slashes(&twice),
        once.split(['?', '#', '\0']).next().unwrap_or_default().to_owned(),
        twice,
    ];
    let resolved: Vec<_> = all.iter().map(|path| without_dots(path)).collect();
    all.extend(resolved);
    all
}

/// RFC 3986, 5.2.4, with slashes merged.
fn without_dots(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut is_folder = false;
    for segment in path.split('/') {
        is_folder = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => _ = segments.pop(),
            other => segments.push(other),
        }
    }
    let end = if is_folder && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

/// A pattern, by another way than ours.
fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

fn paths() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "api", "admin", "/", "/", "/", "//", ".", "..", "%2e", "%2E%2e", "%2f", "%5c", "\\", ";",
        "%3b", ";x=1", "%25", "%252e", "%252f", "%00", "%3f", "?", "%23", "a", "%61", "%c0%ae",
        "%c3%a9", "%", "2e", "2f", "*", "~",
    ]);
    prop::collection::vec(piece, 0..8).prop_map(|pieces| format!("/api/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// However an application reads what is admitted, it is what the rule means.
    #[test]
    fn nothing_is_admitted_that_can_be_read_as_something_else(raw in paths()) {
        let Ok(path) = reading(&raw) else { return Ok(()) };
        if admits("/api/*", &path) {
            for read in readings(&raw) {
                prop_assert!(is_below(&read, "/api/"), "{raw} is read as {read}");
                prop_assert_eq!(&read, &path);
            }
        }
    }

    /// What an ordinary client sends gets through: the same text, encoded.
    #[test]
    fn plain_segments_are_never_refused(segments in prop::collection::vec("[a-zA-Z0-9 é_.~-]{1,8}", 1..5)) {
        let dots = |segment: &String| segment == "." || segment == "..";
        prop_assume!(!segments.iter().any(dots));
        let encode = |segment: &String| {
            percent_encoding::utf8_percent_encode(segment, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let raw = format!("/{}", segments.iter().map(encode).collect::<Vec<_>>().join("/"));
        prop_assert_eq!(reading(&raw), Ok(format!("/{}", segments.join("/"))));
    }

    #[test]
    fn any_text_is_read_or_refused(raw in ".*") {
        let _ = (reading(&raw), PathPattern::parse(&raw));
    }
}
