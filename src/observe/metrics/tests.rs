use std::time::Duration;

use super::*;

/// Whatever a scrape may show has its row in the README. A family without members is not shown,
/// hence the source.
#[test]
fn each_is_in_the_readme() {
    let readme = include_str!("../../../README.md");
    let sources = [
        include_str!("mod.rs"),
        include_str!("families.rs"),
        include_str!("ambassador.rs"),
        include_str!("tls.rs"),
    ]
    .concat();
    let named = sources.split(".register(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut count = 0;
    for name in named.filter(|name| name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_')) {
        let shown = format!("sidekey_{}", name.trim_start_matches("sidekey_"));
        let known = [&shown, &format!("{shown}_total"), &format!("{shown}_info")]
            .into_iter()
            .any(|name| readme.contains(&format!("`{name}`")));
        assert!(known, "README.md does not know {shown}");
        count += 1;
    }
    assert!(count > 25, "{count}");
}

#[test]
fn names_stay_as_they_are() {
    let metrics = Metrics::new("1.2.3");
    metrics.requests("ok").inc();
    metrics.login("approle", "denied");
    metrics.upstream("read", "ok", Duration::from_millis(3));
    metrics.set_ready(true);
    metrics.on_scrape(|metrics| {
        metrics.set_cache(1, 200);
        metrics.set_cache_age("db", Some(Duration::from_secs(5)));
        metrics.set_expires_in("web", Some(Duration::from_mins(1)));
    });
    let open = metrics.connection();
    let text = metrics.encode().unwrap();
    for line in [
        "sidekey_requests_total{outcome=\"ok\"} 1",
        "sidekey_connections 1",
        "sidekey_cache_age_seconds{name=\"db\"} 5.0",
        "sidekey_expires_in_seconds{name=\"web\"} 60.0",
        "sidekey_cache_entries 1",
        "sidekey_cache_bytes 200",
        "sidekey_logins_total{method=\"approle\",outcome=\"denied\"} 1",
        "sidekey_upstream_requests_total{operation=\"read\",outcome=\"ok\"} 1",
        "sidekey_upstream_seconds_bucket{le=\"0.005\",operation=\"read\"} 1",
        "sidekey_ready 1",
        "sidekey_audit_errors_total 0",
        "sidekey_build_info{version=\"1.2.3\"} 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in:\n{text}");
    }
    assert!(text.contains("process_resident_memory_bytes "));
    assert!(text.contains("process_start_time_seconds "));
    drop(open);
    metrics.set_cache_age("db", None);
    assert!(metrics.encode().unwrap().contains("sidekey_connections 0"));
}
