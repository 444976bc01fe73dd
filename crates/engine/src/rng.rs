//! Named random streams: ChaCha8, found by (seed, component, entity) and never by order of creation.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The seed of a run. Every random number of the run is a function of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// The stream of one entity of one component, the same whatever else was drawn before.
    ///
    /// The component's name and the seed make the key, the entity the nonce.
    #[must_use]
    pub fn stream(self, component: &str, entity: u64) -> Stream {
        let mut key = [0u8; 32];
        let mut state = self.0;
        for (index, chunk) in key.chunks_exact_mut(8).enumerate() {
            for byte in component.bytes() {
                state = mix(state ^ (u64::from(byte) << 8) ^ index as u64);
            }
            state = mix(state ^ component.len() as u64);
            chunk.copy_from_slice(&state.to_le_bytes());
        }
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(entity);
        Stream { rng }
    }

    /// The seed of replication `index` of an experiment.
    #[must_use]
    pub fn replication(self, index: u64) -> Seed {
        Seed(mix(mix(self.0) ^ index))
    }
}

fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A stream of random integers.
#[derive(Clone, Debug)]
pub struct Stream {
    rng: ChaCha8Rng,
}

impl Stream {
    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// A uniform integer in `0..bound`, without bias.
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a draw has at least one outcome");
        let reject = bound.wrapping_neg() % bound;
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(bound);
            if wide as u64 >= reject {
                return (wide >> 64) as u64;
            }
        }
    }

    /// True with a chance of `ppm` parts per million.
    pub fn chance_ppm(&mut self, ppm: u32) -> bool {
        self.below(1_000_000) < u64::from(ppm)
    }

    /// Moves to the words reserved for `index`: 16 words (eight `next_u64`) each, without a key set-up.
    pub fn seek(&mut self, index: u64) {
        self.rng.set_word_pos(u128::from(index) * 16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_name_and_entity_only() {
        let seed = Seed(7);
        let first = seed.stream("flow", 3).next_u64();
        let mut other = seed.stream("gateway", 3);
        other.next_u64();
        assert_eq!(seed.stream("flow", 3).next_u64(), first);
        assert_ne!(seed.stream("flow", 4).next_u64(), first);
        assert_ne!(seed.stream("gateway", 3).next_u64(), first);
        assert_ne!(Seed(8).stream("flow", 3).next_u64(), first);
    }

    #[test]
    fn seeking_finds_the_same_words_again() {
        let mut stream = Seed(1).stream("order", 0);
        stream.seek(5);
        let there = stream.next_u64();
        stream.seek(0);
        stream.next_u64();
        stream.seek(5);
        assert_eq!(stream.next_u64(), there);
    }

    #[test]
    fn draws_stay_below_their_bound_and_reach_every_value() {
        let mut stream = Seed(1).stream("test", 0);
        let mut seen = [0u32; 7];
        for _ in 0..7_000 {
            seen[stream.below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
    }

    #[test]
    fn known_words_stay_the_same_on_every_platform() {
        let mut stream = Seed(42).stream("golden", 1);
        let words = [stream.next_u64(), stream.next_u64()];
        assert_eq!(words, GOLDEN);
    }

    const GOLDEN: [u64; 2] = [12_063_706_081_653_470_860, 1_461_471_573_312_716_950];
}
