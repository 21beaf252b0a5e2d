//! Dice: random numbers that follow from a seed and a name, so that one who throws more often changes nobody else's luck.

/// One who throws.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    /// The dice of `name` under `seed`.
    #[must_use]
    pub fn of(seed: u64, name: &str) -> Dice {
        Dice(name.bytes().fold(seed, |hash, byte| split_mix(hash ^ u64::from(byte))))
    }

    /// A number from 0 (included) to `end` (excluded).
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        split_mix(self.0) % end.max(1)
    }

    /// A number from `from` to `to`, both included.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// True in so many cases of a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(usize::try_from(self.below(of.len() as u64)).ok()?)
    }
}

fn split_mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
