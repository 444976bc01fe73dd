//! Notes beside the semantic events: what balancing did to whom, in nanoseconds and by name. No rule depends on them.

use numashock_engine::{EventHash, NOTES, Nanos, Span};

use crate::fault::TouchCost;
use crate::machine::Machine;
use crate::pages::Region;
use crate::scan::PassPlan;

/// A pass began. Words: process, thread and sequence; number; pages that it can mark, its length as far as known.
pub const PASS_BEGIN: u16 = NOTES + 0x100;
/// A pass ended. Words: process, thread and sequence; number; begin, end; pages marked, threads interrupted.
pub const PASS_END: u16 = NOTES + 0x101;
/// A touch of a reported thread that took longer for balancing. Words: thread, region and kind; page; process and number of the
/// pass that marked the page; nanoseconds after the record; nanoseconds of hinting fault, migration, lock, stopper.
pub const TOUCH: u16 = NOTES + 0x102;
/// What copies added to the cache misses of a unit of work. Words: thread; nanoseconds.
pub const COPY_LATENCY: u16 = NOTES + 0x103;

/// What a touch met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Met {
    /// No mark: a page under migration, the write fault after one, or the lock alone.
    #[default]
    NoMark,
    /// A hinting fault, and the page stayed.
    Fault,
    /// A hinting fault whose migration was refused or failed.
    Refused,
    /// A hinting fault that migrated the page.
    Migration,
}

impl Met {
    /// The kind that a note names by `number`.
    #[must_use]
    pub fn numbered(number: u64) -> Option<Met> {
        [Met::NoMark, Met::Fault, Met::Refused, Met::Migration].get(usize::try_from(number).ok()?).copied()
    }
}

impl Region {
    /// The pages of `from..to`, in base pages, that no pass has marked.
    fn without_mark(&self, from: u64, to: u64) -> Vec<u64> {
        (from / self.unit..to / self.unit).filter(|page| !self.is_marked(*page)).collect()
    }

    /// Notes for every page which pass marked it.
    fn note_marks(&mut self, unmarked: &[u64], pass: u64) {
        self.marked_by.resize(self.pages as usize, 0);
        for page in unmarked {
            if self.is_marked(*page) {
                self.marked_by[*page as usize] = pass as u32 + 1;
            }
        }
    }
}

impl Machine {
    pub(crate) fn note_pass_begin(&self, now: Nanos, thread: usize, plan: &PassPlan, hash: &mut EventHash) {
        if hash.keeps_notes() {
            let (number, length) = (plan.number(), plan.ends() - now);
            hash.note_words(now, PASS_BEGIN, &[self.pass_name(thread), number, length.0]);
        }
    }

    pub(crate) fn note_pass_end(&self, now: Nanos, thread: usize, plan: &PassPlan, hash: &mut EventHash) {
        if hash.keeps_notes() {
            let (begun, marked, interrupts) = plan.seen();
            let words = [
                self.pass_name(thread),
                plan.number(),
                begun.0,
                plan.ends().0,
                marked,
                u64::from(interrupts),
            ];
            hash.note_words(now, PASS_END, &words);
        }
    }

    /// A process, a thread and the sequence of the address space, as one word.
    fn pass_name(&self, thread: usize) -> u64 {
        let process = self.threads[thread].process.index();
        (process as u64) << 48 | (thread as u64) << 32 | u64::from(self.spaces[process].scan_seq)
    }

    /// Pages of a step of a pass that have no mark yet, if notes are kept.
    pub(crate) fn before_marking(&self, region: usize, (from, to): (u64, u64), hash: &EventHash) -> Vec<u64> {
        if hash.keeps_notes() { self.regions[region].without_mark(from, to) } else { Vec::new() }
    }

    pub(crate) fn after_marking(&mut self, region: usize, unmarked: &[u64], pass: u64) {
        if !unmarked.is_empty() {
            self.regions[region].note_marks(unmarked, pass);
        }
    }

    /// Notes what a touch took, `elapsed` after `now`.
    pub(crate) fn note_touch(
        &self,
        (now, elapsed): (Nanos, Span),
        thread: usize,
        (region, page): (usize, u64),
        cost: &TouchCost,
        hash: &mut EventHash,
    ) {
        let TouchCost { hint_fault, migration_copy, lock_wait, stopper, met, .. } = *cost;
        if !hash.keeps_notes() || hint_fault + migration_copy + lock_wait + stopper == Span::ZERO {
            return;
        }
        if !self.threads[thread].reported {
            return;
        }
        let at = &self.regions[region];
        let pass = at.marked_by.get(page as usize).copied().unwrap_or(0);
        let words = [
            (thread as u64) << 48 | (region as u64) << 32 | met as u64,
            page,
            (at.process.index() as u64) << 48 | u64::from(pass),
            elapsed.0,
            hint_fault.0,
            migration_copy.0,
            lock_wait.0,
            stopper.0,
        ];
        hash.note_words(now, TOUCH, &words);
    }

    /// Notes what copies added to a unit's cache misses.
    pub(crate) fn note_copy_latency(&self, now: Nanos, thread: usize, span: Span, hash: &mut EventHash) {
        if span > Span::ZERO && self.threads[thread].reported {
            hash.note(now, COPY_LATENCY, [thread as u64, span.0]);
        }
    }
}
