//! When to act on something that lives for a limited time. Pure: durations in, durations out.

use std::time::Duration;

use super::backoff::jittered;

/// When to renew something that lives `ttl` longer: after 60 to 67 % of it, which leaves a
/// third of its life for retries.
pub fn renew_after(ttl: Duration) -> Duration {
    jittered(ttl.mul_f64(2.0 / 3.0), 0.1)
}

/// When to replace something that cannot be renewed: after 81 to 90 % of its life.
pub fn replace_after(ttl: Duration) -> Duration {
    jittered(ttl.mul_f64(0.9), 0.1)
}

/// When to replace something that lives `ttl` and is to be replaced by `percent` of it.
pub fn replace_after_percent(ttl: Duration, percent: u32) -> Duration {
    jittered(ttl.mul_f64(f64::from(percent.min(100)) / 100.0), 0.1)
}

/// When to replace something that still lives but whose token was replaced: soon, spread over
/// half of what is left and half a minute at most.
pub fn replace_orphan_after(left: Duration) -> Duration {
    jittered((left / 2).min(Duration::from_secs(30)), 1.0)
}

/// When to read a value again that is to be at most `refresh` old: after 80 to 95 % of it, so
/// that the names of one sidecar, and many sidecars, do not ask at once.
pub fn refresh_after(refresh: Duration) -> Duration {
    jittered(refresh.mul_f64(0.95), 0.16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_share_of_the_life_is_never_exceeded(ttl in 1u64..10_000_000, percent in 10u32..=90) {
            let (ttl, share) = (Duration::from_millis(ttl), f64::from(percent) / 100.0);
            let wait = replace_after_percent(ttl, percent);
            prop_assert!(wait <= ttl.mul_f64(share), "{wait:?} of {ttl:?}");
            prop_assert!(wait >= ttl.mul_f64(share * 0.899), "{wait:?} of {ttl:?}");
        }

        #[test]
        fn always_before_the_end_and_never_at_once(ttl in 1u64..10_000_000) {
            let ttl = Duration::from_millis(ttl);
            for (wait, least, most) in [
                (renew_after(ttl), 0.599, 0.667),
                (replace_after(ttl), 0.809, 0.901),
                (refresh_after(ttl), 0.797, 0.951),
            ] {
                prop_assert!(wait >= ttl.mul_f64(least), "{wait:?} of {ttl:?}");
                prop_assert!(wait <= ttl.mul_f64(most), "{wait:?} of {ttl:?}");
            }
        }
    }
}
