//! Durations (`1h30m`) and sizes (`64MiB`) as they are written in the file.

use std::time::Duration;

/// No duration is longer: the sum of it and any clock's reading can be represented.
pub(super) const LONGEST: Duration = Duration::from_hours(24 * 3650);

/// Whole numbers with `d`, `h`, `m`, `s` or `ms`, the larger unit first, each once: `90s`,
/// `1h30m`. `None` for anything else, also for more than [`LONGEST`].
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, unit, tail) = number_and_unit(rest)?;
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.checked_mul(*factor)?)?;
        rest = tail;
    }
    let total = Duration::from_millis(total);
    (!text.is_empty() && total <= LONGEST).then_some(total)
}

/// A whole number of bytes, or of `B`, `KiB`, `MiB` or `GiB`.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit, rest) = number_and_unit(text)?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    if rest.is_empty() { number.checked_mul(factor) } else { None }
}

fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(digits)?;
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(letters)?;
    Some((number.parse().ok()?, unit, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        let seconds = |text| parse_duration(text).map(|duration| duration.as_secs_f64());
        assert_eq!(seconds("90s"), Some(90.0));
        assert_eq!(seconds("5m"), Some(300.0));
        assert_eq!(seconds("1h30m"), Some(5400.0));
        assert_eq!(seconds("1d1ms"), Some(86_400.001));
        assert_eq!(seconds("250ms"), Some(0.25));
        assert_eq!(seconds("0s"), Some(0.0));
        assert_eq!(parse_duration("3650d"), Some(LONGEST));
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in [
            "",
            "90",
            "s",
            "-1s",
            "1.5h",
            "1 h",
            " 1h",
            "1h ",
            "30m1h",
            "1m1m",
            "1w",
            "1H",
            "1hour",
            "3651d",
            "99999999999999999999d",
            "9999999999999999d",
            "½h",
            "1s½",
        ] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn reads_sizes() {
        assert_eq!(parse_size("64MiB"), Some(64 << 20));
        assert_eq!(parse_size("1KiB"), Some(1024));
        assert_eq!(parse_size("10"), Some(10));
        for text in ["", "MiB", "64MB", "64 MiB", "1.5GiB", "-1", "64MiB1", "99999999999GiB"] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
    }
}
