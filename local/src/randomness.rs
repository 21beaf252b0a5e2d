//! Where random bytes come from: the operating system, or in a simulation its seed.
//!
//! Connection ids are capabilities, so outside of a simulation nothing but the operating system will do.

use std::{cell::Cell, marker::PhantomData};

thread_local! {
    /// In a simulation: how it was seeded and how many numbers were drawn since.
    static SIMULATED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Fills an array with random bytes.
#[expect(clippy::expect_used, reason = "without randomness there is no safe id to go on with")]
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    match SIMULATED.get() {
        None => getrandom::fill(&mut bytes).expect("the operating system has no randomness"),
        Some(mut state) => {
            for chunk in bytes.chunks_mut(8) {
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                chunk.copy_from_slice(&split_mix(state).to_le_bytes()[..chunk.len()]);
            }
            SIMULATED.set(Some(state));
        }
    }
    bytes
}

/// A new random UUID.
pub(crate) fn uuid() -> String {
    uuid::Builder::from_random_bytes(random()).into_uuid().to_string()
}

/// Has everything random on this thread follow from `seed`, the SDK's waits between its retries too, until the guard is
/// dropped.
pub(crate) fn simulate(seed: u64) -> Seeded {
    SIMULATED.set(Some(seed));
    fastrand::seed(seed);
    Seeded(PhantomData)
}

/// While it lives, randomness on this thread follows from a seed. It stays on its thread.
pub(crate) struct Seeded(PhantomData<*const ()>);

impl Drop for Seeded {
    fn drop(&mut self) {
        SIMULATED.set(None);
    }
}

/// SplitMix64: spreads neighbouring inputs over all outputs.
pub(crate) fn split_mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_again_and_without_one_nothing_comes_again() {
        let draw = || (random::<11>(), uuid());
        let seeded = |seed| {
            let _seeded = simulate(seed);
            draw()
        };
        assert_eq!(seeded(7), seeded(7));
        assert_ne!(seeded(7), seeded(8));
        assert_ne!(draw(), draw());
    }
}
