//! Prices to slots: a 64-way tree of occupancy bitmaps.
//!
//! A leaf holds 64 neighbouring prices; the slots of a leaf lie together, so that the levels near the touch share
//! cache lines. The tree is rooted at the first price seen and grows a layer when a price falls outside, so that a
//! usual book is two loads deep while a stub quote a million ticks away costs one leaf and not a million entries.

use crate::Ticks;

/// Where a price's data lie in the arrays that their owner keeps, one entry a slot.
pub(crate) type Slot = u32;

/// No slot.
pub(crate) const NONE: Slot = u32::MAX;

const DIGIT: u32 = 6;
const WIDTH: u64 = 1 << DIGIT;
const LAYERS: u32 = 10;
const KEYS: u64 = 1 << (DIGIT * LAYERS);
/// The first price's key: the middle digit in every layer, so that both directions have equal room.
const CENTRE: u64 = KEYS / 2 + (KEYS / 2 - 1) / (WIDTH - 1);

/// The occupied prices.
#[derive(Clone, Debug)]
pub(crate) struct Ladder {
    /// The price whose key is zero.
    origin: i64,
    root: u32,
    /// The root's first key, and how many it covers: none before the first price.
    first: u64,
    covers: u64,
    /// Layers of inner nodes above the leaves.
    height: u32,
    inner: Vec<Inner>,
    leaves: Vec<Leaf>,
    spare_inner: Vec<u32>,
    spare_leaves: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Inner {
    occupied: u64,
    /// [`NONE`] where the bit of `occupied` is clear.
    child: [u32; WIDTH as usize],
}

#[derive(Clone, Copy, Debug)]
struct Leaf {
    occupied: u64,
    /// The key of its first price.
    first: u64,
}

/// The direction of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toward {
    Higher,
    Lower,
}

impl Ladder {
    pub(crate) fn new() -> Ladder {
        Ladder {
            origin: 0,
            root: 0,
            first: 0,
            covers: 0,
            height: 1,
            inner: vec![Inner { occupied: 0, child: [NONE; WIDTH as usize] }],
            leaves: Vec::new(),
            spare_inner: Vec::new(),
            spare_leaves: Vec::new(),
        }
    }

    /// The slots handed out so far lie below this number.
    pub(crate) fn slots(&self) -> usize {
        self.leaves.len() * WIDTH as usize
    }

    /// The price of a slot.
    #[inline]
    pub(crate) fn price(&self, slot: Slot) -> Ticks {
        let leaf = &self.leaves[(slot >> DIGIT) as usize];
        self.price_of(leaf.first + u64::from(slot) % WIDTH)
    }

    /// The slot of an occupied price.
    #[inline]
    pub(crate) fn find(&self, price: Ticks) -> Option<Slot> {
        let key = self.key(price);
        if !self.covers(key) {
            return None;
        }
        let mut node = self.root;
        for layer in (1..=self.height).rev() {
            node = self.inner[node as usize].child[digit(key, layer) as usize];
            if node == NONE {
                return None;
            }
        }
        let occupied = self.leaves[node as usize].occupied >> digit(key, 0) & 1 == 1;
        occupied.then_some(slot_of(node, key))
    }

    /// Marks a price as occupied and gives its slot, the same until [`Ladder::remove`].
    ///
    /// # Panics
    /// If the price lies 2^58 ticks or more from the first one.
    #[inline]
    pub(crate) fn insert(&mut self, price: Ticks) -> Slot {
        let mut key = self.key(price);
        if !self.covers(key) {
            self.reach(price);
            key = self.key(price);
        }
        let mut node = self.root;
        for layer in (1..=self.height).rev() {
            let child = self.inner[node as usize].child[digit(key, layer) as usize];
            node = if child == NONE { self.new_child(node, key, layer) } else { child };
        }
        self.leaves[node as usize].occupied |= 1 << digit(key, 0);
        slot_of(node, key)
    }

    /// Marks a slot's price as free.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let leaf = (slot >> DIGIT) as usize;
        let bit = 1 << (u64::from(slot) % WIDTH);
        assert!(self.leaves[leaf].occupied & bit != 0, "a slot is freed once");
        self.leaves[leaf].occupied &= !bit;
        if self.leaves[leaf].occupied == 0 {
            self.prune(self.leaves[leaf].first);
        }
    }

    /// The nearest occupied slot beyond `slot`.
    #[inline]
    pub(crate) fn next(&self, slot: Slot, toward: Toward) -> Option<Slot> {
        let leaf = &self.leaves[(slot >> DIGIT) as usize];
        let place = slot % WIDTH as u32;
        let beyond = match toward {
            Toward::Higher => leaf.occupied & (u64::MAX << place) & !(1 << place),
            Toward::Lower => leaf.occupied & !(u64::MAX << place),
        };
        if beyond != 0 {
            let found = match toward {
                Toward::Higher => beyond.trailing_zeros(),
                Toward::Lower => 63 - beyond.leading_zeros(),
            };
            return Some(slot - place + found);
        }
        let key = match toward {
            Toward::Higher => leaf.first + WIDTH,
            Toward::Lower => leaf.first.checked_sub(1)?,
        };
        self.seek(key, toward)
    }

    /// The nearest occupied slot at `price` or beyond.
    pub(crate) fn at_or_beyond(&self, price: Ticks, toward: Toward) -> Option<Slot> {
        // A price that leaves the range of keys lies beyond every occupied one.
        let key = i128::from(price.0) - i128::from(self.origin);
        self.seek(key.clamp(0, i128::from(KEYS - 1)) as u64, toward)
    }

    /// Searches upward; downward is the same search with every digit mirrored.
    fn seek(&self, key: u64, toward: Toward) -> Option<Slot> {
        let mirror = match toward {
            Toward::Higher => 0,
            Toward::Lower => KEYS - 1,
        };
        if self.covers == 0 {
            return None;
        }
        let first = (CENTRE ^ mirror) & !(self.covers - 1);
        let mut key = (key ^ mirror).max(first);
        'descend: while key < first + self.covers {
            let mut node = self.root;
            for layer in (0..=self.height).rev() {
                let occupied = match layer {
                    0 => self.leaves[node as usize].occupied,
                    _ => self.inner[node as usize].occupied,
                };
                let occupied = if mirror == 0 { occupied } else { occupied.reverse_bits() };
                let ahead = occupied & (u64::MAX << digit(key, layer));
                if ahead == 0 {
                    key = (key | (span(layer + 1) - 1)) + 1;
                    continue 'descend;
                }
                let place = ahead.trailing_zeros();
                if place > digit(key, layer) {
                    key = (key & !(span(layer + 1) - 1)) | u64::from(place) << (DIGIT * layer);
                }
                if layer > 0 {
                    node = self.inner[node as usize].child[digit(key ^ mirror, layer) as usize];
                }
            }
            return Some(slot_of(node, key ^ mirror));
        }
        None
    }

    /// A price's key; for a price outside the root, any number outside it.
    #[inline]
    fn key(&self, price: Ticks) -> u64 {
        price.0.wrapping_sub(self.origin) as u64
    }

    fn price_of(&self, key: u64) -> Ticks {
        Ticks(self.origin + key as i64)
    }

    #[inline]
    fn covers(&self, key: u64) -> bool {
        key.wrapping_sub(self.first) < self.covers
    }

    /// Grows the root until it covers `price`; the first price gets the middle key.
    #[cold]
    fn reach(&mut self, price: Ticks) {
        if self.covers == 0 {
            assert!(price.0.unsigned_abs() < KEYS, "a price lies within 2^60 ticks of zero");
            self.origin = price.0 - CENTRE as i64;
        } else {
            let away = i128::from(price.0) - i128::from(self.origin);
            assert!((0..i128::from(KEYS)).contains(&away), "prices lie within 2^58 ticks of each other");
        }
        let key = self.key(price);
        self.root_covers();
        while !self.covers(key) {
            let root = self.new_inner();
            self.height += 1;
            if self.inner[self.root as usize].occupied != 0 {
                let place = digit(CENTRE, self.height);
                self.inner[root as usize].occupied = 1 << place;
                self.inner[root as usize].child[place as usize] = self.root;
            } else {
                self.spare_inner.push(self.root);
            }
            self.root = root;
            self.root_covers();
        }
    }

    fn root_covers(&mut self) {
        self.covers = span(self.height + 1);
        self.first = CENTRE & !(self.covers - 1);
    }

    #[cold]
    fn new_child(&mut self, node: u32, key: u64, layer: u32) -> u32 {
        let fresh = if layer == 1 { self.new_leaf(key & !(WIDTH - 1)) } else { self.new_inner() };
        let place = digit(key, layer);
        self.inner[node as usize].child[place as usize] = fresh;
        self.inner[node as usize].occupied |= 1 << place;
        fresh
    }

    /// Frees the empty leaf that holds `key`, and the inner nodes that this empties, the root excepted.
    fn prune(&mut self, key: u64) {
        let mut path = [self.root; LAYERS as usize + 1];
        for layer in (1..=self.height).rev() {
            let parent = path[layer as usize];
            path[layer as usize - 1] = self.inner[parent as usize].child[digit(key, layer) as usize];
        }
        self.spare_leaves.push(path[0]);
        for layer in 1..=self.height {
            let parent = &mut self.inner[path[layer as usize] as usize];
            parent.occupied &= !(1 << digit(key, layer));
            parent.child[digit(key, layer) as usize] = NONE;
            if parent.occupied != 0 || layer == self.height {
                break;
            }
            self.spare_inner.push(path[layer as usize]);
        }
    }

    fn new_leaf(&mut self, first: u64) -> u32 {
        let fresh = Leaf { occupied: 0, first };
        match self.spare_leaves.pop() {
            Some(leaf) => {
                self.leaves[leaf as usize] = fresh;
                leaf
            }
            None => {
                assert!(self.leaves.len() < (u32::MAX / WIDTH as u32) as usize, "slots fit 32 bits");
                self.leaves.push(fresh);
                self.leaves.len() as u32 - 1
            }
        }
    }

    fn new_inner(&mut self) -> u32 {
        match self.spare_inner.pop() {
            Some(inner) => inner,
            None => {
                self.inner.push(Inner { occupied: 0, child: [NONE; WIDTH as usize] });
                self.inner.len() as u32 - 1
            }
        }
    }
}

#[inline]
fn digit(key: u64, layer: u32) -> u32 {
    (key >> (DIGIT * layer)) as u32 % WIDTH as u32
}

/// How many keys a node of the layer below `layer` covers.
fn span(layer: u32) -> u64 {
    1 << (DIGIT * layer)
}

#[inline]
fn slot_of(leaf: u32, key: u64) -> Slot {
    leaf << DIGIT | digit(key, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Prices near each other and prices far away, so that the tree grows and prunes several layers.
    fn price() -> impl Strategy<Value = i64> {
        prop_oneof![4 => -80i64..80, 2 => -5_000i64..5_000, 1 => -(1i64 << 40)..(1i64 << 40)]
    }

    proptest! {
        /// The naive twin: an ordered set.
        #[test]
        fn agrees_with_an_ordered_set(first in price(), steps in prop::collection::vec((price(), any::<bool>()), 0..200)) {
            let mut ladder = Ladder::new();
            let mut set = BTreeSet::new();
            for (price, add) in std::iter::once((first, true)).chain(steps) {
                match ladder.find(Ticks(price)) {
                    Some(slot) => {
                        prop_assert!(set.contains(&price));
                        prop_assert_eq!(ladder.price(slot), Ticks(price));
                        if !add {
                            ladder.remove(slot);
                            set.remove(&price);
                        }
                    }
                    None => {
                        prop_assert!(!set.contains(&price));
                        if add {
                            let slot = ladder.insert(Ticks(price));
                            prop_assert!((slot as usize) < ladder.slots());
                            set.insert(price);
                        }
                    }
                }
                let seek = |toward| ladder.at_or_beyond(Ticks(price), toward).map(|slot| ladder.price(slot).0);
                prop_assert_eq!(seek(Toward::Higher), set.range(price..).next().copied());
                prop_assert_eq!(seek(Toward::Lower), set.range(..=price).next_back().copied());
                if let Some(slot) = ladder.find(Ticks(price)) {
                    let next = |toward| ladder.next(slot, toward).map(|slot| ladder.price(slot).0);
                    prop_assert_eq!(next(Toward::Higher), set.range(price + 1..).next().copied());
                    prop_assert_eq!(next(Toward::Lower), set.range(..price).next_back().copied());
                }
            }
        }
    }

    #[test]
    fn far_prices_cost_a_leaf_each_and_freed_leaves_are_used_again() {
        let mut ladder = Ladder::new();
        for round in 0..1_000i64 {
            let slot = ladder.insert(Ticks(round * 1_000_000));
            ladder.remove(slot);
        }
        assert_eq!(ladder.slots(), 64);
        assert!(ladder.inner.len() <= 2 * LAYERS as usize);
    }
}
