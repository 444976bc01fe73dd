//! CPUs in use, and the pages that wait in their LRU batches (spec: 8 F3).

use crate::{CpuId, NodeId};

/// A CPU that some thread has run on: its threads, and its LRU batch of new pages (spec: 8 F3).
#[derive(Clone, Debug)]
pub(crate) struct CpuSlot {
    pub(crate) cpu: CpuId,
    pub(crate) node: NodeId,
    pub(crate) isolated: bool,
    pub(crate) nohz_full: bool,
    /// Its threads, in the order of their list.
    pub(crate) threads: Vec<usize>,
    /// Balancing attempts between nodes that moved nothing, since the last that did.
    pub(crate) balance_failed: u32,
    /// Pages as [`batch_entry`] packs them.
    pub(crate) batch: Vec<u64>,
}

/// A page in a batch that no region maps any more.
pub(crate) const UNMAPPED: u64 = u64::MAX;

/// A page of a region in one word.
pub(crate) fn batch_entry(region: usize, page: u64) -> u64 {
    (region as u64) << 48 | page
}

/// Region and page of such a word.
pub(crate) fn of_batch_entry(entry: u64) -> (usize, u64) {
    ((entry >> 48) as usize, entry & ((1 << 48) - 1))
}
