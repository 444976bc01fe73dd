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
