//! Random numbers from a seed: the same seed, the same case.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators"): one word of state, so that a seed is a case.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers that follow from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed of case `number` in the run of `seed`: neighbours have nothing in common.
    pub fn case(seed: u64, number: u64) -> u64 {
        Self(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95)).word()
    }

    /// 64 random bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `limit`; 0 if that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (u128::from(self.word()) * limit as u128 >> 64) as usize
    }

    /// Whether something happens that happens once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of some; they must not be none.
    pub fn one_of<T: Copy>(&mut self, some: &[T]) -> T {
        some[self.below(some.len())]
    }

    /// Overwrites bytes with random ones.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            let word = self.word().to_le_bytes();
            part.copy_from_slice(&word[..part.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_algorithms_own_first_numbers() {
        // As published with the reference implementation, for the seed 1234567.
        let mut random = Random::new(1_234_567);
        assert_eq!([random.word(), random.word()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn numbers_stay_below_their_limit() {
        let mut random = Random::new(7);
        assert!((0..1000).all(|limit| limit == 0 || random.below(limit) < limit));
        assert_eq!(random.below(0), 0);
    }
}
