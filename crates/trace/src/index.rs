//! Where blocks are, for seeking by time.

use serde::{Deserialize, Serialize};

use crate::format::{HEAD_BYTES, Head};

/// Places that an index holds. When it is full, every second one is dropped and from then on every second block is added: it
/// never grows, and a seek reads the heads between two places.
const PLACES: usize = 4096;

/// A block, and what a reader must know to begin there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Place {
    /// Byte of the file at which it begins.
    pub offset: u64,
    /// Its number.
    pub block: u64,
    /// The checksum of the head before it.
    pub previous: u32,
    /// What it holds.
    pub kind: u8,
    /// Items in it.
    pub count: u32,
    /// The least time in it, nanoseconds.
    pub first: u64,
    /// The greatest time in all blocks before it.
    pub reached: u64,
}

/// The places of a file's blocks behind the header, as far as it was read or written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Index {
    /// Of how many blocks one has a place.
    pub stride: u64,
    pub places: Vec<Place>,
}

/// Builds an index block by block, the same way for writer and reader.
#[derive(Clone, Debug)]
pub(crate) struct Indexing {
    pub index: Index,
    reached: u64,
}

impl Indexing {
    pub(crate) fn new() -> Indexing {
        Indexing { index: Index { stride: 1, places: Vec::new() }, reached: 0 }
    }

    pub(crate) fn add(&mut self, offset: u64, block: u64, head: &Head) {
        let index = &mut self.index;
        if block % index.stride == 0 && index.places.len() == PLACES {
            index.stride *= 2;
            let stride = index.stride;
            index.places.retain(|place| place.block % stride == 0);
        }
        if block % index.stride == 0 {
            index.places.push(Place {
                offset,
                block,
                previous: head.previous,
                kind: head.kind as u8,
                count: head.count,
                first: head.first,
                reached: self.reached,
            });
        }
        self.reached = self.reached.max(head.last);
    }
}

impl Index {
    /// The last place before which everything lies before `at`.
    pub(crate) fn seek(&self, at: u64) -> Option<&Place> {
        let behind = self.places.partition_point(|place| place.reached < at);
        behind.checked_sub(1).map(|number| &self.places[number])
    }

    /// Whether it could be the index of blocks that end at `end`; else what is wrong.
    pub(crate) fn check(&self, end: u64) -> Result<(), String> {
        let in_order = self.places.windows(2).all(|pair| {
            pair[0].offset < pair[1].offset
                && pair[0].block < pair[1].block
                && pair[0].reached <= pair[1].reached
        });
        // No block is shorter than its head.
        let within = self.places.iter().all(|place| {
            place.block <= place.offset / HEAD_BYTES as u64
                && place.offset.saturating_add(HEAD_BYTES as u64) <= end
        });
        if in_order && within && self.places.len() <= PLACES {
            Ok(())
        } else {
            Err("places out of order or outside of the file".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Kind;

    fn indexed(lasts: impl Iterator<Item = u64>) -> Index {
        let mut indexing = Indexing::new();
        for (number, last) in lasts.enumerate() {
            let head = Head {
                kind: Kind::Events,
                zstd: false,
                count: 1,
                stored: 6,
                unpacked: 6,
                first: last,
                last,
                previous: 0,
                payload: 0,
            };
            indexing.add(100 + number as u64 * 50, number as u64 + 1, &head);
        }
        indexing.index
    }

    #[test]
    fn a_seek_leaves_out_only_blocks_that_lie_before_the_time() {
        let lasts = [5, 3, 9, 9, 12, 7, 20];
        let index = indexed(lasts.into_iter());
        for at in 0..25 {
            let left_out = index.seek(at).map_or(0, |place| place.block as usize - 1);
            assert!(lasts[..left_out].iter().all(|last| *last < at), "{at}: {left_out}");
            let more = lasts[..(left_out + 1).min(7)].iter().all(|last| *last < at);
            assert!(!more || left_out == 6, "{at}: {left_out} and one more lie before it");
        }
    }

    #[test]
    fn a_full_index_keeps_every_second_place_and_stays_the_same_size() {
        for (blocks, stride, places) in [(4096, 1, 4096), (4097, 2, 2048), (20_000, 8, 2500)] {
            let index = indexed(0..blocks);
            assert_eq!((index.stride, index.places.len()), (stride, places));
            assert!(index.places.iter().all(|place| place.block % stride == 0));
            let at = blocks / 2;
            let found = index.seek(at).unwrap();
            assert!(found.block <= at + 1 && found.block + stride > at, "{found:?} for {at}");
        }
    }

    #[test]
    fn places_that_cannot_be_are_refused() {
        let index = indexed(0..5);
        let end = 100 + 5 * 50;
        assert_eq!(index.check(end), Ok(()));
        assert!(index.check(end - 10).is_err(), "the last head does not fit");
        for change in [
            |place: &mut Place| place.offset = 100,
            |place: &mut Place| place.block = 1,
            |place: &mut Place| place.block = u64::MAX,
            |place: &mut Place| place.offset = u64::MAX,
            |place: &mut Place| place.reached = 9,
        ] {
            let mut changed = index.clone();
            change(&mut changed.places[2]);
            assert!(changed.check(end).is_err(), "{:?}", changed.places[2]);
        }
    }
}
