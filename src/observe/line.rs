//! One audit line, written by hand into the shared buffer: no allocation on the way.

use std::io::Write as _;
use std::time::SystemTime;

use super::audit::Access;
use super::log::Style;

/// Untrusted text is cut after this many characters.
const MAX_TEXT: usize = 256;

/// Appends the line of `access`.
pub(super) fn write(out: &mut Vec<u8>, style: Style, now: SystemTime, access: &Access<'_>) {
    let mut line = Line { out, style };
    line.start(now);
    line.word("action", access.action);
    line.text("adapter", access.adapter);
    line.text("caller", access.caller);
    line.number("uid", access.uid.map(u64::from));
    line.text("name", access.name);
    line.text("field", access.field);
    line.word("outcome", access.outcome);
    if let Some(freshness) = access.freshness {
        line.word("freshness", freshness);
    }
    let age = access.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    line.number("age_ms", age);
    line.word("transport", access.transport);
    line.end();
}

struct Line<'o> {
    out: &'o mut Vec<u8>,
    style: Style,
}

impl Line<'_> {
    fn start(&mut self, now: SystemTime) {
        match self.style {
            Style::Human => {
                write_time(self.out, now);
                self.push(b" AUDIT");
            }
            Style::Json => {
                self.push(b"{\"timestamp\":\"");
                write_time(self.out, now);
                self.push(b"\",\"kind\":\"audit\"");
            }
        }
    }

    fn end(&mut self) {
        self.push(if self.style == Style::Json { b"}\n" } else { b"\n" });
    }

    fn push(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn key(&mut self, key: &'static str) {
        let (before, after): (&[u8], &[u8]) = match self.style {
            Style::Human => (b" ", b"="),
            Style::Json => (b",\"", b"\":"),
        };
        self.push(before);
        self.push(key.as_bytes());
        self.push(after);
    }

    /// A word of our own, which needs no escapes.
    fn word(&mut self, key: &'static str, word: &'static str) {
        self.key(key);
        if self.style == Style::Json {
            self.push(b"\"");
            self.push(word.as_bytes());
            self.push(b"\"");
        } else {
            self.push(word.as_bytes());
        }
    }

    fn number(&mut self, key: &'static str, number: Option<u64>) {
        if let Some(number) = number {
            self.key(key);
            let mut digits = [0; 20];
            let mut start = digits.len();
            let mut left = number;
            for (at, digit) in digits.iter_mut().enumerate().rev() {
                *digit = b'0' + u8::try_from(left % 10).unwrap_or_default();
                left /= 10;
                start = at;
                if left == 0 {
                    break;
                }
            }
            self.push(digits.get(start..).unwrap_or_default());
        }
    }

    /// Text from outside, quoted, with everything escaped that is not printable ASCII.
    fn text(&mut self, key: &'static str, text: Option<&str>) {
        let Some(text) = text else { return };
        self.key(key);
        self.push(b"\"");
        if text.len() <= MAX_TEXT && text.bytes().all(is_plain) {
            self.push(text.as_bytes());
        } else {
            for c in text.chars().take(MAX_TEXT) {
                self.escaped(c);
            }
            if text.chars().nth(MAX_TEXT).is_some() {
                self.push(b"...");
            }
        }
        self.push(b"\"");
    }

    fn escaped(&mut self, c: char) {
        match u8::try_from(c) {
            Ok(byte) if is_plain(byte) => self.push(&[byte]),
            Ok(byte @ (b'"' | b'\\')) => self.push(&[b'\\', byte]),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // A Vec takes everything.
                    let _ = write!(self.out, "\\u{unit:04x}");
                }
            }
        }
    }
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// `2026-01-31T23:59:59.123Z` (RFC 3339).
pub(crate) fn timestamp(at: SystemTime) -> String {
    let mut out = Vec::with_capacity(24);
    write_time(&mut out, at);
    String::from_utf8(out).unwrap_or_default()
}

fn write_time(out: &mut Vec<u8>, now: SystemTime) {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = civil(since.as_secs() / 86_400);
    let second = since.as_secs() % 86_400;
    let mut put = |number: u64, width: u32, after: &[u8]| {
        for place in (0..width).rev() {
            out.push(b'0' + u8::try_from(number / 10_u64.pow(place) % 10).unwrap_or_default());
        }
        out.extend_from_slice(after);
    };
    put(year, 4, b"-");
    put(month, 2, b"-");
    put(day, 2, b"T");
    put(second / 3600, 2, b":");
    put(second / 60 % 60, 2, b":");
    put(second % 60, 2, b".");
    put(u64::from(since.subsec_millis()), 3, b"Z");
}

/// Days since 1970-01-01 as year, month and day (Howard Hinnant's `civil_from_days`).
pub(crate) fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn written(style: Style, access: &Access<'_>) -> String {
        let mut out = Vec::new();
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_164_799_012);
        write(&mut out, style, now, access);
        String::from_utf8(out).unwrap()
    }

    fn access<'a>() -> Access<'a> {
        Access {
            action: "read",
            adapter: None,
            caller: Some("app"),
            uid: Some(10001),
            name: Some("db"),
            field: Some("pass\"\nword\u{202e}😀"),
            outcome: "ok",
            freshness: Some("fresh"),
            age: Some(Duration::from_millis(1500)),
            transport: "tcp",
        }
    }

    #[test]
    fn human_lines_hold_one_line_whatever_the_field_is_called() {
        assert_eq!(
            written(Style::Human, &access()),
            "2024-02-28T23:59:59.012Z AUDIT action=read caller=\"app\" uid=10001 name=\"db\" \
             field=\"pass\\\"\\u000aword\\u202e\\ud83d\\ude00\" outcome=ok freshness=fresh \
             age_ms=1500 transport=tcp\n"
        );
    }

    #[test]
    fn json_lines_are_json() {
        let line = written(Style::Json, &access());
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["field"], "pass\"\nword\u{202e}😀");
        assert_eq!(parsed["uid"], 10001);
        assert_eq!(parsed["kind"], "audit");
        assert!(line.ends_with("}\n"));
    }

    #[test]
    fn what_is_unknown_is_left_out_and_long_text_is_cut() {
        let long = "x".repeat(1000);
        let access = Access {
            action: "none",
            outcome: "host_refused",
            transport: "unix",
            field: Some(&long),
            ..Access::default()
        };
        let line = written(Style::Json, &access);
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(parsed.get("caller").is_none() && parsed.get("age_ms").is_none());
        assert_eq!(parsed["field"].as_str().unwrap().len(), MAX_TEXT + 3);
    }

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_819), (2027, 1, 1));
    }
}
