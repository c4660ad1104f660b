//! Random numbers that follow from a seed.

/// SplitMix64 (Steele, Lea and Flood, 2014): one word of state, so that any case of a run is had again from its number alone.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The numbers of one case of a run.
    pub fn of(seed: u64, case: u64) -> Self {
        let mut rng = Self(seed ^ case.wrapping_mul(0xD1B5_4A32_D192_ED03));
        rng.next_u64();
        rng
    }

    /// Any number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// A number below `end`; 0 if that is 0. Not exactly uniform.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(end)) >> 64) as u64
    }

    /// An index into something of that length; 0 if it is empty.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A copy of one of some.
    pub fn one_of<T: Copy, const N: usize>(&mut self, some: &[T; N]) -> T {
        const { assert!(N > 0) };
        some[self.index(N)]
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len() as u64) as usize)
    }

    /// Random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A seed that nobody has chosen.
pub fn draw() -> u64 {
    use std::hash::BuildHasher;
    std::collections::hash_map::RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_had_again_and_is_another_than_the_next() {
        let [mut one, mut same, mut next] = [(1, 2), (1, 2), (1, 3)].map(|(seed, case)| Rng::of(seed, case));
        let first = one.next_u64();
        assert_eq!(first, same.next_u64());
        assert_ne!(first, next.next_u64());
        assert!((0..1000).all(|_| one.below(7) < 7) && one.below(0) == 0);
    }
}
