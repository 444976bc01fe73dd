//! Pages, compactly: about three bytes each, and all-zero memory is the initial state, so that a large region is
//! created for nothing.

use numashock_engine::Stream;

use crate::machine::HUGE;
use crate::tiering::{ACCESS_TIME_MASK, Stamp};
use crate::touch::TouchedBy;
use crate::{MapKind, NodeId, NodeMask, Placement, Policy, ProcessId, RegionConfig};

const WORD: u64 = 64;
const BLOCK_WORDS: usize = 64;
const SUPER_BLOCKS: usize = 64;
const BLOCK: u64 = WORD * BLOCK_WORDS as u64;
const SUPER: u64 = BLOCK * SUPER_BLOCKS as u64;

/// A set of pages with counts, so that its k-th member is found without a scan.
#[derive(Clone, Debug)]
pub(crate) struct PageSet {
    words: Vec<u64>,
    blocks: Vec<u32>,
    supers: Vec<u32>,
    pages: u64,
    len: u64,
}

impl PageSet {
    pub(crate) fn new(pages: u64) -> PageSet {
        PageSet {
            words: vec![0; pages.div_ceil(WORD) as usize],
            blocks: vec![0; pages.div_ceil(BLOCK) as usize],
            supers: vec![0; pages.div_ceil(SUPER) as usize],
            pages,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn contains(&self, page: u64) -> bool {
        self.words[(page / WORD) as usize] >> (page % WORD) & 1 == 1
    }

    pub(crate) fn insert(&mut self, page: u64) -> bool {
        self.insert_word((page / WORD) as usize, 1 << (page % WORD)) == 1
    }

    /// Adds the pages of one word; returns how many are new.
    pub(crate) fn insert_word(&mut self, word: usize, bits: u64) -> u32 {
        let new = (bits & !self.words[word]).count_ones();
        if new > 0 {
            self.words[word] |= bits;
            self.blocks[word / BLOCK_WORDS] += new;
            self.supers[word / BLOCK_WORDS / SUPER_BLOCKS] += new;
            self.len += u64::from(new);
        }
        new
    }

    pub(crate) fn remove(&mut self, page: u64) -> bool {
        let (word, bit) = ((page / WORD) as usize, 1u64 << (page % WORD));
        let there = self.words[word] & bit != 0;
        if there {
            self.words[word] &= !bit;
            self.blocks[word / BLOCK_WORDS] -= 1;
            self.supers[word / BLOCK_WORDS / SUPER_BLOCKS] -= 1;
            self.len -= 1;
        }
        there
    }

    /// How many members lie below `page`.
    pub(crate) fn rank(&self, page: u64) -> u64 {
        if page >= self.pages {
            return self.len;
        }
        let word = (page / WORD) as usize;
        let block = word / BLOCK_WORDS;
        let upper = block / SUPER_BLOCKS;
        let supers: u64 = self.supers[..upper].iter().map(|count| u64::from(*count)).sum();
        let blocks: u64 =
            self.blocks[upper * SUPER_BLOCKS..block].iter().map(|count| u64::from(*count)).sum();
        let words: u64 =
            self.words[block * BLOCK_WORDS..word].iter().map(|bits| u64::from(bits.count_ones())).sum();
        let below = self.words[word] & ((1 << (page % WORD)) - 1);
        supers + blocks + words + u64::from(below.count_ones())
    }

    /// The member with `rank` members below it.
    pub(crate) fn select(&self, rank: u64) -> u64 {
        assert!(rank < self.len, "the member exists");
        let mut rest = rank;
        let upper = descend(&self.supers, 0, &mut rest);
        let block = descend(&self.blocks, upper * SUPER_BLOCKS, &mut rest);
        let mut word = block * BLOCK_WORDS;
        loop {
            let count = u64::from(self.words[word].count_ones());
            if rest < count {
                break;
            }
            rest -= count;
            word += 1;
        }
        let mut bits = self.words[word];
        for _ in 0..rest {
            bits &= bits - 1;
        }
        word as u64 * WORD + u64::from(bits.trailing_zeros())
    }

    /// The first member at or after `page`, if there is one.
    pub(crate) fn next_from(&self, page: u64) -> Option<u64> {
        if self.len == 0 || page >= self.pages {
            return None;
        }
        let word = (page / WORD) as usize;
        let bits = self.words[word] & (u64::MAX << (page % WORD));
        if bits != 0 {
            return Some(word as u64 * WORD + u64::from(bits.trailing_zeros()));
        }
        let block_end = ((word / BLOCK_WORDS + 1) * BLOCK_WORDS).min(self.words.len());
        if let Some(found) = first_set(&self.words, word + 1, block_end) {
            return Some(found);
        }
        let mut block = word / BLOCK_WORDS + 1;
        while block < self.blocks.len() {
            if block % SUPER_BLOCKS == 0 && self.supers[block / SUPER_BLOCKS] == 0 {
                block += SUPER_BLOCKS;
                continue;
            }
            if self.blocks[block] > 0 {
                let end = ((block + 1) * BLOCK_WORDS).min(self.words.len());
                return first_set(&self.words, block * BLOCK_WORDS, end);
            }
            block += 1;
        }
        None
    }

    /// A uniformly random one of the `count` members in `from..to`.
    ///
    /// Guessing is fast while members are dense; else the rank structure finds one.
    pub(crate) fn random_member(&self, from: u64, to: u64, count: u64, stream: &mut Stream) -> u64 {
        if count * 8 >= to - from {
            loop {
                let page = from + stream.below(to - from);
                if self.contains(page) {
                    return page;
                }
            }
        }
        self.select(self.rank(from) + stream.below(count))
    }
}

fn descend(counts: &[u32], from: usize, rest: &mut u64) -> usize {
    let mut index = from;
    while *rest >= u64::from(counts[index]) {
        *rest -= u64::from(counts[index]);
        index += 1;
    }
    index
}

fn first_set(words: &[u64], from: usize, to: usize) -> Option<u64> {
    (from..to)
        .find(|word| words[*word] != 0)
        .map(|word| word as u64 * WORD + u64::from(words[word].trailing_zeros()))
}

/// Bits of an access time beyond the 16 that a page keeps for its last access.
const LATE_BITS: u8 = (ACCESS_TIME_MASK >> 16) as u8;

/// One bit a page, without counts; takes no memory until a bit is set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    words: Vec<u64>,
}

impl Flags {
    pub(crate) fn get(&self, page: u64) -> bool {
        self.words.get((page / WORD) as usize).is_some_and(|bits| bits >> (page % WORD) & 1 == 1)
    }

    pub(crate) fn set(&mut self, page: u64, pages: u64) {
        if self.words.is_empty() {
            self.words = vec![0; pages.div_ceil(WORD) as usize];
        }
        self.words[(page / WORD) as usize] |= 1 << (page % WORD);
    }

    pub(crate) fn clear(&mut self, page: u64) {
        if let Some(bits) = self.words.get_mut((page / WORD) as usize) {
            *bits &= !(1 << (page % WORD));
        }
    }

    /// Whether no bit was ever set.
    fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    fn word(&self, word: usize) -> u64 {
        self.words.get(word).copied().unwrap_or(0)
    }

    fn clear_word(&mut self, word: usize, bits: u64) {
        if let Some(there) = self.words.get_mut(word) {
            *there &= !bits;
        }
    }
}

/// Three bytes a page, in one place for the cache's sake: where it is and what its next touch finds, then its last access.
///
/// One allocation of zeroes, which takes no memory until pages in it change.
#[derive(Clone, Debug)]
struct States(Vec<[u8; 3]>);

/// Low bits of the first byte: node + 1, or 0 for where it was at the start.
const NODE_BITS: u8 = 0x1F;
const BATCHED: u8 = 0x20;
const WRITE_PROTECTED: u8 = 0x40;
const FLYING: u8 = 0x80;

impl States {
    fn get(&self, page: u64) -> [u8; 3] {
        self.0[page as usize]
    }

    fn get_mut(&mut self, page: u64) -> &mut [u8; 3] {
        &mut self.0[page as usize]
    }

    fn has(&self, page: u64, flag: u8) -> bool {
        self.get(page)[0] & flag != 0
    }

    fn put(&mut self, page: u64, flag: u8, on: bool) {
        let state = &mut self.get_mut(page)[0];
        *state = if on { *state | flag } else { *state & !flag };
    }
}

/// The CPU and the low 8 bits of the thread id of a page's last recorded access (spec: 2.3).
///
/// Stored inverted, so that zero is the kernel's all-ones "unset". The CPU is a dense slot, not its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastAccess(u16);

impl LastAccess {
    pub(crate) const UNSET: LastAccess = LastAccess(0);

    pub(crate) fn new(cpu_slot: u8, pid: u32) -> LastAccess {
        LastAccess(!(u16::from(cpu_slot) << 8 | (pid & 0xFF) as u16))
    }

    pub(crate) fn is_unset(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn cpu_slot(self) -> u8 {
        (!self.0 >> 8) as u8
    }

    /// A thread whose id ends in 0xFF looks unset here (spec: 2.3).
    pub(crate) fn pid_is_unset(self) -> bool {
        !self.0 & 0xFF == 0xFF
    }

    pub(crate) fn pid_matches(self, pid: u32) -> bool {
        u32::from(!self.0 & 0xFF) == pid & 0xFF
    }
}

/// Scanner state of a mapping, from 6.4 on (spec: 1.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct VmaState {
    pub(crate) next_scan: i64,
    pub(crate) pids_active_reset: i64,
    pub(crate) pids_previous: u64,
    pub(crate) pids_current: u64,
    pub(crate) start_scan_seq: u32,
    pub(crate) prev_scan_seq: u32,
}

/// How many pages of the part before `boundary` (and after the previous one) lie on each node.
#[derive(Clone, Debug)]
struct Part {
    end: u64,
    on_node: Vec<u64>,
}

/// A mapping and the state of its pages.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) process: ProcessId,
    /// The region that its mapping begins with, which has the scanner's state.
    pub(crate) head: usize,
    pub(crate) base: u64,
    /// Pages, each of `unit` base pages.
    pub(crate) pages: u64,
    pub(crate) unit: u64,
    pub(crate) kind: MapKind,
    pub(crate) policy: Policy,
    pub(crate) dma_pinned: bool,
    pub(crate) locked: bool,
    pub(crate) mapped_elsewhere: bool,
    placement: Placement,
    /// Pages whose next touch is an event: marked, under migration, write-protected or not yet written.
    pub(crate) attention: PageSet,
    /// Those of them that are not marked.
    unmarked: Flags,
    /// Pages whose first write is an event: it copies a page of a private file mapping, and dirties one of a shared.
    pub(crate) unwritten: Flags,
    state: States,
    /// What of each page's access time the 16 bits of its last access leave out, inverted as they are (spec: 2.6). No memory until
    /// a time is stored.
    late_bits: Vec<u8>,
    parts: Vec<Part>,
    /// Counts the times pages were added to `attention`.
    pub(crate) epoch: u32,
    pub(crate) touched_by: TouchedBy,
    /// Whether anybody reads it, and writes to it.
    pub(crate) any_reads: bool,
    pub(crate) any_writes: bool,
    pub(crate) vma: Option<VmaState>,
    /// How often a page changed its node.
    pub(crate) moves: u64,
    /// The last pass that marked pages of each 2 MiB: the name of those markings in draws.
    marked_in: Vec<u32>,
    /// By page, one more than the number of the pass that marked it last; empty unless notes are kept.
    pub(crate) marked_by: Vec<u32>,
}

impl Region {
    pub(crate) fn new(config: &RegionConfig, base: u64, nodes: usize, mut boundaries: Vec<u64>) -> Region {
        let unit = config.kind.unit();
        let pages = config.pages / unit;
        boundaries.push(pages);
        boundaries.sort_unstable();
        boundaries.dedup();
        let mut from = 0;
        let parts = boundaries
            .into_iter()
            .map(|end| {
                let part = Part { end, on_node: initial_counts(&config.placement, from, end, nodes) };
                from = end;
                part
            })
            .collect();
        let mut region = Region {
            process: config.process,
            head: 0,
            base,
            pages,
            unit,
            kind: config.kind,
            policy: config.policy,
            dma_pinned: config.dma_pinned,
            locked: config.locked,
            mapped_elsewhere: config.mapped_elsewhere,
            placement: config.placement.clone(),
            attention: PageSet::new(pages),
            unmarked: Flags::default(),
            unwritten: Flags::default(),
            state: States(vec![[0; 3]; pages as usize]),
            late_bits: Vec::new(),
            parts,
            epoch: 0,
            touched_by: TouchedBy::Nobody,
            any_reads: false,
            any_writes: false,
            vma: None,
            moves: 0,
            marked_in: vec![0; config.pages.div_ceil(HUGE) as usize],
            marked_by: Vec::new(),
        };
        if config.kind.copies_on_write() || config.kind == (MapKind::FileShared { dirty: false }) {
            for page in 0..pages {
                region.unwritten.set(page, pages);
                region.unmarked.set(page, pages);
                region.attention.insert(page);
            }
        }
        region
    }

    pub(crate) fn end(&self) -> u64 {
        self.base + self.base_pages()
    }

    /// Its size in base pages.
    pub(crate) fn base_pages(&self) -> u64 {
        self.pages * self.unit
    }

    pub(crate) fn node_of(&self, page: u64) -> NodeId {
        match self.state.get(page)[0] & NODE_BITS {
            0 => initial_node(&self.placement, page),
            stored => NodeId(stored - 1),
        }
    }

    pub(crate) fn set_node(&mut self, page: u64, node: NodeId) {
        self.moves += 1;
        let old = self.node_of(page);
        let part = self.parts.iter_mut().find(|part| page < part.end).expect("the parts cover the region");
        part.on_node[old.index()] -= 1;
        part.on_node[node.index()] += 1;
        let state = &mut self.state.get_mut(page)[0];
        *state = *state & !NODE_BITS | (node.0 + 1);
    }

    pub(crate) fn pages_on(&self, node: NodeId) -> u64 {
        self.parts.iter().map(|part| part.on_node[node.index()]).sum()
    }

    /// Pages on `node` among those in `from..to`, which are boundaries of parts.
    pub(crate) fn pages_on_between(&self, node: NodeId, from: u64, to: u64) -> u64 {
        self.parts
            .iter()
            .filter(|part| from < part.end && part.end <= to)
            .map(|part| part.on_node[node.index()])
            .sum()
    }

    pub(crate) fn last(&self, page: u64) -> LastAccess {
        let [_, low, high] = self.state.get(page);
        LastAccess(u16::from_le_bytes([low, high]))
    }

    pub(crate) fn set_last(&mut self, page: u64, last: LastAccess) {
        let [low, high] = last.0.to_le_bytes();
        let state = self.state.get_mut(page);
        state[1] = low;
        state[2] = high;
        if let Some(late) = self.late_bits.get_mut(page as usize) {
            // No CPU in use has a number that needs them; unset is all ones.
            *late = if last.is_unset() { 0 } else { LATE_BITS };
        }
    }

    /// The CPU that the field of the last access names, known or not: the time of an access names any (spec: 2.4 S2).
    pub(crate) fn last_cpu(&self, page: u64) -> usize {
        let late = self.late_bits.get(page as usize).map_or(0, |late| !late & LATE_BITS);
        usize::from(self.last(page).cpu_slot()) | usize::from(late) << 8
    }

    /// The low bits of the time in ms that stands in the place of the last access (spec: 2.6).
    pub(crate) fn access_time(&self, page: u64) -> u64 {
        let late = self.late_bits.get(page as usize).copied().unwrap_or(0);
        u64::from(!self.last(page).0) | u64::from(!late & LATE_BITS) << 16
    }

    pub(crate) fn set_access_time(&mut self, page: u64, millis: u64) {
        if self.late_bits.is_empty() {
            // As users leave them: a page keeps its last access until its own time is stored.
            let users = |page| if self.last(page).is_unset() { 0 } else { LATE_BITS };
            self.late_bits = (0..self.pages).map(users).collect();
        }
        self.set_last(page, LastAccess(!(millis as u16)));
        self.late_bits[page as usize] = !((millis >> 16) as u8) & LATE_BITS;
    }

    /// Whether the next write takes a write-protect fault (spec: 2.2).
    pub(crate) fn is_write_protected(&self, page: u64) -> bool {
        self.state.has(page, WRITE_PROTECTED)
    }

    pub(crate) fn set_write_protected(&mut self, page: u64, on: bool) {
        self.state.put(page, WRITE_PROTECTED, on);
    }

    /// Whether the page waits in an LRU batch (spec: 8 F3).
    pub(crate) fn is_batched(&self, page: u64) -> bool {
        self.state.has(page, BATCHED)
    }

    pub(crate) fn set_batched(&mut self, page: u64, on: bool) {
        self.state.put(page, BATCHED, on);
    }

    /// Whether the page is being copied and another thread may have to wait for it.
    pub(crate) fn is_flying(&self, page: u64) -> bool {
        self.state.has(page, FLYING)
    }

    pub(crate) fn set_flying(&mut self, page: u64, on: bool) {
        self.state.put(page, FLYING, on);
    }

    pub(crate) fn is_marked(&self, page: u64) -> bool {
        self.attention.contains(page) && !(self.may_be_unmarked(page) && self.unmarked.get(page))
    }

    /// Unmarks a page; it stays in the attention set where `keep` says that something else waits for its next touch.
    pub(crate) fn unmark(&mut self, page: u64, keep: bool) {
        if keep {
            self.unmarked.set(page, self.pages);
        } else {
            self.attention.remove(page);
        }
    }

    /// Takes a page that is not marked out of the attention set.
    pub(crate) fn forget(&mut self, page: u64) {
        self.unmarked.clear(page);
        self.attention.remove(page);
    }

    /// Whether something else than a mark holds, or held until now, the page in the attention set.
    pub(crate) fn is_unmarked(&self, page: u64) -> bool {
        self.unmarked.get(page)
    }

    /// False where the state, which is at hand, says that nothing but a mark can hold the page in the attention set.
    fn may_be_unmarked(&self, page: u64) -> bool {
        !self.unwritten.is_empty() || self.state.has(page, WRITE_PROTECTED | FLYING)
    }

    fn marked_word(&self, word: usize) -> u64 {
        self.attention.words[word] & !self.unmarked.word(word)
    }

    pub(crate) fn is_anonymous_private(&self, page: u64) -> bool {
        match self.kind {
            MapKind::Anonymous | MapKind::AnonymousHuge | MapKind::AnonymousLarge { .. } => true,
            kind => kind.copies_on_write() && !self.unwritten.get(page),
        }
    }

    /// Whether the pages are mapped as 2 MiB.
    pub(crate) fn is_huge(&self) -> bool {
        self.kind == MapKind::AnonymousHuge
    }

    /// Whether the page belongs to a file and has to be written back before it can move.
    pub(crate) fn is_dirty_file(&self, page: u64) -> bool {
        match self.kind {
            MapKind::FileCopyOnWrite => self.unwritten.get(page),
            MapKind::FileShared { .. } => !self.unwritten.get(page),
            _ => false,
        }
    }

    /// The last pass that marked pages of the 2 MiB around a page.
    pub(crate) fn marked_in(&self, page: u64) -> u64 {
        u64::from(self.marked_in[(page * self.unit / HUGE) as usize])
    }

    /// Notes that a pass marked pages of `from..to`, in base pages.
    pub(crate) fn note_pass(&mut self, from: u64, to: u64, pass: u64) {
        self.marked_in[(from / HUGE) as usize..to.div_ceil(HUGE) as usize].fill(pass as u32);
    }

    /// What a marking of `from..to`, in base pages, would find.
    pub(crate) fn survey(&self, from: u64, to: u64, spared: &Spared) -> Survey {
        let mut found = Survey::default();
        for (word, mask) in words(from / self.unit, to / self.unit) {
            let eligible = self.eligible(word, mask, spared);
            let already = self.marked_word(word) & mask;
            found.marked += u64::from(eligible.count_ones());
            found.already += u64::from(already.count_ones());
            found.left += u64::from((mask & !eligible & !already).count_ones());
        }
        found
    }

    /// Marks what can be marked in `from..to`, in base pages (spec: 1.7); returns how many pages of its own size.
    pub(crate) fn mark(&mut self, from: u64, to: u64, spared: &Spared, stamp: Option<Stamp>) -> u64 {
        let mut count = 0;
        for (word, mask) in words(from / self.unit, to / self.unit) {
            let eligible = self.eligible(word, mask, spared);
            if let Some(stamp) = stamp {
                for page in pages_of(word, self.on_nodes(word, eligible, stamp.nodes)) {
                    self.set_access_time(page, stamp.millis);
                }
            }
            self.attention.insert_word(word, eligible);
            self.unmarked.clear_word(word, eligible);
            count += u64::from(eligible.count_ones());
        }
        if count > 0 {
            self.epoch += 1;
        }
        count
    }

    /// The pages of a word that can be marked.
    fn eligible(&self, word: usize, mask: u64, spared: &Spared) -> u64 {
        if spared.all {
            return 0;
        }
        let mut eligible = mask & !self.marked_word(word);
        if spared.unwritten {
            eligible &= !self.unwritten.word(word);
        }
        if spared.written {
            eligible &= self.unwritten.word(word);
        }
        for page in &spared.pages {
            if (page / WORD) as usize == word {
                eligible &= !(1 << (page % WORD));
            }
        }
        let mut nodes = spared.nodes;
        if let Some(local) = spared.local {
            nodes.0 |= 1 << local.0;
        }
        eligible & !self.on_nodes(word, eligible, nodes)
    }

    /// Those pages of a word that lie on one of some nodes.
    fn on_nodes(&self, word: usize, bits: u64, nodes: NodeMask) -> u64 {
        if nodes.is_empty() {
            return 0;
        }
        pages_of(word, bits)
            .filter(|page| nodes.contains(self.node_of(*page)))
            .fold(0, |found, page| found | 1 << (page % WORD))
    }
}

/// Which pages of a region a pass leaves as they are (spec: 1.7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spared {
    /// All of them.
    pub(crate) all: bool,
    /// Those on this node.
    pub(crate) local: Option<NodeId>,
    /// Those on any of these.
    pub(crate) nodes: NodeMask,
    /// Those not written yet, and those written.
    pub(crate) unwritten: bool,
    pub(crate) written: bool,
    /// These one by one.
    pub(crate) pages: Vec<u64>,
}

/// What a marking range would find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    pub(crate) marked: u64,
    pub(crate) already: u64,
    /// Looked at and left: local, dirty, under migration or in an LRU batch.
    pub(crate) left: u64,
}

/// The words that `from..to` covers, each with the bits that lie inside.
fn words(from: u64, to: u64) -> impl Iterator<Item = (usize, u64)> {
    let last = to.div_ceil(WORD);
    (from / WORD..last).map(move |word| {
        let start = word * WORD;
        let mut mask = u64::MAX;
        if start < from {
            mask &= u64::MAX << (from - start);
        }
        if start + WORD > to {
            mask &= u64::MAX >> (start + WORD - to);
        }
        (word as usize, mask)
    })
}

/// The pages that the bits of a word stand for.
fn pages_of(word: usize, bits: u64) -> impl Iterator<Item = u64> {
    let mut rest = bits;
    core::iter::from_fn(move || {
        let bit = (rest != 0).then(|| rest.trailing_zeros())?;
        rest &= rest - 1;
        Some(word as u64 * WORD + u64::from(bit))
    })
}

fn initial_node(placement: &Placement, page: u64) -> NodeId {
    match placement {
        Placement::Node(node) => *node,
        Placement::Interleave(nodes) => nodes[(page % nodes.len() as u64) as usize],
    }
}

fn initial_counts(placement: &Placement, from: u64, to: u64, nodes: usize) -> Vec<u64> {
    let mut counts = vec![0; nodes];
    match placement {
        Placement::Node(node) => counts[node.index()] = to - from,
        Placement::Interleave(list) => {
            let turns = list.len() as u64;
            for (turn, node) in list.iter().enumerate() {
                // How many numbers below x leave the remainder `turn`.
                let below = |x: u64| (x + turns - 1 - turn as u64) / turns;
                counts[node.index()] += below(to) - below(from);
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use numashock_engine::Seed;
    use proptest::prelude::*;

    proptest! {
        /// The naive twin: a vector of booleans.
        #[test]
        fn a_page_set_agrees_with_a_vector(
            pages in 1u64..9000,
            steps in prop::collection::vec((any::<bool>(), any::<u64>()), 0..200),
            probe in any::<u64>(),
        ) {
            let mut set = PageSet::new(pages);
            let mut naive = vec![false; pages as usize];
            for (insert, page) in steps {
                let page = page % pages;
                let changed = if insert { set.insert(page) } else { set.remove(page) };
                prop_assert_eq!(changed, naive[page as usize] != insert);
                naive[page as usize] = insert;
            }
            let members: Vec<u64> = (0..pages).filter(|page| naive[*page as usize]).collect();
            prop_assert_eq!(set.len(), members.len() as u64);
            for (rank, page) in members.iter().enumerate() {
                prop_assert_eq!(set.select(rank as u64), *page);
                prop_assert_eq!(set.rank(*page), rank as u64);
            }
            let probe = probe % (pages + 1);
            prop_assert_eq!(set.next_from(probe), members.iter().copied().find(|page| *page >= probe));
            prop_assert_eq!(set.rank(probe), members.iter().filter(|page| **page < probe).count() as u64);
        }

        #[test]
        fn words_cover_a_range_exactly(from in 0u64..500, length in 0u64..500) {
            let pages: Vec<u64> = words(from, from + length)
                .flat_map(|(word, mask)| (0..64).filter(move |bit| mask >> bit & 1 == 1).map(move |bit| word as u64 * 64 + bit))
                .collect();
            prop_assert_eq!(pages, (from..from + length).collect::<Vec<_>>());
        }

        #[test]
        fn interleaved_counts_add_up(from in 0u64..100, length in 0u64..100, turns in 1usize..5) {
            let placement = Placement::Interleave((0..turns).map(|turn| NodeId((turn % 3) as u8)).collect());
            let counts = initial_counts(&placement, from, from + length, 3);
            for node in 0..3 {
                let naive = (from..from + length).filter(|page| initial_node(&placement, *page) == NodeId(node)).count();
                prop_assert_eq!(counts[node as usize], naive as u64);
            }
        }
    }

    fn region_of(pages: u64, placement: Placement, nodes: usize) -> Region {
        let config = RegionConfig {
            name: "heap".to_owned(),
            process: ProcessId(0),
            pages,
            placement,
            policy: Policy::Default,
            kind: MapKind::Anonymous,
            continues: false,
            first_touch: None,
            dma_pinned: false,
            locked: false,
            mapped_elsewhere: false,
        };
        Region::new(&config, 0, nodes, Vec::new())
    }

    proptest! {
        /// The naive twin: the kernel's field of 21 bits, CPU above thread id, all ones at first.
        #[test]
        fn times_and_users_share_one_field(
            steps in prop::collection::vec((0u64..50, 0u8..3, any::<u64>()), 0..60),
        ) {
            let mut region = region_of(50, Placement::Node(NodeId(0)), 1);
            let mut naive = vec![ACCESS_TIME_MASK; 50];
            let mut timed = false;
            for (page, what, value) in steps {
                let (cpu, pid) = ((value >> 32) % 255, value & 0xFF);
                naive[page as usize] = match what {
                    0 => ACCESS_TIME_MASK,
                    1 => cpu << 8 | pid,
                    _ => value & ACCESS_TIME_MASK,
                };
                match what {
                    0 => region.set_last(page, LastAccess::UNSET),
                    1 => region.set_last(page, LastAccess::new(cpu as u8, pid as u32)),
                    _ => region.set_access_time(page, value),
                }
                timed |= what == 2;
                // A fourth byte for each page, and none where no time was ever stored.
                prop_assert_eq!(region.late_bits.len(), if timed { 50 } else { 0 });
                for (page, field) in naive.iter().enumerate() {
                    let cpu = (field >> 8) as usize;
                    // Without times, all ones is the one field with a CPU beyond 8 bits.
                    prop_assert_eq!(region.last_cpu(page as u64), if timed { cpu } else { cpu & 0xFF });
                    prop_assert!(!timed || region.access_time(page as u64) == *field);
                    prop_assert_eq!(region.last(page as u64).pid_is_unset(), field & 0xFF == 0xFF);
                }
            }
        }
    }

    #[test]
    fn a_marking_spares_some_nodes_and_stamps_others() {
        let turns = [0, 1, 2].map(NodeId).to_vec();
        let mut region = region_of(300, Placement::Interleave(turns), 3);
        region.set_last(2, LastAccess::new(3, 77));
        let spared = Spared { nodes: NodeMask(1), ..Spared::default() };
        let stamp = Stamp { nodes: NodeMask(2), millis: (1 << 21) + 70_000 };
        assert_eq!(region.survey(0, 300, &spared), Survey { marked: 200, already: 0, left: 100 });
        assert_eq!(region.mark(0, 200, &spared, Some(stamp)), 133);
        for page in 0..300 {
            assert_eq!(region.is_marked(page), page < 200 && page % 3 != 0, "{page}");
            let expected = match page {
                2 => 3 << 8 | 77,
                page if page < 200 && page % 3 == 1 => 70_000,
                _ => ACCESS_TIME_MASK,
            };
            assert_eq!(region.access_time(page), expected, "{page}");
        }
        // What is marked keeps the time of its marking.
        let later = Stamp { millis: 90_000, ..stamp };
        assert_eq!(region.mark(0, 300, &Spared::default(), Some(later)), 167);
        assert_eq!([1, 199, 202].map(|page| region.access_time(page)), [70_000, 70_000, 90_000]);
    }

    #[test]
    fn a_page_under_migration_is_not_marked() {
        let mut region = region_of(100, Placement::Node(NodeId(0)), 1);
        let spared = Spared { pages: vec![70], ..Spared::default() };
        assert_eq!(region.survey(0, 100, &spared), Survey { marked: 99, already: 0, left: 1 });
        assert_eq!(region.mark(0, 100, &spared, None), 99);
        assert!(region.is_marked(69) && !region.is_marked(70));
        assert_eq!(region.mark(0, 100, &Spared::default(), None), 1);
    }

    #[test]
    fn a_page_keeps_its_node_beside_what_its_next_touch_finds() {
        let mut states = States(vec![[0; 3]; 2]);
        for (flag, node) in [(BATCHED, 30), (WRITE_PROTECTED, 0), (FLYING, 17)] {
            states.get_mut(1)[0] = node + 1;
            states.put(1, flag, true);
            assert!(states.has(1, flag) && states.get(1)[0] & NODE_BITS == node + 1);
            states.put(1, flag, false);
            assert_eq!(states.0, [[0; 3], [node + 1, 0, 0]]);
        }
    }

    #[test]
    fn random_members_are_uniform_whether_dense_or_sparse() {
        let mut stream = Seed(3).stream("test", 0);
        for step in [2, 100] {
            let mut set = PageSet::new(1000);
            (0..1000).step_by(step).for_each(|page| assert!(set.insert(page)));
            let count = set.len();
            let mut seen = vec![0u32; 1000];
            for _ in 0..count * 400 {
                seen[set.random_member(0, 1000, count, &mut stream) as usize] += 1;
            }
            for (page, times) in seen.iter().enumerate() {
                let expected = if page % step == 0 { 400 } else { 0 };
                assert!(times.abs_diff(expected) <= expected / 4, "page {page}: {times}");
            }
        }
    }

    #[test]
    fn zeroed_last_access_is_unset_and_ids_collide_in_8_bits() {
        assert!(LastAccess::UNSET.is_unset() && LastAccess::UNSET.pid_is_unset());
        let last = LastAccess::new(3, 0x1234);
        assert_eq!((last.cpu_slot(), last.is_unset(), last.pid_is_unset()), (3, false, false));
        assert!(last.pid_matches(0x34) && last.pid_matches(0x9934) && !last.pid_matches(0x35));
        assert!(LastAccess::new(3, 0x12FF).pid_is_unset());
    }
}
