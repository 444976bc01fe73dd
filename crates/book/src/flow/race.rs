//! Which of many clocks rings first: a tournament tree.

/// Order ids stay below this many bits (see [`crate::ids::LIMIT`]), clock numbers below the rest of 64.
const ID_BITS: u32 = 36;
const CLOCK_BITS: u32 = 64 - ID_BITS;

/// A time, an order id and the number of the clock, packed so that a comparison is one subtraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry(u128);

impl Entry {
    /// The entry of a clock that never rings.
    pub(super) const NEVER: Entry = Entry(u128::MAX);

    #[inline]
    pub(super) fn new(at: u64, id: u64, clock: u32) -> Entry {
        Entry(u128::from(at) << 64 | u128::from(id << CLOCK_BITS | u64::from(clock)))
    }

    #[inline]
    pub(super) fn at(self) -> u64 {
        (self.0 >> 64) as u64
    }

    #[inline]
    pub(super) fn id(self) -> u64 {
        self.0 as u64 >> CLOCK_BITS
    }

    #[inline]
    pub(super) fn clock(self) -> u32 {
        self.0 as u32 % (1 << CLOCK_BITS)
    }
}

/// The least of the entries of numbered clocks; a change replays the path from the clock to the root.
#[derive(Clone, Debug)]
pub(super) struct Race {
    /// Node 1 is the root, node `i` holds the lesser of nodes `2i` and `2i + 1`, the upper half are the clocks.
    nodes: Vec<Entry>,
}

impl Race {
    pub(super) fn new() -> Race {
        Race { nodes: vec![Entry::NEVER; 4] }
    }

    /// The least entry.
    #[inline]
    pub(super) fn first(&self) -> Entry {
        self.nodes[1]
    }

    /// Changes the entry of `clock`.
    #[inline]
    pub(super) fn set(&mut self, clock: u32, entry: Entry) {
        if clock as usize >= self.nodes.len() / 2 {
            self.grow(clock as usize + 1);
        }
        let mut node = self.nodes.len() / 2 + clock as usize;
        let mut least = entry;
        while node > 0 && self.nodes[node] != least {
            self.nodes[node] = least;
            least = least.min(self.nodes[node ^ 1]);
            node /= 2;
        }
    }

    #[cold]
    fn grow(&mut self, clocks: usize) {
        assert!(clocks <= 1 << CLOCK_BITS, "a clock's number fits its entry");
        let old = self.nodes.split_off(self.nodes.len() / 2);
        let half = clocks.next_power_of_two();
        self.nodes.clear();
        self.nodes.resize(half, Entry::NEVER);
        self.nodes.extend_from_slice(&old);
        self.nodes.resize(2 * half, Entry::NEVER);
        for node in (1..half).rev() {
            self.nodes[node] = self.nodes[2 * node].min(self.nodes[2 * node + 1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The naive twin: the least entry of a list.
        #[test]
        fn agrees_with_a_searched_list(changes in prop::collection::vec((0u32..40, 0u64..30, 0u64..1 << 36), 1..200)) {
            let mut race = Race::new();
            let mut naive = vec![Entry::NEVER; 40];
            for (clock, at, id) in changes {
                let entry = if at == 0 { Entry::NEVER } else { Entry::new(at, id, clock) };
                race.set(clock, entry);
                naive[clock as usize] = entry;
                let first = race.first();
                prop_assert_eq!(first, *naive.iter().min().unwrap());
                if entry != Entry::NEVER {
                    prop_assert_eq!((entry.at(), entry.id(), entry.clock()), (at, id, clock));
                }
            }
        }
    }
}
