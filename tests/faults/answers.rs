//! Everything that can be wrong with the answer to a read, one name for each, all at once.

use std::time::{Duration, Instant};

use sidekey::dev::{Fault, Matcher};

use crate::case::{Case, MAX_STALE, Watch, most_requests, paths};
use crate::support::canary;
use crate::support::vault::TestVault;

const HTTP: (u16, &str) = (503, "upstream_unavailable");
const BROKEN: (u16, &str) = (502, "upstream_malformed");

/// A name, its fault, and what the application is told once the old value is too old.
fn table(other_path: &str) -> Vec<(&'static str, Fault, (u16, &'static str))> {
    let json = |body: &str| Fault::body(200, "application/json", body.to_owned());
    let kv_two = |data: &str| {
        json(&format!(
            r#"{{"lease_id":"","renewable":false,"lease_duration":0,"data":{{"data":{data},"metadata":{{"created_time":"2026-01-01T00:00:00Z","deletion_time":"","destroyed":false,"version":1}}}}}}"#
        ))
    };
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let html = "<html>404 default backend</html>";
    vec![
        ("s400", Fault::status(400), BROKEN),
        ("s500", Fault::status(500), HTTP),
        ("s502", Fault::body(502, "text/html", "<html>bad gateway</html>"), HTTP),
        ("s503", Fault::status(503), HTTP),
        ("s429", Fault::status(429), HTTP),
        ("s412", Fault::status(412), HTTP),
        ("s472", Fault::status(472), HTTP),
        ("s473", Fault::status(473), HTTP),
        ("s204", Fault::empty(), BROKEN),
        ("s404-of-a-proxy", Fault::body(404, "text/html", html), BROKEN),
        ("s404-of-a-gateway", Fault::body(404, "application/json", r#"{"message":"no"}"#), BROKEN),
        ("reset", Fault::reset_mid_body(), BROKEN),
        ("truncated", Fault::truncated_json(), BROKEN),
        ("empty-body", json(""), BROKEN),
        ("no-json", json("all is well"), BROKEN),
        ("no-data", json(r#"{"status":"ok"}"#), BROKEN),
        ("array", json("[1,2]"), BROKEN),
        ("deep-envelope", json(&deep), BROKEN),
        ("deep-data", kv_two(&format!(r#"{{"password":{deep}}}"#)), BROKEN),
        ("two-passwords", kv_two(r#"{"password":"a","password":"b"}"#), BROKEN),
        ("two-datas", json(r#"{"data":{"password":"a"},"data":{"password":"b"}}"#), BROKEN),
        ("text-as-data", json(r#"{"data":"text"}"#), BROKEN),
        ("number-as-lease", json(r#"{"lease_id":7,"data":{"password":"a"}}"#), BROKEN),
        ("text-as-ttl", json(r#"{"lease_duration":"1h","data":{"password":"a"}}"#), BROKEN),
        ("bad-escape", kv_two(r#"{"password":"\ud800"}"#), BROKEN),
        ("no-utf8", Fault::body(200, "application/json", &b"{\"data\":\xff\xfe}"[..]), BROKEN),
        ("announced", Fault::announce(1 << 30), (502, "upstream_too_large")),
        ("unannounced", json(&" ".repeat(9 << 20)), (502, "upstream_too_large")),
        ("drip", Fault::slow_drip(1, Duration::from_millis(100)), HTTP),
        ("hang", Fault::hang(), HTTP),
        ("idle-body", Fault::announce(1000), HTTP),
        ("close", Fault::close(), HTTP),
        ("redirect", Fault::redirect(other_path), BROKEN),
    ]
}

#[test]
fn an_old_value_is_served_and_marked_until_it_is_too_old() {
    let names: Vec<_> = table("").iter().map(|(name, ..)| *name).collect();
    let (case, values) = Case::start(&names);
    // A redirect to what another secret holds.
    let elsewhere = format!("{}/v1/secret/data/s500", case.vault.url());
    let table = table(&elsewhere);
    for (name, fault, _) in &table {
        for path in paths(name) {
            case.vault.server.faults().on(Matcher::get(path)).respond(fault.clone()).forever();
        }
    }
    let since = Instant::now();
    let before: Vec<_> = names.iter().map(|name| case.requests(name)).collect();
    let mut watches: Vec<_> =
        names.iter().zip(&values).map(|(name, value)| Watch::new(name, value, since)).collect();
    while watches.iter().any(|watch| watch.refusal.is_none()) {
        for watch in &mut watches {
            watch.look(&case, MAX_STALE);
        }
    }
    for ((name, _, (status, code)), watch) in table.iter().zip(&watches) {
        let refusal = watch.refusal.as_ref().unwrap();
        assert_eq!((refusal.status, refusal.code()), (*status, (*code).to_owned()), "{name}");
        assert!(watch.stale_seen, "{name} was never marked stale");
        canary::assert_clean(name, &refusal.text());
        if *status == 503 {
            let wait: u64 = refusal.header("retry-after").expect(name).parse().unwrap();
            assert!((1..=5).contains(&wait), "{name}: Retry-After {wait}");
        }
    }
    let ready = case.sidecar.health("/readyz");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["pending"].as_array().unwrap().len(), names.len());
    assert_eq!(case.sidecar.health("/livez").status, 200, "liveness never depends on Vault");
    for (name, before) in names.iter().zip(before) {
        let (requests, most) = (case.requests(name) - before, most_requests(since.elapsed()));
        assert!(requests <= most, "{name}: {requests} requests, {most} would do");
    }

    case.vault.server.faults().clear();
    for (name, value) in names.iter().zip(&values) {
        case.until(name, "fresh", value);
    }
    assert_eq!(case.sidecar.health("/readyz").status, 200);
    case.sidecar.stop();
}

#[test]
fn what_vault_asks_for_with_retry_after_is_honored() {
    let (case, _) = Case::start_with(
        &format!(
            "{}{}",
            crate::case::SETTINGS,
            crate::case::secrets(&["busy"], Duration::from_secs(1))
        ),
        &["busy"],
    );
    let reads = Matcher::prefix("secret/");
    let fault = Fault::status(429).retry_after(4);
    let script = case.vault.server.faults().on(reads).respond(fault).forever();
    crate::support::eventually("the first 429", || (script.hits() > 0).then_some(()));
    let since = Instant::now();
    let refusal = case.until_refused("busy");
    assert_eq!((refusal.status, refusal.code().as_str()), (503, "upstream_unavailable"));
    let told: u64 = refusal.header("retry-after").unwrap().parse().unwrap();
    assert!(told <= 4, "{told}");
    crate::support::eventually("the second 429", || (script.hits() > 1).then_some(()));
    let waited = since.elapsed();
    assert!(waited > Duration::from_millis(3500), "asked again after {waited:?}");
    case.sidecar.stop();
}

#[test]
fn a_burst_of_failures_is_not_seen_by_the_application() {
    let (case, values) = Case::start(&["db"]);
    let reads = Matcher::prefix("secret/");
    let script = case.vault.server.faults().on(reads).respond(Fault::status(500)).times(1);
    script.then(Fault::close());
    crate::support::eventually("both failures", || {
        let answer = case.get("db");
        assert_eq!((answer.status, answer.text()), (200, values[0].clone()));
        (case.requests("db") >= 4).then_some(())
    });
    case.until("db", "fresh", &values[0]);
    case.sidecar.stop();
}
