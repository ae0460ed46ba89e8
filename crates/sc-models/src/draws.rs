//! Seeds of what a network draws in training: the masks of dropout.
//!
//! The generators of two devices draw different numbers, and a read of what one drew stops a GPU.
//! Here a seed is a function of the step's seed and of how many were taken in this step before, so
//! that a step drops the same values on every device.

use std::cell::Cell;

thread_local! {
    /// The seed of the step, and how many seeds were taken since.
    static STEP: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Begins a step: what this thread draws from here on is a function of `seed`.
pub fn begin(seed: u64) {
    STEP.set((seed, 0));
}

/// The next seed.
pub(crate) fn next() -> u32 {
    let (seed, taken) = STEP.get();
    STEP.set((seed, taken.wrapping_add(1)));
    // SplitMix64 (Steele et al., 2014): one state, every output well mixed.
    let mut z = seed.wrapping_add((taken.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_draws_the_same_again_and_another_step_others() {
        let drawn = |seed| {
            begin(seed);
            [next(), next(), next()]
        };
        let first = drawn(3);
        assert_eq!(drawn(3), first);
        assert!(first[0] != first[1] && first[1] != first[2]);
        assert!(drawn(4).iter().all(|s| !first.contains(s)));
    }
}
