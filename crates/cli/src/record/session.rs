//! The loop: one sample at each multiple of the interval, in the host's time.

use super::clock::Clock;
use super::host::Host;
use super::process::Process;
use super::table::{Sample, Table};
use super::text::{self, COUNTERS, Counters};

const SECOND: u64 = 1_000_000_000;
/// Rows are at least this far apart, so that two of them never have the same time in the file.
const ROWS_APART: u64 = 10_000;

/// How to record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// From row to row, in nanoseconds.
    pub(super) every: u64,
    /// From the first row to the last, in nanoseconds.
    pub(super) length: u64,
    /// Whether pages are counted by node on the first row at or after each whole second.
    pub(super) placement: bool,
}

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has the length that was asked for.
    Whole,
    /// The process is over.
    ProcessEnded,
}

/// What became of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) end: End,
    pub(super) rows: u64,
    /// Rows that could not be taken in time.
    pub(super) missed: u64,
    /// Time of the last row, in nanoseconds since the first.
    pub(super) last: u64,
    /// Nanoseconds from 1970 to the first row, where the clock knows the date.
    pub(super) began: Option<u64>,
    /// How much each counter grew.
    pub(super) grown: [Option<i128>; COUNTERS.len()],
    /// Recorded threads that were over before the last row, by their index.
    pub(super) threads_ended: Vec<usize>,
}

impl Outcome {
    /// How much a counter grew, if it was there.
    pub(super) fn growth(&self, name: &str) -> Option<i128> {
        COUNTERS.iter().position(|counter| *counter == name).and_then(|place| self.grown[place])
    }
}

/// What is recorded.
pub(super) struct Subject<'a> {
    pub(super) host: &'a Host,
    pub(super) nodes: Vec<u32>,
    pub(super) process: Option<&'a Process>,
}

/// Records by `plan` and hands over each line, the header first.
///
/// # Errors
/// If the counters cannot be read, the placement that was asked for cannot, or a line cannot be handed over. Lines that were
/// handed over before are good.
pub(super) fn record(
    subject: &Subject<'_>,
    plan: &Plan,
    clock: &mut dyn Clock,
    append: &mut dyn FnMut(&str) -> Result<(), String>,
) -> Result<Outcome, String> {
    let origin = clock.now();
    let mut state =
        Progress { began: clock.began().map(|began| began.saturating_add(origin)), ..Progress::default() };
    let mut table = None;
    let mut slot = 0;
    loop {
        let due = plan.due(slot);
        clock.wait_until(origin + due.max(state.at + if slot > 0 { ROWS_APART } else { 0 }));
        // The first row is time zero.
        let at = if slot > 0 { clock.now() - origin } else { 0 };
        let Some(sample) = subject.sample(at, state.wants_placement(plan, due))? else {
            return Ok(state.outcome(End::ProcessEnded));
        };
        if table.is_none() {
            let made = Table::new(
                subject.nodes.clone(),
                subject.process.map_or(0, |process| process.threads.len()),
                sample.counters,
            );
            append(&made.header())?;
            state.first = sample.counters;
            table = Some(made);
        }
        append(&table.as_ref().expect("made with the first row").row(&sample))?;
        state.take(&sample);
        if due == plan.length {
            return Ok(state.outcome(End::Whole));
        }
        // What a long sample has made late is left out, so that times stay on the grid.
        let next = (slot + 1).max((clock.now() - origin) / plan.every + 1).min(plan.last_slot());
        state.missed += next - (slot + 1);
        slot = next;
    }
}

impl Plan {
    /// The slot whose row is the last one.
    fn last_slot(&self) -> u64 {
        // A rest shorter than half an interval joins the interval before it.
        ((self.length + self.every / 2) / self.every).max(1)
    }

    /// When a slot's row is due.
    fn due(&self, slot: u64) -> u64 {
        if slot >= self.last_slot() { self.length } else { slot * self.every }
    }
}

impl Subject<'_> {
    /// Reads everything once; `None` if the process is over.
    fn sample(&self, at: u64, placement: bool) -> Result<Option<Sample>, String> {
        let vmstat = self.host.read("/proc/vmstat").map_err(|why| format!("{why}; is this a Linux host?"))?;
        let counters = text::vmstat(&vmstat);
        let Some(process) = self.process else {
            return Ok(Some(Sample { at, counters, placement: None, threads: Vec::new() }));
        };
        let threads = process.sample(self.host);
        let placed = placement.then(|| process.placement(self.host));
        // Asked last: what was read before belongs to a process that still runs.
        if !process.runs(self.host) {
            return Ok(None);
        }
        // A process that runs has pages; no line at all means that its first thread has ended.
        let placement = placed.transpose()?.filter(|pages| !pages.is_empty());
        Ok(Some(Sample { at, counters, placement, threads }))
    }
}

/// What a recording has come to.
#[derive(Default)]
struct Progress {
    began: Option<u64>,
    rows: u64,
    missed: u64,
    at: u64,
    first: Counters,
    last: Counters,
    threads_ended: Vec<usize>,
    /// The whole second of the last placement.
    placed: Option<u64>,
}

impl Progress {
    fn wants_placement(&mut self, plan: &Plan, due: u64) -> bool {
        let second = due / SECOND;
        let wanted = plan.placement && self.placed != Some(second);
        if wanted {
            self.placed = Some(second);
        }
        wanted
    }

    fn take(&mut self, sample: &Sample) {
        self.rows += 1;
        self.at = sample.at;
        self.last = sample.counters;
        self.threads_ended = (0..sample.threads.len()).filter(|&t| sample.threads[t].is_none()).collect();
    }

    fn outcome(self, end: End) -> Outcome {
        let grown =
            std::array::from_fn(|place| Some(i128::from(self.last[place]?) - i128::from(self.first[place]?)));
        Outcome {
            end,
            rows: self.rows,
            missed: self.missed,
            last: self.at,
            began: self.began,
            grown,
            threads_ended: self.threads_ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_due_on_the_grid_and_the_last_one_at_the_end() {
        let dues = |every, length| {
            let plan = Plan { every, length, placement: false };
            (0..=plan.last_slot()).map(|slot| plan.due(slot)).collect::<Vec<_>>()
        };
        assert_eq!(dues(10, 30), [0, 10, 20, 30]);
        assert_eq!(dues(10, 10), [0, 10]);
        assert_eq!(dues(10, 14), [0, 14]);
        assert_eq!(dues(10, 15), [0, 10, 15]);
        assert_eq!(dues(10, 36), [0, 10, 20, 30, 36]);
        assert_eq!(dues(10, 34), [0, 10, 20, 34]);
    }
}
