//! How long to wait after a failed delivery. Pure; chance is an argument.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);

/// Exponential with full jitter: anything up to 250 ms, 500 ms, 1 s, … `longest`. Fifty thousand sensors that lost one
/// collector must not come back together.
pub(super) fn delay(failures: u32, longest: Duration, chance: u64) -> Duration {
    let ceiling = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(longest);
    let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
    FIRST / 5 + Duration::from_nanos(chance % nanos.max(1))
}

/// The next number of a sequence that only has to differ between sensors (SplitMix64).
pub(super) fn next_chance(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let a = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    b ^ (b >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_is_spread_and_has_an_end() {
        let longest = Duration::from_secs(300);
        let mut chance = 1;
        let mut sum = |failures| -> Duration { (0..200).map(|_| delay(failures, longest, next_chance(&mut chance))).sum() };
        assert!(sum(1) < sum(4) && sum(4) < sum(9));
        for failures in [0, 1, 7, 40, u32::MAX] {
            assert!(delay(failures, longest, u64::MAX) <= longest + FIRST);
        }
    }
}
