//! What the audit log says of a request, and what nothing ever says.

use std::io::{self, Write};

use super::*;
use crate::observe::{Outlet, Style};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, batch: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(batch);
        Ok(batch.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn every_read_and_every_refusal_is_one_line_without_a_value() {
    let sink = Sink::default();
    let errors = Metrics::new("test").audit_errors();
    let outlet = Outlet::to(Box::new(sink.clone()), errors).unwrap();
    let audit = Audit::new(Style::Json, outlet.clone());
    let door = start_on("127.0.0.1:0", default_rules(), limits(), Some(audit));
    let wrong = "Authorization: Bearer canary-token\r\n";
    let requests = [
        "GET /secrets/db/password HTTP/1.1\r\nHost: {HOST}\r\nX-Vault-Token: t-app\r\n\r\n".into(),
        "GET /secrets HTTP/1.1\r\nHost: {HOST}\r\nX-Vault-Token: t-all\r\n\r\n".into(),
        "POST /secrets/db/refresh HTTP/1.1\r\nHost: {HOST}\r\nX-Vault-Token: t-all\r\n\r\n".into(),
        "GET /secrets/web/f HTTP/1.1\r\nHost: {HOST}\r\nX-Vault-Token: t-app\r\n\r\n".into(),
        "GET /secrets/db/a%22%20b HTTP/1.1\r\nHost: {HOST}\r\nX-Vault-Token: t-app\r\n\r\n".into(),
        format!("GET /secrets/db HTTP/1.1\r\nHost: {{HOST}}\r\n{wrong}\r\n"),
        format!("GET /secrets/db HTTP/1.1\r\nHost: evil\r\n{wrong}\r\n"),
    ];
    let mut said = String::new();
    for request in &requests {
        let reply = door.ask(request).await;
        if reply.status != 200 {
            said.push_str(&reply.head);
            said.push_str(reply.text());
        }
    }
    said.push_str(&door.metrics.encode().unwrap());
    door.stop().await;
    assert!(outlet.flush(Duration::from_secs(5)));

    let lines = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    let keys = ["action", "caller", "name", "field", "outcome", "freshness", "transport"];
    let lines_said: Vec<_> = lines
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            keys.map(|key| line[key].as_str().unwrap_or("-").to_owned()).join(" ")
        })
        .collect();
    let expected = [
        "read app db password ok fresh tcp",
        "list all - - ok - tcp",
        "refresh all db - ok fresh tcp",
        "read app web f caller_denied - tcp",
        "read app db a\" b unknown_field - tcp",
        "read - db - caller_unknown - tcp",
        "none - - - host_refused - tcp",
    ];
    assert_eq!(lines_said, expected);
    for canary in ["canary", "t-app", "t-all"] {
        assert!(!lines.contains(canary) && !said.contains(canary), "{canary}");
    }
}
