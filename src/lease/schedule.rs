//! When to act on something that lives for a limited time. Pure: durations in, durations out.

use std::time::Duration;

use tokio::time::Instant;

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

/// When to replace something that lives `left` longer and is not extended any more: as above, and
/// with a tenth of its `first` life left at least, however little Vault granted in the end.
pub fn replace_last_after(left: Duration, first: Duration) -> Duration {
    replace_after(left).min(left.saturating_sub(first / 10))
}

/// What a renewal did to a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// It is as long as ever.
    Whole,
    /// It ends later, but less was granted than before: its maximum comes near, or its role grants
    /// less by now.
    Less,
    /// It ends when it did.
    None,
}

/// What a renewal did that `granted` this much to what was given `longest` at most before, and
/// whether its end `is_later` now. That alone says little: near the maximum life a renewal moves
/// the end for the last time, and whole seconds move it once more.
pub fn extension(granted: Duration, longest: Duration, is_later: bool) -> Extension {
    match granted + HALF_A_SECOND >= longest {
        _ if granted.is_zero() => Extension::None,
        true => Extension::Whole,
        false if is_later => Extension::Less,
        false => Extension::None,
    }
}

/// Whether an end moved from `before` to `ends` by more than Vault's whole seconds explain.
pub(super) fn has_moved(before: Instant, ends: Instant) -> bool {
    ends > before + MOMENT
}

/// When to replace something that had `left` to live when its token was replaced: soon, spread
/// over half of that and half a minute at most. `place` is where in that time, from 0 to 1: drawn
/// once, so that who looks again finds the same moment.
pub fn replace_orphan_after(left: Duration, place: f64) -> Duration {
    (left / 2).min(Duration::from_secs(30)).mul_f64(place.clamp(0.0, 1.0))
}

/// When to read a value again that Vault itself replaces in `ttl`: a moment after that. Vault
/// looks every five seconds what there is to replace, so that one may be overdue.
pub fn after_rotation(ttl: Duration) -> Duration {
    if ttl.is_zero() { OVERDUE } else { ttl + jittered(MOMENT * 2, 0.5) }
}

/// When to read a value again that is to be at most `refresh` old: after 80 to 95 % of it, so
/// that the names of one sidecar, and many sidecars, do not ask at once.
pub fn refresh_after(refresh: Duration) -> Duration {
    jittered(refresh.mul_f64(0.95), 0.16)
}

/// When to read something again that could not be read for want of a login, once there is one:
/// at once when nothing is left to serve, else spread over some seconds, because many sidecars
/// come back from the same outage, each with all of its names.
pub fn after_late_login(left: Option<Duration>) -> Duration {
    left.map_or(Duration::ZERO, |left| spread((left / 2).min(LATE)))
}

/// A random moment within `over`.
pub fn spread(over: Duration) -> Duration {
    jittered(over, 1.0)
}

/// What a life ends with, when Vault cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Renewed by [`renew_after`].
    Renewable,
    /// Replaced by [`replace_after`].
    Replaced,
}

/// How long an outage may be that begins at the worst moment, for a life of `ttl` to be extended
/// or replaced in time all the same. Whole milliseconds, rounded down; zero for what is too short
/// to outlive anything.
///
/// The last retry is made with at least a second left: the wait before it was no longer
/// than a quarter of what was left, or that.
pub fn outage_survived(ttl: Duration, kind: Kind) -> Duration {
    let left = match kind {
        Kind::Renewable => ttl / 3,
        Kind::Replaced => ttl / 10,
    };
    let whole = left.saturating_sub(FIRST_RETRY).as_millis();
    Duration::from_millis(u64::try_from(whole).unwrap_or(u64::MAX))
}

/// No two attempts for one thing are closer together than half of this.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Within which all is read again after a login that came late.
pub(crate) const LATE: Duration = Duration::from_secs(5);
const MOMENT: Duration = Duration::from_secs(1);
const HALF_A_SECOND: Duration = Duration::from_millis(500);
const OVERDUE: Duration = Duration::from_secs(5);

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
        fn the_last_replacement_leaves_a_tenth_of_the_first_life(
            first in 1u64..10_000_000,
            share in 0.0f64..=1.0,
        ) {
            let first = Duration::from_millis(first);
            let left = first.mul_f64(share);
            let wait = replace_last_after(left, first);
            prop_assert!(wait.is_zero() || left >= wait + first / 10);
        }

        /// Vault's whole seconds, up or down, make a maximum life no whole extension: what is
        /// renewed after its share is replaced while it lives, wherever its maximum is.
        #[test]
        fn a_token_is_replaced_before_its_maximum_life_ends(
            ttl in 3u64..100_000,
            lives in 1.0f64..5.0,
            down in any::<bool>(),
            delays in proptest::collection::vec(0.0f64..1.0, 20),
        ) {
            let whole = |it: Duration| {
                let seconds = it.as_secs_f64();
                Duration::from_secs_f64(if down { seconds.floor() } else { seconds.ceil() })
            };
            let ttl = Duration::from_secs(ttl);
            let max = ttl.mul_f64(lives);
            let (mut age, mut granted) = (Duration::ZERO, ttl);
            for delay in delays {
                age += renew_after(granted).mul_f64(1.0 - delay / 100.0);
                granted = whole(ttl.min(max.saturating_sub(age)));
                if extension(granted, ttl, false) != Extension::Whole {
                    break;
                }
                prop_assert!(granted >= ttl);
            }
            prop_assert!(granted < ttl);
            // Whatever was left of a whole life after its share, less what is rounded.
            prop_assert!(granted + MOMENT >= (ttl / 3).min(max.saturating_sub(age)));
            let wait = replace_last_after(granted, ttl);
            prop_assert!(granted >= wait + (ttl / 10).min(granted));
        }

        #[test]
        fn an_end_that_moved_by_a_rounding_did_not_move(
            granted in 0u64..1000,
            less in 1u64..1000,
            early in 0u64..=1000,
        ) {
            let (before, rounded) = (Instant::now(), Duration::from_millis(early));
            prop_assert!(!has_moved(before, before + rounded));
            prop_assert!(has_moved(before, before + MOMENT + Duration::from_millis(less)));
            let (granted, longest) = (Duration::from_secs(granted), Duration::from_secs(granted + less));
            prop_assert_eq!(extension(granted, longest, false), Extension::None);
            prop_assert!(extension(granted, longest, true) != Extension::Whole);
            prop_assert_eq!(extension(longest, granted, false), Extension::Whole);
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
